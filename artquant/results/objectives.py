"""Whether the nights were as promised, computed from what they published and from no pod or process (../docs/operations.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from statistics import median

from artquant.core.schema import RejectClass
from artquant.results import layout
from artquant.results.snapshots import Snapshot, history
from artquant.results.state import PUBLISHING, metrics_of, quiet_nights, view_number
from artquant.storage.store import Store

DAYS = 28
VIEW_SECONDS = 300.0
COST_RISE = 0.2
PASSING = frozenset({RejectClass.MISSING, RejectClass.DENIED, RejectClass.THROTTLED, RejectClass.TIMEOUT})  # due again on the next night


@dataclass(frozen=True)
class Night:
    """A published run. `num_lost`: of the plan, neither scored nor rejected, or there twice; `num_passing`: rejected for trouble that
    passes; `seconds`: of the run, None where its metrics.json is gone; `view_seconds`: from the commit until readers by glob had it, where
    that is known."""

    published_at: datetime
    num_planned: int
    num_scored: int
    num_lost: int
    num_passing: int = 0
    seconds: float | None = None
    view_seconds: float | None = None


@dataclass(frozen=True)
class Objective:
    """One promise: what of `num` nights or rows was `good`, against the share that is promised."""

    name: str
    target: float
    good: int
    num: int

    @property
    def share(self) -> float:
        return self.good / self.num if self.num else 1.0

    @property
    def is_met(self) -> bool:
        return self.share >= self.target

    @property
    def budget_left(self) -> float:
        """Of what may go wrong, the share that has not; negative where more has."""
        allowed = (1 - self.target) * self.num
        wrong = self.num - self.good
        return 1 - wrong / allowed if allowed else float(wrong == 0)


def objectives(nights: Sequence[Night], quiet: Sequence[datetime], by: time, now: datetime) -> list[Objective]:
    """Hold the nights of the last DAYS days against their promises. `quiet`: when nothing was due; `by`: until when, in UTC, a night is to
    be over. A day counts from the first night on."""
    days = expected_days([night.published_at for night in nights] + list(quiet), by, now)
    ends = sorted([night.published_at for night in nights] + list(quiet))
    over = sum(any(day - timedelta(days=1) < end <= day for end in ends) for day in days)
    recent = [night for night in nights if night.published_at > now - timedelta(days=DAYS)]
    planned, tried = sum(night.num_planned for night in recent), sum(night.num_scored + night.num_passing for night in recent)
    viewed = [night.view_seconds for night in recent if night.view_seconds is not None]
    costs = cost_steps(recent)
    return [
        Objective(f"over by {by:%H:%M} UTC, of the days", 0.99, over, len(days)),
        Objective("neither lost nor twice, of the rows", 1.0, planned - sum(night.num_lost for night in recent), planned),
        Objective("due and scored, of the rows without those rejected for good", 0.999, sum(night.num_scored for night in recent), tried),
        Objective("in the view within 5 min, of the nights", 0.99, sum(one <= VIEW_SECONDS for one in viewed), len(viewed)),
        Objective("within a fifth of the median cost of 7 nights, of the nights", 0.95, sum(costs), len(costs)),
    ]


def expected_days(ends: Sequence[datetime], by: time, now: datetime) -> list[datetime]:
    """Return when each night of the window was to be over: from the first end on, and no later than now."""
    if not ends:
        return []
    first = max(min(ends).date(), (now - timedelta(days=DAYS)).date())
    days = (datetime.combine(first + timedelta(days=number), by, UTC) for number in range((now.date() - first).days + 1))
    return [day for day in days if min(ends) <= day <= now]


def cost_steps(nights: Sequence[Night]) -> list[bool]:
    """Tell for each night with seven before it whether a score took at most a fifth longer than their median: the price of an hour is the
    same on both sides."""
    each = [night.seconds / night.num_scored for night in nights if night.seconds is not None and night.num_scored]
    return [cost <= (1 + COST_RISE) * median(each[place - 7 : place]) for place, cost in enumerate(each) if place >= 7]


def nights_of(store: Store) -> list[Night]:
    """Return the published runs of the chain, oldest first. Raises FetchError and UserError."""
    chain = history(store)
    pairs = zip(chain, [None, *chain[:-1]], strict=True)
    return [_night(store, one, before, one is chain[-1]) for one, before in pairs if one.kind in PUBLISHING]


def _night(store: Store, one: Snapshot, parent: Snapshot | None, is_last: bool) -> Night:
    metrics, counts = metrics_of(store, one.run_id), one.counts
    rejects = metrics.get("rejects_by_class", {})
    before = {file.data for file in parent.files} if parent else set()
    own = [file for file in one.files if file.data not in before and file.run_id == one.run_id and "/rewritten-" not in file.data]
    planned, scored = counts.get("planned", 0), counts.get("scored", 0)
    written = sum(file.num_rows for file in own if file.kind == "scores")
    lost = abs(planned - scored - counts.get("rejected", 0)) + abs(written - scored)
    view = None
    if is_last and own and view_number(store) >= one.number:
        committed = store.modified_at(layout.snapshot_key(one.number))
        view = max((store.modified_at(file.view) - committed).total_seconds() for file in own if store.exists(file.view))
    at = datetime.fromisoformat(one.created_at)
    if one.kind != "run":  # rows that are counted where they first came
        return Night(at, 0, 0, 0, view_seconds=view)
    passing = sum(num for name, num in rejects.items() if name in PASSING)
    return Night(at, planned, scored, lost, passing, metrics.get("seconds"), view)


def measured(store: Store, by: time, now: datetime) -> list[Objective]:
    """Return the objectives of an output as they stand. Raises FetchError and UserError."""
    return objectives(nights_of(store), quiet_nights(store), by, now)
