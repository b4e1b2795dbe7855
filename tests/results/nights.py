"""Nights without a cluster and an engine: a score is made up from the artwork's content, and all else is the real code."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from artquant.agreement.drift import Tally
from artquant.core.identity import Identity
from artquant.core.schema import LEVELS
from artquant.results.catalog import Source
from artquant.results.gates import Judged, Tallying
from artquant.results.nights import Asked, Work, assemble, claimed, opened, publish
from artquant.results.plan import PlanSummary
from artquant.results.rows import outcome_schema
from artquant.results.shards import ShardCollector
from artquant.results.snapshots import Snapshot
from artquant.storage.store import Store

IDENTITY = Identity("red", "model-1", "prompt-1", "pre-1", "float32")
BROKEN = b"broken"
FRAGILE = b"kills whoever writes texts on it"


def outcomes(work: Work, number: int) -> pa.Table:
    """A shard's outcomes: content that is BROKEN is a reject, all else has a score that follows its etag."""
    source = work.asked.source
    from artquant.storage.store import open_store

    store = open_store(source.uri)
    rows: list[dict[str, Any]] = []
    for planned in work.plan.shard(number):
        row = {"artwork_id": planned["artwork_id"], "uri": planned["uri"], "etag": planned["etag"], "reason": planned["reason"]}
        row |= {"shard": number, "run_id": work.intent.run_id, "at": datetime.now(UTC), **vars(work.asked.identity)}
        row |= {"width": 1, "height": 1, "attempts": 1, "message": "", "reject_class": ""}
        if source.others:
            store = open_store(planned["uri"].removesuffix(planned["artwork_id"]))
        data, row["etag"] = store.get_with_etag(planned["artwork_id"]) if source.kind == "input" else (b"there", planned["uri"])
        if data == BROKEN:
            row |= {"reject_class": "not_an_image", "message": "it is broken"}
        elif data == FRAGILE and work.asked.critique:
            row |= {"reject_class": "poison", "message": "the process died"}
        elif data == b"slow":
            row |= {"reject_class": "timeout", "message": "no answer in time"}
        else:
            row |= {f"p_{level}": 0.2 for level in LEVELS}
            row |= {"score": float(len(data)), "score_std": 1.0, "level": "fair", "open_set_mass": 1.0, "entropy": 1.6}
            row |= {"needs_review": False, "critique_status": "ok" if work.asked.critique else "not_requested"}
        rows.append(row)
    return pa.Table.from_pylist(rows, outcome_schema())


def asked(source: Store | Source, **changes: Any) -> Asked:
    if isinstance(source, Store):
        source = Source("input", source.uri)
    return Asked(**{"source": source, "identity": IDENTITY, "others": {}} | changes)


def night(
    store: Store,
    question: Asked,
    run_id: str = "night",
    *,
    run_date: str = "2026-11-27",
    stop_after: int | None = None,
    after_planning: Callable[[Work], object] = lambda work: None,
    before_publishing: Callable[[Work], object] = lambda work: None,
    judge: Callable[[Work, Tally], Judged] = lambda work, tally: Judged(),
    said: list[str] | None = None,
    stale_seconds: float = 60.0,
) -> Snapshot | PlanSummary:
    """A whole night; it is broken off after `stop_after` shards, as if somebody had stopped it."""
    parent = opened(store)
    lines = said if said is not None else []
    with claimed(
        store, parent, question, run_id=run_id, run_date=run_date, rows_per_file=3, stale_seconds=stale_seconds, say=lines.append
    ) as work:
        if isinstance(work, PlanSummary):
            return work
        after_planning(work)
        collector = ShardCollector(store, work.intent.work, work.plan)
        for done, number in enumerate(work.due):
            if done == stop_after:
                collector.pool.shutdown()
                raise KeyboardInterrupt
            collector.add(outcomes(work, number))
        collector.finish()
        tallying = Tallying((10.0, 7.5, 5.0, 3.5, 1.0))
        built = assemble(work, tallying.add)
        before_publishing(work)
        return publish(work, built, {}, judge(work, tallying.tally))


def identities_by_glob(store: Store) -> dict[tuple[str, str, str, str], tuple[str, str]]:
    """(artwork_id, etag, model digest, dtype) -> (run_id, critique status) of the score rows by glob, none of them twice."""
    found: dict[tuple[str, str, str, str], tuple[str, str]] = {}
    for info in store.list("scores"):
        for row in pq.read_table(store.open_input(info.key)).to_pylist():
            identity = (row["artwork_id"], row["etag"], row["model_digest"], row["dtype"])
            assert identity not in found, f"{identity} is there twice"
            found[identity] = (row["run_id"], row["critique_status"])
    return found


def rows_by_glob(store: Store, kind: str = "scores") -> list[tuple[str, str, str]]:
    """(artwork_id, etag, run_id) of every row that a reader by glob meets."""
    found = []
    for info in store.list(kind):
        table = pq.read_table(store.open_input(info.key))
        found += list(zip(*(table.column(name).to_pylist() for name in ("artwork_id", "etag", "run_id")), strict=True))
    return sorted(found)


__all__ = ["BROKEN", "IDENTITY", "asked", "identities_by_glob", "night", "nullcontext", "outcomes", "rows_by_glob"]
