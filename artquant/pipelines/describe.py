"""The describe job: collection -> plan -> the judge's exam -> waves of rounds (generate, judge, again) -> shards -> files -> snapshot."""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any, cast

import pyarrow as pa
import ray

from artquant.config import ResolvedDescribeSpec, spec_yaml
from artquant.core import schema
from artquant.core.errors import Held, RunFailed, UserError
from artquant.core.identity import Identity
from artquant.core.schema import CRITIQUE_PARTS
from artquant.descriptions.collection import Collection
from artquant.descriptions.exam import Marks, check
from artquant.descriptions.measures import diversity, diversity_check
from artquant.descriptions.purse import Limit, Purse, Spent, read_spent
from artquant.pipelines.describe_claims import ClaimSettings, ClaimStage, marks_of
from artquant.pipelines.describe_report import MAX_MEASURED, Gathering, taught_readers
from artquant.pipelines.describe_rounds import RoundLimit
from artquant.pipelines.describe_stages import ExamSettings, ExamStage
from artquant.pipelines.describe_waves import Players, run_waves, stage_outputs
from artquant.pipelines.run import warn_only
from artquant.progress.display import watch
from artquant.progress.stages import Counter as ProgressCounter
from artquant.progress.stages import start_counter
from artquant.prompts.asking import described
from artquant.records.description import ClaimMarks, DescriptionReport
from artquant.report.description_page import render_description
from artquant.results import layout
from artquant.results.gates import Judged, documents
from artquant.results.nights import Asked, Work, assemble, claimed, opened, publish
from artquant.results.plan import PlanSummary
from artquant.results.rows import DESCRIPTIONS
from artquant.results.thumbnails import thumbnail_of
from artquant.results.trust import trusted
from artquant.storage.address import locate
from artquant.storage.store import Store, open_store


def identity_of(spec: ResolvedDescribeSpec, players: Players) -> Identity:
    """Return what a description depends on beside the artwork, its score and its comment."""
    told = [players.generator.picture_size, players.judge.picture_size, spec.language, spec.statistics]
    rounds = f"{spec.max_rounds}" if spec.stop_without_gain else f"all {spec.max_rounds}"
    models = f"{players.generator.digest} {players.judge.digest} {rounds} {spec.exam.false_accepts}"
    return Identity(
        players.generator.name,
        hashlib.sha256(models.encode()).hexdigest()[:16],
        players.templates.digest,
        hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16],
        "text",
    )


def asked_of(spec: ResolvedDescribeSpec, players: Players, collection: Collection) -> Asked:
    """Return what decides the run's rows: not its budget, its workers or its date."""
    return Asked(
        source=collection.source,
        identity=identity_of(spec, players),
        limit=spec.limit,
        retry=frozenset(spec.retry),
        force=spec.force,
        accept_rolled_back=spec.accept_rolled_back,
        others={"job": "describe"},
        rows=DESCRIPTIONS,
        catalog=collection.tables,
    )


@contextmanager
def claimed_descriptions(spec: ResolvedDescribeSpec, players: Players, collection: Collection) -> Iterator[Work | PlanSummary]:
    """Return what is due, claimed for the block; the plan's summary where nothing is. Raises AnotherRun and UserError."""
    say = partial(print, file=sys.stderr, flush=True)
    store, trust = trusted(open_store(spec.output), False, say)
    with claimed(
        store,
        opened(store),
        asked_of(spec, players, collection),
        run_id=spec.run_id,
        run_date=spec.run_date.isoformat(),
        rows_per_file=spec.rows_per_file,
        stale_seconds=spec.stale_seconds,
        say=say,
        watch=partial(watch, what="listed"),
        trust=trust,
    ) as work:
        yield work


def run_describe(spec: ResolvedDescribeSpec, players: Players, collection: Collection, work: Work) -> DescriptionReport:
    """Describe what is due and publish it as one snapshot. Ray is running.

    Raises RunFailed, AnotherRun, OutcomeUnknown, Held, and UserError where the judge does not pass or the budget is spent.
    """
    started_at, store, run_id = datetime.now(UTC), work.store, work.intent.run_id
    store.put(layout.run_key(run_id, "spec.yaml"), spec_yaml(spec).encode())
    counter, gathering = start_counter(), Gathering(collection.scale)
    readers = cache(taught_readers)
    limit = RoundLimit(spec.max_rounds, spec.stop_without_gain, lambda: readers()[0])
    claims: ClaimMarks | None = None
    refuse_spent(spec, store)
    purse = cast(Any, ray).remote(num_cpus=0, max_concurrency=32)(Purse).remote(store, Limit(spec.budget_tokens, spec.budget_money))
    try:
        marks = examined(spec, players, store, purse, counter)
        if work.due:
            run_waves(spec, players, collection, work, marks, purse, counter, limit, gathering.add)
            claims = claims_of(spec, players, collection, gathering, purse, counter)
    finally:
        spent: Spent = ray.get(purse.close.remote())
    counts, texts = Counter[Any](), list[str]()

    def on_shard(kept: pa.Table, aside: pa.Table) -> None:
        counts.update(kept.column(schema.NUM_ROUNDS).to_pylist() + aside.column(schema.REJECT_CLASS).to_pylist())
        rows = kept.select(CRITIQUE_PARTS).to_pylist() if len(texts) < MAX_MEASURED else []
        texts.extend(described(row) for row in rows)

    built = assemble(work, on_shard)
    found = diversity(texts)
    judged = Judged((diversity_check(found, spec.max_duplicates),) if texts else ())
    failure: Held | None = None
    try:
        publish(work, built, {"tokens_per_artwork": spent.tokens / max(1, work.summary.num_planned)}, judged)
    except Held as held:
        failure = held
    with warn_only(f"The run is {'held' if failure else 'published'}, but its page was not written"):
        report = DescriptionReport(
            run_id=run_id,
            status="held" if failure else "published",
            started_at=started_at,
            finished_at=datetime.now(UTC),
            generator=players.generator.name,
            judge=players.judge.name,
            is_one_family=players.generator.family == players.judge.family,
            template_digest=players.templates.digest,
            num_planned=work.summary.num_planned,
            num_kept=built.num_scored,
            num_set_aside=built.num_rejected,
            num_reused=work.summary.num_reused,
            by_round={name: count for name, count in sorted(counts.items(), key=str) if isinstance(name, int)},
            aside={name: (count, gathering.messages.get(name, [])) for name, count in counts.items() if isinstance(name, str)},
            exam=exam_numbers(marks),
            accepted_by_fault=marks.by_fault,
            tokens=spent.tokens,
            money=spent.money,
            tokens_in_all=read_spent(store).tokens,
            money_in_all=read_spent(store).money,
            rounds=gathering.rounds(readers()),
            rounds_note=limit.sentence(),
            claims=claims,
            bias=gathering.bias(readers()[0]),
            diversity={name: value for name, value in vars(found).items() if name != "num"} if texts else {},
            checks=judged.checks,
            shown=gathering.shown(lambda uri: thumbnail_of(*locate(uri), fetch=spec.fetch)),
            message=str(failure) if failure else None,
            config=spec.model_dump(mode="json"),
        )
        store.put(layout.run_key(run_id, "metrics.json"), json.dumps(metrics(report), indent=1, default=str).encode())
        store.put(layout.run_key(run_id, "check.csv"), gathering.sheet())
        store.put(layout.run_key(run_id, "report.html"), render_description(report).encode())
    if failure:
        raise failure
    return report


def exam_numbers(marks: Marks) -> dict[str, float]:
    names = ("threshold", "false_accepts", "false_refusals", "auc", "agreement", "num_right", "num_wrong")
    return {name.replace("_", " "): float(getattr(marks, name)) for name in names}


def refuse_spent(spec: ResolvedDescribeSpec, store: Store) -> None:
    """Raise UserError where the budget was spent by earlier runs: a run would set all aside."""
    spent = read_spent(store)
    for name, used, limit in (("budget_tokens", spent.tokens, spec.budget_tokens), ("budget_money", spent.money, spec.budget_money)):
        if limit is not None and used >= limit > 0:
            raise UserError(f"{name}={limit:g} is spent ({used:g}): what was done is kept, and a larger {name} goes on from there.")


def examined(spec: ResolvedDescribeSpec, players: Players, store: Store, purse: Any, counter: ProgressCounter) -> Marks:
    """Return the judge's marks, from its exam or, where it sat the same before, from the store. Raises UserError where it does not pass."""
    sat = [players.judge.digest, players.templates.judge.digest, spec.exam.model_dump(mode="json"), spec.judge.max_tokens]
    key = f"{layout.ROOT}/exams/{hashlib.sha256(json.dumps(sat).encode()).hexdigest()[:16]}.json"
    if store.exists(key):
        marks = Marks(**json.loads(store.get(key)))
    else:
        settings = ExamSettings(
            judge=players.judge,
            templates=players.templates,
            spec=spec.exam,
            output=spec.output,
            purse=purse,
            stall_seconds=spec.stall_minutes * 60,
            counter=counter,
        )
        found = list(stage_outputs(spec, ExamStage, settings, 1))
        document = found[0].column("marks")[0].as_py()
        store.put(key, document.encode())
        marks = Marks(**json.loads(document))
    check(marks, spec.exam, f"The judge {players.judge.name}")
    return marks


def claims_of(
    spec: ResolvedDescribeSpec, players: Players, collection: Collection, gathering: Gathering, purse: Any, counter: ProgressCounter
) -> ClaimMarks | None:
    """Ask the judge for the sentences of some kept descriptions; None where that is not wanted, or nothing was kept, or it failed."""
    rows = [(row.artwork_id, row.uri, row.level, row.state.last.texts) for row in gathering.drawn(spec.claims) if row.state.last]
    if not rows or "claim" not in players.templates.judge.pieces:
        return None
    settings = ClaimSettings(
        judge=players.judge,
        templates=players.templates,
        exam=spec.exam,
        rows=tuple(rows),
        images=collection.images,
        fetch=spec.fetch,
        output=spec.output,
        purse=purse,
        stall_seconds=spec.stall_minutes * 60,
        counter=counter,
    )
    print("Asking the judge for single sentences", file=sys.stderr, flush=True)
    try:
        return marks_of(list(stage_outputs(spec, ClaimStage, settings, 1))[0].column("marks")[0].as_py())
    except (UserError, RunFailed) as error:  # it is for the page alone
        print(f"artquant: No single sentence was asked: {error}", file=sys.stderr, flush=True)
        return None


def metrics(report: DescriptionReport) -> dict[str, Any]:
    """Numbers for machines."""
    return {
        "run_id": report.run_id,
        "status": report.status,
        "exam": dict(report.exam) | {"accepted": dict(report.accepted_by_fault)},
        "num_described": report.num_kept,
        "num_set_aside": report.num_set_aside,
        "kept_by_round": {str(number): count for number, count in report.by_round.items()},
        "set_aside": {name: count for name, (count, _) in report.aside.items()},
        "tokens": report.tokens,
        "money": report.money,
        "tokens_in_all": report.tokens_in_all,
        "rounds": [asdict(mark) for mark in report.rounds],
        "rounds_note": report.rounds_note,
        "bias": [asdict(one) for one in report.bias],
        "claims": asdict(report.claims) if report.claims else None,
        "diversity": dict(report.diversity),
        "gates": documents(report.checks),
        "seconds": report.seconds,
    }
