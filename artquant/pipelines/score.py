"""The score job: catalog -> plan -> fetch and decode -> score and critique -> shards -> files -> snapshot -> view -> page."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from functools import partial
from typing import Any

import pyarrow as pa

from artquant.agreement.drift import Check
from artquant.config import ResolvedScoreSpec, spec_yaml
from artquant.core.errors import Held, Reject, RunFailed, UserError
from artquant.core.identity import Identity
from artquant.core.schema import Reason
from artquant.engines.recipe import DEMONSTRATION, EngineRecipe, is_tiny
from artquant.pipelines.rates import PACES, rates_of
from artquant.pipelines.run import ScoringRun, check_capacity, execute, warn_only
from artquant.pipelines.sizing import NO_RATES
from artquant.pipelines.stages import scoring_stage
from artquant.progress.display import watch
from artquant.progress.stages import Counter, StageCount, counts_of, start_counter
from artquant.records.run import OutputFile, RunReport, StageTime
from artquant.report.page import render
from artquant.results import layout
from artquant.results.build import Built
from artquant.results.catalog import Source
from artquant.results.claims import Intent, end
from artquant.results.gates import Judged, Tallying, documents, judge
from artquant.results.ledger import scorer_digest
from artquant.results.nights import Asked, Work, assemble, claimed, opened, publish
from artquant.results.plan import PlanSummary
from artquant.results.rows import split
from artquant.results.shards import ShardCollector, read_shard, records
from artquant.results.summary import Summary
from artquant.results.tally import KeptRejects, Tally, TooManyRejects
from artquant.results.thumbnails import picture_of, with_thumbnails
from artquant.results.trust import trusted
from artquant.storage.budget import BUDGET
from artquant.storage.store import open_store


def asked_of(spec: ResolvedScoreSpec, identity: Identity) -> Asked:
    """Return what decides the run's rows: not its workers, its batches or its date."""
    kind, (uri, *others) = spec.collection
    return Asked(
        source=Source(kind, uri, spec.exclude, spec.carry, tuple(others)),
        identity=identity,
        limit=spec.limit,
        retry=frozenset(spec.retry),
        accept_rolled_back=spec.accept_rolled_back,
        critique=spec.engine.critique,
        force=spec.force,
        others={
            "review": spec.review.model_dump(mode="json"),
            "max_pixels": spec.fetch.max_pixels,
        },
    )


@contextmanager
def claimed_night(spec: ResolvedScoreSpec, identity: Identity, asked: Asked | None = None) -> Iterator[Work | PlanSummary]:
    """Return the night's work, claimed for the block; the plan's summary where nothing is due. Ray need not run.

    Raises AnotherRun where somebody else is at work on it, UserError and OlderProgram.
    """
    BUDGET.limit(spec.fetch.max_requests_per_second)
    say = partial(print, file=sys.stderr, flush=True)
    store, trust = trusted(open_store(spec.output), spec.single_writer, say)
    parent = opened(store)
    with claimed(
        store,
        parent,
        asked or asked_of(spec, identity),
        run_id=spec.run_id,
        run_date=spec.run_date.isoformat(),
        rows_per_file=spec.rows_per_file,
        stale_seconds=spec.stale_seconds,
        say=say,
        watch=partial(watch, what="listed"),
        trust=trust,
    ) as work:
        yield work


def run_score(spec: ResolvedScoreSpec, recipe: EngineRecipe, work: Work, end_ray: Callable[[], None] | None = None) -> RunReport:
    """Scores what is due and publishes it as one snapshot. Ray is running; what a person can get wrong was checked before it was started.
    `end_ray` is called when Ray is needed no more, before the page is made.

    Raises RunFailed where the run may not be published, AnotherRun where another was first, OutcomeUnknown where the store does not say,
    and UserError where a store fails; what was published before is current still. What fails after publishing, the page, is said on stderr.
    """
    check_capacity(spec.fetch, recipe.engine)
    spec = as_claimed(spec, work.intent)
    started_at, store, run_id = datetime.now(UTC), work.store, work.intent.run_id
    store.put(layout.run_key(run_id, "spec.yaml"), spec_yaml(spec).encode())
    counter, summary = start_counter(), Summary(recipe.level_values)
    failure: Exception | None = None
    built: Built | None = None
    rejects, tally = KeptRejects(), tally_of(spec, work)
    tallying, judged = Tallying(recipe.level_values), Judged()

    def on_shard(scored: pa.Table, rejected: pa.Table) -> None:
        tallying.add(scored, rejected)
        summary.add_scores(scored.to_pydict())
        summary.add_rejects(rejected.to_pydict())
        rejects.add(rejected)
        tally.add(rejected)

    try:
        if work.due:
            score_shards(spec, recipe, work, counter, on_shard)
        built = assemble(work, on_shard)
        tally.check(is_over=True)
        judged = judge(spec.gates, scorer_digest(work.asked.identity), work.parent, work.summary, tallying.tally, recipe.training_shares)
        paces = {name: rate for name, rate in (work.parent.rates if work.parent else {}).items() if name in PACES}
        publish(work, built, paces | rates_of(counts_of(counter), recipe.engine.critique), judged)
    except (RunFailed, UserError) as error:
        failure = error
        if isinstance(error, TooManyRejects):
            end(store, work.intent, "too many rejects")  # the same command plans anew
    except Reject as error:
        failure = RunFailed(f"What was written to {store.uri} cannot be read again, and nothing was published: {error.message}.")
    stages = counts_of(counter)
    if end_ray:
        end_ray()
    report = build_report(
        spec,
        recipe,
        work,
        summary=summary,
        files=[OutputFile(file.view, file.num_rows, file.num_bytes) for file in (built.files if built and not failure else ())],
        stages=stages,
        started_at=started_at,
        finished_at=datetime.now(UTC),
        failure=failure,
        checks=judged.checks,
    )
    with warn_only(f"The run is {'not published' if failure else 'published'}, but its page was not written"):
        if rejects.num_kept and failure and not isinstance(failure, Held):
            store.put(layout.run_key(run_id, "rejects.parquet"), rejects.to_parquet())
            if rejects.num_seen > rejects.num_kept:
                print(f"The first {rejects.num_kept:,} of {rejects.num_seen:,} rejects are kept beside the page", file=sys.stderr)
        store.put(layout.run_key(run_id, "metrics.json"), json.dumps(metrics(report), indent=1).encode())
        store.put(layout.run_key(run_id, "report.html"), render(report).encode())
    if failure:
        raise failure
    return report


def as_claimed(spec: ResolvedScoreSpec, intent: Intent) -> ResolvedScoreSpec:
    """Return the settings with what the work keeps, whoever goes on with it."""
    kept = {"run_id": intent.run_id, "run_date": date.fromisoformat(intent.run_date), "rows_per_file": intent.rows_per_file}
    return spec.model_copy(update=kept)


def tally_of(spec: ResolvedScoreSpec, work: Work) -> Tally:
    num_tried = work.summary.num_planned - work.summary.reasons.get(Reason.RETRY.value, 0)
    return Tally(spec.max_rejected_fraction, spec.min_rejected, num_tried)


def score_shards(
    spec: ResolvedScoreSpec,
    recipe: EngineRecipe,
    work: Work,
    counter: Counter,
    on_shard: Callable[[pa.Table, pa.Table], None],
) -> None:
    """Score what is due, shard by shard. Where too many are rejected on the way, `on_shard` gets what came until then.

    Raises TooManyRejects then, and RunFailed."""
    collector, tally = ShardCollector(work.store, work.intent.work, work.plan), tally_of(spec, work)

    def on_outcomes(outcomes: pa.Table) -> None:
        collector.add(outcomes)
        tally.add(outcomes)
        tally.check(is_over=False)

    try:
        rates = work.parent.rates if work.parent else NO_RATES
        execute(scoring_run(spec, work.intent.run_id, rates), recipe, layout.plan_key(work.intent.work), work.due, counter, on_outcomes)
    except TooManyRejects:
        parts = collector.stop()
        for record in records(work.store, work.intent.work, work.plan).values():
            on_shard(*split(read_shard(work.store, record)))
        for part in parts:
            on_shard(*split(part))
        raise
    collector.finish()


def scoring_run(spec: ResolvedScoreSpec, run_id: str, rates: Mapping[str, float] = NO_RATES) -> ScoringRun:
    return ScoringRun(
        run_id=run_id,
        input=spec.input,
        output=spec.output,
        fetch=spec.fetch,
        stall_minutes=spec.stall_minutes,
        review=spec.review,
        rates=rates,
    )


def build_report(
    spec: ResolvedScoreSpec,
    recipe: EngineRecipe,
    work: Work,
    *,
    summary: Summary,
    files: list[OutputFile],
    stages: dict[str, StageCount],
    started_at: datetime,
    finished_at: datetime,
    failure: Exception | None,
    checks: Sequence[Check],
) -> RunReport:
    plan, findings = work.summary, summary.result()
    findings = with_thumbnails(findings, partial(picture_of, spec.fetch))
    scoring = stages.get(scoring_stage(recipe.engine.critique))
    wall = scoring.last_at - scoring.first_at if scoring else 0.0
    return RunReport(
        run_id=work.intent.run_id,
        run_date=date.fromisoformat(work.intent.run_date),
        status="held" if isinstance(failure, Held) else "failed" if failure else "published",
        started_at=started_at,
        finished_at=finished_at,
        input_uri=", ".join(spec.collection[1]),
        output_uri=spec.output,
        model_id=recipe.identity.model_id,
        model_digest=recipe.identity.model_digest,
        prompt_digest=recipe.identity.prompt_digest,
        engine=recipe.description,
        num_planned=plan.num_planned,
        num_scored=findings.num_scored,
        num_rejected=findings.num_rejected,
        num_reused=plan.num_reused,
        num_queued=plan.counts.get("queued", 0),
        reasons=plan.reasons,
        images_per_second=scoring.num_rows / wall if scoring and wall else 0.0,
        stages=[
            StageTime(
                name,
                count.busy_seconds,
                count.num_rows,
                count.num_rows / count.busy_seconds,
                count.throttled_seconds,
                count.num_shrunk,
            )
            for name, count in stages.items()
            if count.busy_seconds
        ],
        files=files,
        config=spec.model_dump(mode="json"),
        findings=findings,
        message=str(failure) if failure else None,
        checks=checks,
        is_model_checked=recipe.has_golden_set if findings.num_scored or not recipe.has_golden_set else None,
        notice=DEMONSTRATION if is_tiny(spec.model) else None,
        throttled_seconds=BUDGET.drain() + sum(count.throttled_seconds for count in stages.values()),
    )


def metrics(report: RunReport) -> dict[str, Any]:
    """Numbers for machines: what a dashboard or an alert reads."""
    return {
        "run_id": report.run_id,
        "status": report.status,
        "seconds": report.seconds,
        "num_planned": report.num_planned,
        "num_scored": report.num_scored,
        "num_rejected": report.num_rejected,
        "num_reused": report.num_reused,
        "num_queued": report.num_queued,
        "num_needs_review": report.findings.num_needs_review,
        "mean_score": report.findings.mean_score,
        "level_counts": report.findings.level_counts,
        "critiques_by_status": dict(report.findings.critiques_by_status),
        "rejects_by_class": dict(report.findings.rejects_by_class),
        "gates": documents(report.checks),
        "is_model_checked": report.is_model_checked,
        "images_per_second": report.images_per_second,
        "throttled_seconds": report.throttled_seconds,
        "stages": {
            stage.name: {
                "busy_seconds": stage.seconds,
                "num_rows": stage.num_rows,
                "throttled_seconds": stage.throttled_seconds,
                "num_shrunk": stage.num_shrunk,
            }
            for stage in report.stages
        },
    }
