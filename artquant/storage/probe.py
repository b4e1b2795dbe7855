"""What publishing rests on, tried on the store itself: a key is created once, whoever asks first, and what was written is seen."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier

from artquant.core.errors import UserError
from artquant.storage.store import Conflict, FetchError, Store

NUM_RACES = 8  # at once, of two writers for a key each: SeaweedFS lets a third writer wait for seconds
_TRIES = 3  # with keys of their own each, where answers were lost
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
    """Try the store below `folder`, which is deleted again: some sixty requests for small objects. Raises UserError where it fails."""
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
        together = Barrier(2 * NUM_RACES)

        def create(writer: int, number: int = number, together: Barrier = together) -> bool | UserError:
            together.wait()
            try:
                root.put_if_absent(f"race-{number}-{writer // 2}", b"%d" % writer)
            except Conflict:
                return False
            except UserError as error:  # refused, or the answer was lost
                return error
            return True

        with ThreadPoolExecutor(2 * NUM_RACES) as pool:
            outcomes = list(pool.map(create, range(2 * NUM_RACES)))
        problems = [outcome for outcome in outcomes if isinstance(outcome, UserError)]
        if len(problems) == len(outcomes):
            return False  # plain objects are taken, these are not
        if not problems:
            return all(_has_one_winner(root, f"race-{number}-{race}", outcomes, 2 * race) for race in range(NUM_RACES))
    raise problems[0]


def _has_one_winner(root: Store, key: str, outcomes: list[bool | UserError], first: int) -> bool:
    """Whether one of the writers `first` and `first + 1` won, its bytes stayed, and who comes after them conflicts."""
    if outcomes[first] is outcomes[first + 1]:
        return False
    try:
        root.put_if_absent(key, b"late")
    except Conflict:
        return root.get(key) == b"%d" % (first if outcomes[first] else first + 1)
    return False


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
