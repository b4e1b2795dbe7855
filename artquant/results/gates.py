"""Before a run is published: is it like the last one? Beyond its bounds it is held for a person to release or to give up."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from artquant.agreement.drift import Check, Limits, Tally, against_training, compare
from artquant.config import GateSpec
from artquant.core.errors import Held
from artquant.core.schema import REASON, Reason
from artquant.results import layout
from artquant.results.plan import PlanSummary
from artquant.results.snapshots import Snapshot
from artquant.storage.store import Store


class Tallying:
    """Counts a run's rows shard by shard."""

    def __init__(self, level_values: Sequence[float]):
        self.level_values, self.tally = level_values, Tally()

    def add(self, scores: pa.Table, rejects: pa.Table) -> None:
        """Tables of `score_schema()` and `reject_schema()`; what was tried again is not counted as tried: it failed before."""
        fresh, lost = (pc.sum(pc.not_equal(table.column(REASON), Reason.RETRY.value)).as_py() or 0 for table in (scores, rejects))
        self.tally = self.tally.with_scores(scores.to_pydict(), self.level_values)
        self.tally = replace(self.tally, num_tried=self.tally.num_tried + fresh + lost, num_rejected=self.tally.num_rejected + lost)


@dataclass(frozen=True)
class Judged:
    """How a run compares with the last one, and what the next one will be compared with, by scorer."""

    checks: tuple[Check, ...] = ()
    tallies: Mapping[str, Any] = field(default_factory=dict)


NOT_JUDGED = Judged()


def judge(
    gates: GateSpec, scorer: str, parent: Snapshot | None, plan: PlanSummary, tally: Tally, training: Sequence[float] | None = None
) -> Judged:
    """Compare tonight with the last night of the same scorer, and with the labels that its model was trained on, (5,) shares."""
    limits = Limits(
        psi=gates.max_psi,
        level_shift=gates.max_level_shift,
        mass_shift=gates.max_mass_shift,
        reject_rise=gates.max_reject_rise,
        gone_fraction=gates.max_gone_fraction,
        min_count=gates.min_count,
    )
    num_gone = plan.counts.get("gone", 0)
    num_there = plan.num_planned - plan.reasons.get(Reason.NEW.value, 0) + plan.num_reused + plan.counts.get("rejected for good", 0)
    document = parent.tallies.get(scorer) if parent else None
    before = Tally.from_document(document) if document else None
    checks = [*compare(tally, before, num_gone, num_gone + num_there, limits), *against_training(tally, training)]
    if not gates.enabled:
        checks = [replace(one, outcome="reported") for one in checks]
    return Judged(tuple(checks), following_tallies(parent, scorer, tally, gates.min_count))


def following_tallies(parent: Snapshot | None, scorer: str, tally: Tally, min_count: int) -> dict[str, dict[str, Any]]:
    """Return what the next night is compared with: tonight, or, where tonight is too small to say anything, tonight and what was before."""
    tallies = parent.tallies if parent else {}
    before = tallies.get(scorer)
    if before is not None and tally.num_scored < min_count:
        tally = tally + Tally.from_document(before)
    return tallies | {scorer: tally.to_document()}


def documents(checks: Sequence[Check]) -> tuple[dict[str, Any], ...]:
    """Return the checks as JSON values."""
    return tuple(
        {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in asdict(one).items()} for one in checks
    )


def hold_if_beyond(store: Store, work: str, snapshot: Snapshot, manifest: dict[str, Any], checks: Sequence[Check]) -> None:
    """Keep the finished snapshot for `release`, and raise Held, where a check is beyond its bound; else drop what was kept."""
    beyond = [one for one in checks if one.outcome == "beyond"]
    key = layout.held_key(work)
    if not beyond:
        if store.exists(key):
            store.delete(key)
        return
    store.put(key, json.dumps({"snapshot": json.loads(snapshot.to_json()), "manifest": manifest}).encode())
    why = "; ".join(f"{one.name} {one.value:.3g}, more than {one.bound:.3g}" for one in beyond)
    raise Held(
        f"The run {snapshot.run_id} is held, and nothing of it is visible: {why}. Look at its page, then publish it with "
        f"artquant snapshots release {store.uri} {snapshot.run_id}, or give it up with artquant snapshots abandon {store.uri}."
    )


def held_run(store: Store, work: str) -> tuple[Snapshot, dict[str, Any]] | None:
    """Return the snapshot that is held, and its manifest; None where none is."""
    key = layout.held_key(work)
    if not store.exists(key):
        return None
    document = json.loads(store.get(key))
    return Snapshot.from_json(json.dumps(document["snapshot"]).encode()), document["manifest"]
