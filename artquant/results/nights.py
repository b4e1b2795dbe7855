"""A night from its plan to its snapshot: what a run does with the store, apart from scoring. No cluster is asked here.

    prepare -> (shards are scored, see shards.py) -> finish

Killed anywhere, the same command goes on: ../docs/nights.md says crash point by crash point what is there and what happens next.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from artquant.core.errors import AnotherRun, RunFailed, UserError
from artquant.core.identity import Identity
from artquant.results import layout
from artquant.results.adopt import adopt
from artquant.results.build import Built, Scoring, build, ledger_of
from artquant.results.catalog import Source, listed_catalog, read_catalog
from artquant.results.claims import NOTHING_DUE, Intent, beating, claim, end, is_ended, last_intent, withdrawn_if_refused
from artquant.results.datafiles import read_table
from artquant.results.gates import NOT_JUDGED, Judged, documents, hold_if_beyond
from artquant.results.ledger import Night, scorer_digest
from artquant.results.listing import Watch, known_ranges
from artquant.results.plan import Draft, Plan, PlanSummary, draft_plan, store_plan
from artquant.results.queue import Queue, next_in_line, scores_of
from artquant.results.rows import SCORES, RowKind
from artquant.results.shards import ShardRecord, missing, records
from artquant.results.snapshots import Snapshot, Superseded, check_format, commit, following, mark_format, with_files
from artquant.results.trust import Trust, remember
from artquant.results.view import repair
from artquant.storage.store import Store


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What decides a run's rows. `others`: further settings that do, as JSON values. Two forced runs are asked alike: what makes them two
    is the snapshot that each is to follow. `room` and `queue`: what there is time for tonight, the first artworks by id or the texts whose
    turn it is; who goes on with a broken run does what was planned, whatever the time."""

    source: Source
    identity: Identity
    limit: int | None = None
    retry: frozenset[str] = frozenset()
    critique: bool = False
    force: bool = False
    others: Mapping[str, Any]
    accept_rolled_back: bool = False
    room: int | None = None
    queue: Queue | None = None
    rows: RowKind = SCORES
    catalog: Callable[[], Iterator[pa.Table]] | None = None  # of a job that lists its artworks itself, in place of the source

    @property
    def digest(self) -> str:
        """The same for two commands that are the same run."""
        parts = [
            asdict(self.source) | {"uri": sorted(self.source.uris), "others": None},
            scorer_digest(self.identity),
            self.limit,
            sorted(self.retry),
            self.critique,
            self.force,
            dict(self.others) | ({"queue": True} if self.queue else {}),
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]

    def night(self, parent: Snapshot | None) -> Night:
        return Night(
            self.identity,
            parent.scorers if parent else {},
            frozenset(self.source.collections),
            self.retry,
            self.critique,
            self.force,
        )


@dataclass(frozen=True)
class Work:
    """A claimed night: what is due, and which shards of it are done already."""

    store: Store
    parent: Snapshot | None
    intent: Intent
    asked: Asked
    plan: Plan
    presence: pa.Table
    done: dict[int, ShardRecord]

    @property
    def summary(self) -> PlanSummary:
        return self.plan.summary

    @property
    def due(self) -> dict[int, int]:
        """Shard -> artworks, of those that are not done."""
        rows = self.plan.shard_rows
        return {number: rows[number] for number in missing(self.plan, self.done)}


def opened(store: Store) -> Snapshot | None:
    """Return the last snapshot, its view repaired; results of an older program are adopted first. Raises OlderProgram."""
    check_format(store, is_writer=True)
    last = repair(store)
    if last is None and adopt(store):
        last = repair(store)
    return last


def draft(store: Store, parent: Snapshot | None, asked: Asked, folder: Path, watch: Watch = iter) -> Draft:
    """Return the plan, on this machine only."""
    source, queue = asked.source, asked.queue
    limit = min((bound for bound in (asked.limit, asked.room) if bound is not None), default=None)
    only = next_in_line(scores_of(store, parent), asked.identity, queue) if queue else None
    if asked.catalog:
        with listed_catalog(asked.catalog(), source) as catalog:
            return draft_plan(catalog, store, parent, asked.night(parent), folder, limit, source.carry, only)
    with read_catalog(source, watch, lambda: known_ranges(store, parent.ledger if parent else ())) as catalog:
        return draft_plan(catalog, store, parent, asked.night(parent), folder, limit, source.carry, only)


def refuse_quarantined(store: Store, parent: Snapshot | None, asked: Asked) -> None:
    """Raise UserError where the scorer came with a run that was taken back: the same would be published again in silence."""
    run_id = parent.quarantined.get(scorer_digest(asked.identity)) if parent else None
    if run_id and not asked.accept_rolled_back:
        raise UserError(
            f"The run {run_id} was taken back, and it was the first of {asked.identity.model_id}: score with another model, publish it "
            f"again with artquant snapshots release {store.uri} {run_id}, or say accept_rolled_back=true."
        )


@contextmanager
def claimed(
    store: Store,
    parent: Snapshot | None,
    asked: Asked,
    *,
    run_id: str,
    run_date: str,
    rows_per_file: int,
    stale_seconds: float,
    say: Callable[[str], None],
    watch: Watch = iter,
    trust: Trust | None = None,
) -> Iterator[Work | PlanSummary]:
    """Return the night's work for the block, or, where nothing is due, what the plan says of the rest. Raises AnotherRun and UserError."""
    refuse_quarantined(store, parent, asked)
    if asked.force and parent and (untold := _untold(store, parent, asked)):
        say(f"The run {parent.run_id} was published before it was stopped: this was the end of it. The same command forces another.")
        end(store, untold, "published")
        yield PlanSummary(0, 0, 0, {}, {"reused": parent.counts.get("planned", 0)})
        return
    number = parent.number + 1 if parent else 1
    intent = claim(store, number, asked.digest, run_id, run_date, rows_per_file, stale_seconds=stale_seconds, say=say)
    with beating(store, intent):
        key, presence_key = layout.plan_key(intent.work), f"{layout.work_prefix(intent.work)}/presence.parquet"
        if not store.exists(key):
            with tempfile.TemporaryDirectory(prefix="artquant-plan-") as folder, withdrawn_if_refused(store, intent):
                made = draft(store, parent, asked, Path(folder), watch)
                if not made.summary.num_planned:
                    end(store, intent, NOTHING_DUE)
                    yield made.summary
                    return
                mark_format(store)
                if trust:
                    remember(store, trust)
                sink = pa.BufferOutputStream()
                pq.write_table(made.presence, sink)
                store.put(presence_key, sink.getvalue().to_pybytes())
                store_plan(store, key, made)
        plan = Plan(store, key)
        done = records(store, intent.work, plan)
        if done:
            total = len(plan.shard_rows)
            say(f"Going on with the run {intent.run_id}: {len(done):,} of {total:,} shards are done")
        yield Work(store, parent, intent, asked, plan, read_table(store, presence_key), done)


def _untold(store: Store, parent: Snapshot, asked: Asked) -> Intent | None:
    """Return the claim of a forced run that is the last snapshot, where its process was gone before it could say so."""
    if parent.kind != "run" or parent.digest != asked.digest:
        return None
    intent = last_intent(store, parent.number)
    return intent if intent and intent.write_id == parent.write_id and not is_ended(store, intent) else None


def assemble(work: Work, on_shard: Callable[[pa.Table, pa.Table], None]) -> Built:
    """Return the run's files, from the records of all its shards. Raises RunFailed where one is missing."""
    done = records(work.store, work.intent.work, work.plan)
    if lack := missing(work.plan, done):
        raise RunFailed(f"The run does not add up: {len(lack)} of {len(work.plan.shard_rows)} shards have no record: run it again.")
    asked = work.asked
    kinds = {asked.source.kind, *(one["kind"] for one in (work.parent.collections if work.parent else {}).values())}
    scoring = Scoring(
        model_id=asked.identity.model_id,
        scorer=scorer_digest(asked.identity),
        source=asked.source,
        critique=asked.critique,
        is_content_known="manifest" not in kinds,
        rows=asked.rows,
    )
    return build(work.store, work.parent, work.intent, work.plan, done, work.presence, scoring, on_shard)


def publish(work: Work, built: Built, rates: Mapping[str, float], judged: Judged = NOT_JUDGED) -> Snapshot:
    """Commit the run and bring the view to it. Raises Held where it looks unlike the last one, AnotherRun where another was first, and
    OutcomeUnknown."""
    parent, intent, asked = work.parent, work.intent, work.asked
    before = built.rewritten.of(parent.files if parent else ())
    files, removed = with_files(parent, (*before, *built.files), intent.number)
    scorers = (parent.scorers if parent else {}) | {scorer_digest(asked.identity): asdict(asked.identity)}
    collections = {collection: {"kind": asked.source.kind, "uri": uri} for collection, uri in asked.source.collections.items()}
    superseded = {"superseded": built.rewritten.num_rows} if built.rewritten.num_rows else {}
    snapshot = following(
        parent,
        "run",
        intent.run_id,
        intent.write_id,
        files=files,
        removed=removed,
        ledger=ledger_of(work.store, parent, built.ledger, intent.work),
        scorers=scorers,
        collections=(parent.collections if parent else {}) | collections,
        carried=tuple(dict.fromkeys((*(parent.carried if parent else ()), *work.plan.carry))),
        counts={"planned": work.summary.num_planned, "scored": built.num_scored, "rejected": built.num_rejected} | superseded,
        rates=dict(rates),
        digest=asked.digest,
        gates=documents(judged.checks),
        tallies=dict(judged.tallies),
    )
    manifest = manifest_of(work, built, snapshot)
    hold_if_beyond(work.store, intent.work, snapshot, manifest, judged.checks)
    try:
        commit(work.store, snapshot)
    except Superseded as lost:
        repair(work.store)
        raise AnotherRun(
            f"The run {lost.winner.run_id} was first on {work.store.uri}: nothing of this run is visible; run it again to score what is "
            "due after it."
        ) from lost
    write_manifest(work.store, intent.run_id, manifest)
    repair(work.store)
    if asked.force:  # from here on the same command forces once more
        end(work.store, intent, "published")
    return snapshot


def write_manifest(store: Store, run_id: str, manifest: dict[str, Any]) -> None:
    store.put(layout.run_key(run_id, "manifest.json"), json.dumps(manifest, indent=1).encode())


def manifest_of(work: Work, built: Built, snapshot: Snapshot) -> dict[str, Any]:
    """Return what CURRENT names, for who reads it."""
    summary, identity = work.summary, work.asked.identity
    return {
        "run_id": work.intent.run_id,
        "run_date": work.intent.run_date,
        "published_at": snapshot.created_at,
        "snapshot": snapshot.number,
        "identity": asdict(identity),
        "plan": asdict(summary),
        "num_scored": built.num_scored,
        "num_rejected": built.num_rejected,
        "num_reused": summary.num_reused,
        "files": [{"kind": file.kind, "key": file.view, "num_rows": file.num_rows, "num_bytes": file.num_bytes} for file in built.files],
    }
