"""Whatever happens to a collection and its output, night after night, readers see what a plain set of rows says they should."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from artquant.results import operations
from artquant.results.plan import PlanSummary
from artquant.results.snapshots import Snapshot
from tests.results.nights import asked, night
from tests.results.scheduler import Memory, etag, memory_store
from tests.results.test_interleavings import rows_of

pytestmark = pytest.mark.slow
NAMES = st.sampled_from([f"{number}.jpg" for number in range(7)])
Rows = frozenset[tuple[str, str]]


class Nights(RuleBasedStateMachine):
    """`rows`: what is published; `runs`: what each run that stands brought, with what was published before it."""

    def __init__(self) -> None:
        super().__init__()
        self.backend = Memory()
        self.output, self.art = memory_store(self.backend), memory_store(self.backend, "art")
        PATCH.setattr("artquant.results.catalog.open_store", lambda uri: self.art)
        PATCH.setattr("artquant.storage.store.open_store", lambda uri: self.art)
        self.rows: Rows = frozenset()
        self.runs: list[tuple[str, Rows]] = []
        self.taken: tuple[str, Rows] | None = None
        self.forgotten: set[str] = set()
        self.number = 0

    def expected(self) -> Rows:
        there = {(name, etag(self.art.get(name))) for name in (info.key for info in self.art.list()) if name not in self.forgotten}
        return self.rows | there

    def see(self) -> None:
        view = [row for path, data in self.backend.objects.items() if path.startswith("root/scores/") for row in rows_of(data)]
        assert len(view) == len(set(view)) and set(view) == self.rows

    @rule(name=NAMES, content=st.integers(0, 3))
    def put(self, name: str, content: int) -> None:
        self.art.put(name, b"x" * (content + 1) + name.encode())

    @precondition(lambda self: any(self.art.list()))
    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        self.art.delete(name)

    @precondition(lambda self: any(self.art.list()))
    @rule(broken_off_after=st.none() | st.integers(0, 3))
    def score(self, broken_off_after: int | None) -> None:
        """A night, which may be broken off and then goes on."""
        self.number += 1
        question, expected = asked(self.art, accept_rolled_back=True), self.expected()
        made: Snapshot | PlanSummary | None = None
        if broken_off_after is not None:
            try:
                made = night(self.output, question, f"run-{self.number}", stop_after=broken_off_after)
            except KeyboardInterrupt:
                MET.add("broken off")
                self.see()
        made = made or night(self.output, question, f"again-{self.number}")
        if isinstance(made, Snapshot):
            self.runs.append((made.run_id, self.rows))
            self.taken, self.rows = None, expected
            MET.add("published")
        else:
            MET.add("nothing due")
            assert expected == self.rows
        self.see()

    @precondition(lambda self: self.runs)
    @rule()
    def take_back(self) -> None:
        run_id, before = self.runs.pop()
        operations.rollback(self.output)
        self.taken, self.rows = (run_id, self.rows), before
        MET.add("taken back")
        self.see()

    @precondition(lambda self: self.taken)
    @rule()
    def publish_again(self) -> None:
        assert self.taken
        run_id, rows = self.taken
        operations.release(self.output, run_id)
        self.runs.append((run_id, self.rows))
        self.taken, self.rows = None, rows
        MET.add("published again")
        self.see()

    @precondition(lambda self: self.rows)
    @rule(name=NAMES)
    def forget(self, name: str) -> None:
        """What was before cannot be had back: the data is gone."""
        operations.forget(self.output, [name])
        self.forgotten.add(name)
        self.rows = frozenset(row for row in self.rows if row[0] != name)
        self.runs, self.taken = [], None
        MET.add("forgotten")
        self.see()

    @rule()
    def clean(self) -> None:
        operations.clean(self.output, timedelta(0))
        self.see()


MET: set[str] = set()
PATCH = pytest.MonkeyPatch()


def test_readers_see_what_a_plain_set_says(monkeypatch: pytest.MonkeyPatch) -> None:
    global PATCH
    monkeypatch.setattr("artquant.results.plan.SMALL_SHARD", 2)
    with pytest.MonkeyPatch.context() as PATCH:
        config = settings(
            max_examples=150, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
        )
        run_state_machine_as_test(Nights, settings=config)
    assert {"published", "nothing due", "broken off", "taken back", "published again", "forgotten"} == MET, "too little was met"
