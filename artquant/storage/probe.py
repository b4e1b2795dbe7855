"""What publishing rests on, tried on the store itself: a key is created once, whoever asks first, and what was written is seen."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier

from artquant.core.errors import UserError
from artquant.storage.store import Conflict, FetchError, Store

NUM_CREATES = 16  # of one key at a time
_TRIES = 3  # with a key of its own each, where answers were lost
_ORDERED = ("a-b", "a.b", "a/b", "ab")  # '-', '.', '/' and letters, in byte order


@dataclass(frozen=True)
class Promises:
    """What a store keeps. `creates_once`: of many creates of a key one wins, its bytes stay, and every later one conflicts;
    `shows_writes`: listings and reads show what was written and deleted just before; `lists_in_order`: by the bytes of the keys, which is
    a convenience."""

    creates_once: bool
    shows_writes: bool
    lists_in_order: bool


def probe(store: Store, folder: str) -> Promises:
    """Try the store below `folder`, which is deleted again: some forty requests for small objects. Raises UserError where it fails."""
    root = store.child(f"{folder}-{secrets.token_hex(6)}")
    try:
        root.put("plain", b"")  # a store that takes no plain object either is in trouble of another kind
        creates_once = _creates_once(root)
        for key in reversed(_ORDERED):
            root.put(f"list/{key}", b"x")
        listed = [info.key for info in root.list("list")]
        root.delete("list/ab")
        is_shown = sorted(listed) == sorted(f"list/{key}" for key in _ORDERED) and not root.exists("list/ab")
        is_shown = is_shown and "list/ab" not in {info.key for info in root.list("list")}
        return Promises(creates_once, is_shown, listed == sorted(listed, key=str.encode))
    except FetchError as error:
        raise UserError(f"{store.uri} takes objects and does not give them back ({error.message}): look at the store.") from error
    finally:
        root.delete([info.key for info in root.list()])


def _creates_once(root: Store) -> bool:
    for number in range(_TRIES):
        key, together = f"one-{number}", Barrier(NUM_CREATES)

        def create(writer: int, key: str = key, together: Barrier = together) -> bool | UserError:
            together.wait()
            try:
                root.put_if_absent(key, b"%d" % writer)
            except Conflict:
                return False
            except UserError as error:  # refused, or the answer was lost
                return error
            return True

        with ThreadPoolExecutor(NUM_CREATES) as pool:
            outcomes = list(pool.map(create, range(NUM_CREATES)))
        problems = [outcome for outcome in outcomes if isinstance(outcome, UserError)]
        if len(problems) == NUM_CREATES:
            return False  # plain objects are taken, these are not
        if not problems:
            winners = [writer for writer, outcome in enumerate(outcomes) if outcome]
            return len(winners) == 1 and create(NUM_CREATES, key, Barrier(1)) is False and root.get(key) == b"%d" % winners[0]
    raise problems[0]


class SingleWriterStore(Store):
    """A store that creates by looking first, writing then, and reading back: right as long as one process at a time writes to it. Another
    one that writes the same key is noticed unless it does so after the read."""

    @classmethod
    def of(cls, store: Store) -> SingleWriterStore:
        return cls(store.uri, store._prefix, store._backend, store._outage)

    def put_if_absent(self, key: str, data: bytes) -> str:
        try:
            if self.exists(key):
                raise Conflict(f"Cannot write {self.uri_of(key)}: it exists.")
            etag = self.put(key, data)
            if self.get(key) != data:
                raise Conflict(f"Cannot write {self.uri_of(key)}: another writer was last.")
        except FetchError as error:
            raise UserError(f"Cannot write {self.uri_of(key)}: {error.message}.") from error
        return etag
