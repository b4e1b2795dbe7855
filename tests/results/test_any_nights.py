"""Whatever happens to a collection and its output, night after night, readers see what a plain dict says they should."""

from __future__ import annotations

import io
from datetime import timedelta
from functools import cache
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from artquant.results import operations
from artquant.results.compact import compact
from artquant.results.plan import PlanSummary
from artquant.results.snapshots import Snapshot, head
from tests.results.nights import asked, night
from tests.results.scheduler import Memory, etag, memory_store

pytestmark = pytest.mark.slow
NAMES = st.sampled_from([f"{number}.jpg" for number in range(4)])
CONTENTS = st.integers(0, 1)
Identity = tuple[str, str]  # artwork_id, etag: one scorer has them all


class Row(NamedTuple):
    run_id: str
    critique_status: str


Rows = dict[Identity, Row]


class Brought(NamedTuple):
    """A snapshot that can be taken back: by which run, None for compacting, and what was published before it."""

    run_id: str | None
    before: Rows


class Nights(RuleBasedStateMachine):
    """`rows`: what is published; `stack`: what brought it."""

    def __init__(self) -> None:
        super().__init__()
        self.backend = Memory()
        self.output, self.art = memory_store(self.backend), memory_store(self.backend, "art")
        PATCH.setattr("artquant.results.catalog.open_store", lambda uri: self.art)
        PATCH.setattr("artquant.storage.store.open_store", lambda uri: self.art)
        self.rows: Rows = {}
        self.stack: list[Brought] = []
        self.taken: tuple[str, Rows] | None = None
        self.forgotten: set[str] = set()
        self.number = 0
        for number in range(4):
            self.put_content(f"{number}.jpg", 0)

    def due(self, force: bool, critique: bool) -> set[str]:
        """Of the artworks in the collection, those that a night is to score, by what is published."""
        found = set()
        for info in self.art.list():
            row = self.rows.get((info.key, etag(self.art.get(info.key))))
            if info.key not in self.forgotten and (row is None or force or (critique and row.critique_status == "not_requested")):
                found.add(info.key)
                MET.add("forced" if row and force else "a critique later" if row else "new or changed")
        return found

    def see(self) -> None:
        """I3 and I7: the view and the last snapshot have the rows of the dict, each once."""
        view = [row for path, data in self.backend.objects.items() if path.startswith("root/scores/") for row in rows_of(data)]
        assert len(view) == len(self.rows) and dict(view) == self.rows
        last = head(self.output)
        files = [file for file in last.files if file.kind == "scores"] if last else []
        assert sorted(row for file in files for row in rows_of(self.backend.objects[f"root/{file.data}"])) == sorted(view)

    def put_content(self, name: str, content: int) -> None:
        self.art.put(name, b"x" * (content + 1) + name.encode())

    @rule(name=NAMES, content=CONTENTS)
    def put(self, name: str, content: int) -> None:
        self.put_content(name, content)

    @precondition(lambda self: any(self.art.list()))
    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        self.art.delete(name)

    @precondition(lambda self: any(self.art.list()))
    @rule(
        broken_off_after=st.none() | st.integers(0, 3),
        force=st.booleans(),
        critique=st.booleans(),
        changes=st.none() | st.tuples(NAMES, CONTENTS),
    )
    def score(self, broken_off_after: int | None, force: bool, critique: bool, changes: tuple[str, int] | None) -> None:
        """A night, which may be broken off and then goes on; `changes`: an artwork that does between the plan and the scoring."""
        self.number += 1
        question, due = asked(self.art, accept_rolled_back=True, force=force, critique=critique), self.due(force, critique)
        made: Snapshot | PlanSummary | None = None
        if broken_off_after is not None:
            try:
                made = night(self.output, question, f"run-{self.number}", stop_after=broken_off_after)
            except KeyboardInterrupt:
                MET.add("broken off, forced" if force else "broken off")
                self.see()
        elif changes and changes[0] in due:
            made = night(self.output, question, f"run-{self.number}", after_planning=lambda work: self.put_content(*changes))
        made = made or night(self.output, question, f"again-{self.number}")
        if isinstance(made, Snapshot):
            self.stack.append(Brought(made.run_id, self.rows))
            new = {(name, etag(self.art.get(name))): Row(made.run_id, "ok" if critique else "not_requested") for name in due}
            if not force and not critique and new.keys() & self.rows.keys():
                MET.add("changed back since the plan")
            self.taken, self.rows = None, self.rows | new
        else:
            MET.add("nothing due")
            assert not due
        self.see()

    @precondition(lambda self: self.rows)
    @rule(max_rows=st.integers(4, 8))
    def compact(self, max_rows: int) -> None:
        made = compact(self.output, max_rows)
        if made is not None:
            self.stack.append(Brought(None, self.rows))
            self.taken = None
            MET.add("compacted")
        self.see()

    @precondition(lambda self: self.stack)
    @rule()
    def take_back(self) -> None:
        run_id, before = self.stack.pop()
        operations.rollback(self.output)
        self.taken, self.rows = (run_id, self.rows) if run_id else None, before
        MET.add("taken back" if run_id else "taken back, compacted")
        self.see()

    @precondition(lambda self: self.taken)
    @rule()
    def publish_again(self) -> None:
        assert self.taken
        run_id, rows = self.taken
        operations.release(self.output, run_id)
        self.stack.append(Brought(run_id, self.rows))
        self.taken, self.rows = None, rows
        MET.add("published again")
        self.see()

    @precondition(lambda self: self.rows)
    @rule(name=NAMES)
    def forget(self, name: str) -> None:
        """What was before cannot be had back: the data is gone."""
        operations.forget(self.output, [name])
        self.forgotten.add(name)
        self.rows = {identity: row for identity, row in self.rows.items() if identity[0] != name}
        self.stack, self.taken = [], None
        MET.add("forgotten")
        self.see()
        names_alone = ("/data/ledger-", "/presence.parquet")  # they remember what is not to be scored
        kept = [path for path in self.backend.objects if path.endswith(".parquet") and not any(part in path for part in names_alone)]
        assert not [path for path in kept if name in names_of(self.backend.objects[path])]

    @rule()
    def clean(self) -> None:
        operations.clean(self.output, timedelta(0))
        self.see()


@cache
def rows_of(data: bytes) -> tuple[tuple[Identity, Row], ...]:
    table = pq.read_table(io.BytesIO(data), columns=["artwork_id", "etag", "run_id", "critique_status"])
    return tuple(((row[0], row[1]), Row(row[2], row[3])) for row in zip(*(column.to_pylist() for column in table.columns), strict=True))


@cache
def names_of(data: bytes) -> frozenset[str]:
    return frozenset(pq.read_table(io.BytesIO(data), columns=["artwork_id"]).column(0).to_pylist())


MET: set[str] = set()
WANTED = {"new or changed", "forced", "a critique later", "nothing due", "broken off", "broken off, forced", "changed back since the plan"}
WANTED |= {"compacted", "taken back", "taken back, compacted", "published again", "forgotten"}
PATCH = pytest.MonkeyPatch()


def test_readers_see_what_a_plain_dict_says(monkeypatch: pytest.MonkeyPatch) -> None:
    global PATCH
    monkeypatch.setattr("artquant.results.plan.SMALL_SHARD", 2)
    with pytest.MonkeyPatch.context() as PATCH:
        config = settings(
            max_examples=150, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
        )
        run_state_machine_as_test(Nights, settings=config)
    assert MET == WANTED, "too little was met"
