"""Deleting what neither a snapshot needs nor a run at work. The data of every snapshot in the chain is kept, and so are the empty files
under names in the view that are used up."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice

from artquant.results import layout
from artquant.results.claims import is_ended, last_intent, time_of
from artquant.results.snapshots import Snapshot, head, history
from artquant.results.view import repair
from artquant.storage.store import FetchError, Store

BATCH = 500  # objects that are deleted before the last snapshot is read again
_RECENT = 20  # snapshots that tell how long a run takes
_INTENT = re.compile(r"(\d{12})-(\d{4})\.(?:json|beat|end|left)")


@dataclass(frozen=True)
class Needed:
    """What stays, however old it is. `works`: folders of works that go on; `used`: keys; `epochs`: a snapshot's number -> the first epoch
    of its claims that stays, none below `first_number`."""

    used: frozenset[str]
    works: tuple[str, ...] = ()
    first_number: int = 0
    epochs: dict[int, int] = field(default_factory=dict)

    def holds(self, key: str) -> bool:
        if not key.startswith(f"{layout.INTENTS}/"):
            return key in self.used or key.startswith(self.works)
        claim = _INTENT.fullmatch(key.removeprefix(f"{layout.INTENTS}/"))
        if claim is None:  # of a clock that was not put away
            return False
        number, epoch = int(claim[1]), int(claim[2])
        return number >= self.first_number and epoch >= self.epochs.get(number, 0)


def needed_by(store: Store, last: Snapshot) -> Needed:
    """Return what the chain up to `last` needs, and who is at work on the next. An epoch is used once, so the highest stays."""
    used = frozenset(key for one in history(store) for key in (*(file.data for file in one.files), *one.ledger))
    works: tuple[str, ...] = ()
    epochs: dict[int, int] = {}
    for number in (last.number, last.number + 1):
        intent = last_intent(store, number)
        if intent is None:
            continue
        is_open = number > last.number and not is_ended(store, intent)
        epochs[number] = 0 if is_open else intent.epoch
        works += (f"{layout.work_prefix(intent.work)}/",) if is_open else ()
    return Needed(used, works, last.number, epochs)


def clean(store: Store, older_than: timedelta = timedelta(hours=48)) -> int:
    """Delete what nothing needs, and return how many objects: attempts, shard records and data of runs that ended, and their claims. What
    is younger than `older_than`, or than twice the longest of the last runs, stays: a run that is slow is no garbage."""
    last = repair(store)
    if last is None:
        return 0
    now, limit = time_of(store), max(older_than, 2 * longest_run(store, last)) if older_than else older_than
    needed, num_deleted = needed_by(store, last), 0
    candidates = iter(_unneeded(store, needed))
    while batch := list(islice(candidates, BATCH)):
        newest = head(store)
        if newest and newest.number != last.number:
            last = newest
            needed = needed_by(store, last)
        doomed = [key for key in batch if not needed.holds(key) and (not limit or _age(store, key, now) > limit)]
        store.delete(doomed)
        num_deleted += len(doomed)
    return num_deleted


def _unneeded(store: Store, needed: Needed) -> list[str]:
    listed = [info.key for folder in (f"{layout.ROOT}/runs", layout.INTENTS) for info in store.list(folder)]
    return [key for key in listed if not needed.holds(key)]


def count_unneeded(store: Store) -> int:
    """Return how many objects nothing needs, those too that are too young to be deleted."""
    last = head(store)
    return len(_unneeded(store, needed_by(store, last))) if last else 0


def longest_run(store: Store, last: Snapshot) -> timedelta:
    """Return how long the longest of the last runs took, as far as their claims are still there; by the store's clock."""
    longest = timedelta(0)
    for number in range(max(1, last.number - _RECENT), last.number + 1):
        with suppress(FetchError):  # its claim was cleaned away
            began = store.modified_at(layout.intent_key(number, 1))
            longest = max(longest, store.modified_at(layout.snapshot_key(number)) - began)
    return longest


def _age(store: Store, key: str, now: datetime) -> timedelta:
    try:
        return now - store.modified_at(key)
    except FetchError:  # somebody else deleted it
        return timedelta(0)
