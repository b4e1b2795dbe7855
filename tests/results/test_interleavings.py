"""The real publishing code under a scheduler: whatever the order of requests and whichever faults, no reader meets a row that is not
committed, or one twice, and who is told "published" is.

By hand for longer: python -m tests.results.test_interleavings 10000 prints the first seed that fails.
"""

from __future__ import annotations

import io
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from datetime import timedelta
from functools import cache
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest

from artquant.core.errors import AnotherRun, OutcomeUnknown, RunFailed, UserError
from artquant.core.schema import ARTWORK_ID, ETAG
from artquant.results import claims, operations, shards
from artquant.results.catalog import Source
from artquant.results.nights import opened
from artquant.results.snapshots import Snapshot
from artquant.storage import store as storage
from tests.results import nights
from tests.results.scheduler import CURRENT, Command, Killed, Memory, Scheduler, memory_store

pytestmark = pytest.mark.slow
SEEDS = 60  # of each scenario
Row = tuple[str, str]


class Serial:
    """A pool that does all at once, so that the scheduler sees one thread a command."""

    def __init__(self, *_: object):
        pass

    def __enter__(self) -> Serial:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, action: Callable[..., Any], *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(action(*arguments))
        return future

    def map(self, action: Callable[[Any], Any], items: Any) -> list[Any]:
        return [action(item) for item in items]

    def shutdown(self) -> None:
        pass


class World:
    """An output in memory, the commands on it, and what must hold at every moment."""

    def __init__(self, seed: int, faults: Counter[str], patch: pytest.MonkeyPatch):
        self.backend = Memory()
        self.store = memory_store(self.backend)
        self.alive: set[str] = set()
        self.floor = 0  # a rollback that has ended: what only older snapshots have is seen no more
        self.told: list[str] = []  # who was told that its work is published
        self.published: dict[str, bytes] = {}  # the data files of snapshots, as they were when the snapshot came
        self.scheduler = Scheduler(seed, faults, self.check)
        art = memory_store(self.backend, "art")
        for number in range(4):
            art.put(f"{number}.jpg", b"x" * (number + 1))
        self.art = art
        patch.setattr(shards, "ThreadPoolExecutor", Serial)
        patch.setattr(claims, "threading", SimpleNamespace(Thread=_NoBeat, Event=threading.Event))
        patch.setattr(claims, "this_process", self.this_process)
        patch.setattr(claims, "is_gone", lambda intent: intent.host not in self.alive)
        patch.setattr("artquant.results.plan.SMALL_SHARD", 2)
        patch.setattr(storage, "open_store", lambda uri: art)
        patch.setattr("artquant.results.catalog.open_store", lambda uri: art)

    def this_process(self) -> dict[str, Any]:
        command = CURRENT.command
        return {"host": command.name if command else "main", "boot_id": "b", "pid": 1, "started": "1"}

    def night(self, name: str, label: str, **asked: Any) -> Callable[[], object]:
        def action() -> object:
            question = nights.asked(Source("input", "memory://art"), **asked)
            made = nights.night(self.store, question, label)
            if isinstance(made, Snapshot):
                self.told.append(made.write_id)
            return made

        return self.process(name, action)

    def rollback(self, name: str) -> Callable[[], object]:
        def action() -> object:
            snapshot = operations.rollback(self.store)
            self.floor = snapshot.number
            return snapshot

        return self.process(name, action)

    def rollback_now(self) -> None:
        self.floor = operations.rollback(self.store).number

    def release(self, name: str, run_id: str) -> Callable[[], object]:
        def action() -> object:
            self.floor = 0
            return operations.release(self.store, run_id)

        return self.process(name, action)

    def clean(self, name: str) -> Callable[[], object]:
        return self.process(name, lambda: operations.clean(self.store))

    def age(self) -> None:
        """Make all that is there older than what `clean` spares."""
        self.backend.now += timedelta(hours=49)

    def process(self, name: str, action: Callable[[], object]) -> Callable[[], object]:
        """`action`, again and again while it is killed, or does not know how it ended: the same command goes on."""

        def run() -> object:
            for attempt in range(12):
                CURRENT.command.name = f"{name}-{attempt}"  # type: ignore[union-attr]
                self.alive.add(f"{name}-{attempt}")
                try:
                    return action()
                except Killed:
                    self.scheduler.met["killed"] += 1
                except OutcomeUnknown:
                    self.scheduler.met["unknown"] += 1
                except AnotherRun as error:
                    self.scheduler.met["another's" if "was first" in str(error) else "another at work"] += 1
                except (UserError, RunFailed):
                    self.scheduler.met["store trouble"] += 1
                finally:
                    self.alive.discard(f"{name}-{attempt}")
            return None

        return run

    def view(self) -> list[Row]:
        found: list[Row] = []
        for path, data in self.backend.objects.items():
            if path.startswith("root/scores/"):
                found += rows_of(data)
        return found

    def snapshots(self) -> list[Snapshot]:
        keys = sorted(path for path in self.backend.objects if path.startswith("root/_artquant/snapshots/"))
        return [Snapshot.from_json(self.backend.objects[key]) for key in keys]

    def check(self) -> None:
        """I1, I2, I3, I7 and I8, between any two requests."""
        chain = self.snapshots()
        assert [(one.number, one.parent) for one in chain] == [(number, number - 1) for number in range(1, len(chain) + 1)]
        committed: set[Row] = set()
        for one in chain:
            rows = self.rows(one)
            assert len(rows) == len(set(rows)), f"snapshot {one.number} has an identity twice"
            committed |= set(rows) if one.number >= self.floor else set()
            for file in one.files:
                data = self.backend.objects[f"root/{file.data}"]
                assert self.published.setdefault(file.data, data) == data, f"{file.data} is not what was published"
        view = self.view()
        assert len(view) == len(set(view)), "a reader by glob meets a row twice"
        assert set(view) <= committed, "a reader by glob meets a row that no snapshot has"

    def check_at_rest(self) -> None:
        """I5, I6 and I7, after one more command."""
        last = opened(self.store)
        assert sorted(self.view()) == sorted(self.rows(last) if last else []), "at rest the view is the last snapshot"
        committed = {one.write_id for one in self.snapshots()}
        assert committed.issuperset(self.told), "told published, and no snapshot has it"
        parents = [one.parent for one in self.snapshots() if one.write_id in self.told]
        assert len(parents) == len(set(parents)), "two works were told published on one parent"

    def rows(self, snapshot: Snapshot) -> list[Row]:
        files = [file for file in snapshot.files if file.kind == "scores"]
        return [row for file in files for row in rows_of(self.backend.objects[f"root/{file.data}"])]


@cache
def rows_of(data: bytes) -> tuple[Row, ...]:
    table = pq.read_table(io.BytesIO(data), columns=[ARTWORK_ID, ETAG])
    return tuple(zip(table.column(0).to_pylist(), table.column(1).to_pylist(), strict=True))


class _NoBeat:
    def __init__(self, **_: object):
        pass

    def start(self) -> None:
        pass

    def join(self, timeout: float = 0) -> None:
        pass


FAULTS = {"kill before": 1, "kill after": 1, "lost": 2, "503": 2, "409": 1, "truncated": 1}
SCENARIOS: dict[str, Callable[[World], list[Command]]] = {
    "one run": lambda world: [Command("a", world.night("a", "a"))],
    "the same run twice": lambda world: [Command("a", world.night("a", "a")), Command("b", world.night("b", "b"))],
    "two runs": lambda world: [Command("a", world.night("a", "a")), Command("b", world.night("b", "b", limit=3))],
    "a run and a rollback": lambda world: [Command("b", world.night("b", "b")), Command("r", world.rollback("r"))],
    "two rollbacks": lambda world: [Command("r", world.rollback("r")), Command("s", world.rollback("s"))],
    "a run and a release": lambda world: [Command("b", world.night("b", "b")), Command("r", world.release("r", "second"))],
    "a run and a clean": lambda world: [Command("b", world.night("b", "b")), Command("c", world.clean("c"))],
    "a rollback and a clean": lambda world: [Command("r", world.rollback("r")), Command("c", world.clean("c"))],
}
FIRST = ("a run and a rollback", "two rollbacks", "a run and a release", "a run and a clean", "a rollback and a clean")
SECOND = ("two rollbacks", "a run and a release", "a rollback and a clean")
NEEDED = {  # how often an interesting state must be met in SEEDS seeds, or the test says nothing
    "one run": {"killed": 10, "took over": 5, "lost": 10, "409": 4, "unknown": 1},
    "the same run twice": {"killed": 10, "took over": 5, "conflict, ours": 1, "another at work": 10},
    "two runs": {"killed": 10, "took over": 3, "another at work": 10},
    "a run and a rollback": {"conflict, other's": 2, "tombstone": 10},
    "two rollbacks": {"conflict, other's": 2, "tombstone": 20},
    "a run and a release": {"conflict, other's": 2, "tombstone": 5},
    "a run and a clean": {"killed": 10, "took over": 3, "cleaned": 10},
    "a rollback and a clean": {"tombstone": 10, "cleaned": 10},
}


def source(**asked: Any) -> Any:
    return nights.asked(Source("input", "memory://art"), **asked)


def explore(name: str, seed: int, patch: pytest.MonkeyPatch) -> Counter[str]:
    world = World(seed, Counter(FAULTS), patch)
    if name in FIRST:
        nights.night(world.store, source(limit=2), "first")
    if name in SECOND:
        nights.night(world.store, source(limit=2), "second")
    if name == "a run and a release":
        operations.rollback(world.store)
    world.age()
    num_before = sum("/attempts/" in path for path in world.backend.objects)
    commands = SCENARIOS[name](world)
    world.scheduler.run(commands)
    num_left = sum("/attempts/" in path for path in world.backend.objects)
    world.check_at_rest()
    met = world.scheduler.met + world.backend.met
    met["tombstone"] += sum(1 for one in world.snapshots()[-1:] for _ in one.removed)
    met["took over"] += sum("-0002.json" in path for path in world.backend.objects)
    if name in ("one run", "the same run twice"):
        assert not met["another's"], "told that another was first, and it was this very work"
    met["cleaned"] += "clean" in name and num_left < num_before + 2
    return met


def explored(name: str, seeds: range) -> Counter[str]:
    met: Counter[str] = Counter()
    for seed in seeds:
        with pytest.MonkeyPatch.context() as patch:
            try:
                met += explore(name, seed, patch)
            except BaseException as error:
                raise AssertionError(f"{name}, seed {seed}: {error}") from error
    return met


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_order_of_requests_and_no_fault_shows_a_reader_what_is_not_committed(name: str) -> None:
    met = explored(name, range(SEEDS))
    assert all(met[state] >= least for state, least in NEEDED[name].items()), f"interesting states were met too seldom: {met}"


def test_a_copier_that_wakes_up_after_a_rollback_brings_no_row_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name in the view is created; it is not overwritten."""
    world = World(0, Counter(), monkeypatch)
    nights.night(world.store, source(limit=2), "first")
    copier = Command("b", world.night("b", "b"))
    copier.sleep_before("create root/scores/", "put root/scores/")
    world.rollback_now()
    world.check()
    while not copier.is_done:
        copier.step()
        world.check()
    world.check_at_rest()
    assert world.backend.met["name in the view taken"] == 1 and sorted(world.told) == [world.snapshots()[1].write_id]


@pytest.mark.parametrize("until", ["create root/_artquant/snapshots", "put root/_artquant/runs"])
def test_a_run_that_sleeps_over_two_commits_and_a_clean_undoes_nothing(until: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(0, Counter(), monkeypatch)
    sleeper = Command("a", world.night("a", "a"))
    sleeper.sleep_before(until)
    world.alive.clear()
    if until.startswith("create"):  # it has shards: nobody throws them away in silence
        with pytest.raises(AnotherRun, match="broken off"):
            nights.night(world.store, source(limit=3), "other")
        operations.abandon(world.store)
    nights.night(world.store, source(limit=3), "other")
    world.rollback_now()
    world.age()
    assert operations.clean(world.store) > 0
    sleeper.wake()
    world.check()
    world.check_at_rest()
    assert world.scheduler.met["another's"] == 1, "it was told that it lost"
    assert not world.told and len(world.snapshots()) == 2 and world.view() == [], "what was taken back is not scored anew in silence"


def test_a_run_that_sleeps_while_another_ends_its_work_leaves_the_published_file_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(0, Counter(), monkeypatch)
    sleeper = Command("a", world.night("a", "a"))
    sleeper.sleep_before("put root/_artquant/runs/a-")
    while "/attempts/" not in sleeper.pending:
        sleeper.step()
    world.alive.clear()
    nights.night(world.store, source(), "b")
    world.check()
    world.age()
    assert operations.clean(world.store) > 0, "the shards' records are gone"
    sleeper.wake()
    world.check()
    world.check_at_rest()
    assert len(world.snapshots()) == 1


if __name__ == "__main__":
    for scenario in SCENARIOS:
        print(f"{scenario}: {dict(explored(scenario, range(int(sys.argv[1]))))}", flush=True)
    print(f"{sys.argv[1]} seeds of each scenario: nothing found")
