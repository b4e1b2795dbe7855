"""The score job: catalog -> plan -> fetch and decode -> score and critique -> shards -> files -> snapshot -> view -> page."""

import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from artquant.config import ResolvedScoreSpec, spec_yaml
from artquant.core.errors import Reject, RunFailed, UserError
from artquant.core.identity import Identity
from artquant.engines.recipe import EngineRecipe
from artquant.pipelines.run import ScoringRun, check_capacity, execute, warn_only
from artquant.pipelines.stages import FETCHING, scoring_stage
from artquant.progress.display import watch
from artquant.progress.stages import StageCount, counts_of, start_counter
from artquant.records.run import OutputFile, RunReport, StageTime
from artquant.report.page import render
from artquant.results import layout
from artquant.results.build import Built
from artquant.results.catalog import Source
from artquant.results.claims import end
from artquant.results.nights import Asked, Work, assemble, claimed, opened, publish
from artquant.results.plan import PlanSummary
from artquant.results.shards import ShardCollector
from artquant.results.summary import Summary
from artquant.results.thumbnails import picture_of, with_thumbnails
from artquant.storage.store import open_store


def asked_of(spec: ResolvedScoreSpec, identity: Identity) -> Asked:
    """Return what decides the run's rows: not its workers, its batches or its date."""
    return Asked(
        source=Source(*spec.collection, spec.exclude),
        identity=identity,
        limit=spec.limit,
        retry=frozenset(spec.retry),
        accept_rolled_back=spec.accept_rolled_back,
        others={
            "critique": spec.engine.critique,
            "review": spec.review.model_dump(mode="json"),
            "max_pixels": spec.fetch.max_pixels,
        },
    )


@contextmanager
def claimed_night(spec: ResolvedScoreSpec, identity: Identity) -> Iterator[Work | PlanSummary]:
    """Return the night's work, claimed for the block; the plan's summary where nothing is due. Ray need not run.

    Raises AnotherRun where somebody else is at work on it, UserError and OlderProgram.
    """
    store = open_store(spec.output)
    parent = opened(store)
    with claimed(
        store,
        parent,
        asked_of(spec, identity),
        run_id=spec.run_id,
        run_date=spec.run_date.isoformat(),
        rows_per_file=spec.rows_per_file,
        stale_seconds=spec.stale_seconds,
        say=lambda text: print(text, file=sys.stderr, flush=True),
        watch=partial(watch, what="listed"),
    ) as work:
        yield work


def run_score(spec: ResolvedScoreSpec, recipe: EngineRecipe, work: Work) -> RunReport:
    """Scores what is due and publishes it as one snapshot. Ray is running; what a person can get wrong was checked before it was started.

    Raises RunFailed where the run may not be published, AnotherRun where another was first, OutcomeUnknown where the store does not say,
    and UserError where a store fails; what was published before is current still. What fails after publishing, the page, is said on stderr.
    """
    check_capacity(spec.fetch, recipe.engine)
    started_at, store, run_id = datetime.now(UTC), work.store, work.intent.run_id
    store.put(layout.run_key(run_id, "spec.yaml"), spec_yaml(spec).encode())
    counter, summary = start_counter(), Summary(recipe.level_values)
    failure: Exception | None = None
    built: Built | None = None
    rejects: list[pa.Table] = []

    def on_shard(scored: pa.Table, rejected: pa.Table) -> None:
        summary.add_scores(scored.to_pydict())
        summary.add_rejects(rejected.to_pydict())
        rejects.append(rejected)

    try:
        if work.due:
            collector = ShardCollector(store, work.intent.work, work.plan)
            execute(scoring_run(spec, run_id), recipe, layout.plan_key(work.intent.work), work.due, counter, collector.add)
            collector.finish()
        built = assemble(work, on_shard)
        check_rejects(spec, work, built)
        publish(work, built, rates_of(counts_of(counter), recipe))
    except (RunFailed, UserError) as error:
        failure = error
    except Reject as error:
        failure = RunFailed(f"What was written to {store.uri} cannot be read again, and nothing was published: {error.message}.")
    report = build_report(
        spec,
        recipe,
        work,
        summary=summary,
        files=[OutputFile(file.view, file.num_rows, file.num_bytes) for file in (built.files if built and not failure else ())],
        stages=counts_of(counter),
        started_at=started_at,
        finished_at=datetime.now(UTC),
        failure=failure,
    )
    with warn_only(f"The run is {'not published' if failure else 'published'}, but its page was not written"):
        if failure and rejects:
            sink = io.BytesIO()
            pq.write_table(pa.concat_tables(rejects), sink, compression="zstd")
            store.put(layout.run_key(run_id, "rejects.parquet"), sink.getvalue())
        store.put(layout.run_key(run_id, "metrics.json"), json.dumps(metrics(report), indent=1).encode())
        store.put(layout.run_key(run_id, "report.html"), render(report).encode())
    if failure:
        raise failure
    return report


def check_rejects(spec: ResolvedScoreSpec, work: Work, built: Built) -> None:
    """Raise RunFailed where too many were rejected, retries left aside: a night of eleven retries is no broken collection. The work is
    given up then: the same command plans anew."""
    num_tried = work.summary.num_planned - work.summary.reasons.get("retry", 0)
    if built.num_new_rejected > spec.max_rejected_fraction * num_tried:
        end(work.store, work.intent, "too many rejects")
        raise RunFailed(
            f"{built.num_new_rejected} of {num_tried} artworks were rejected, more than "
            f"max_rejected_fraction={spec.max_rejected_fraction} allows: "
            "look at the reject classes in the report, then mend the collection or raise the limit."
        )


def rates_of(stages: dict[str, StageCount], recipe: EngineRecipe) -> dict[str, float]:
    """Artworks a second of one worker, by stage: what later plans reckon with."""
    names = {FETCHING: "fetch_per_worker", scoring_stage(recipe.engine.critique): "score_per_worker"}
    return {names[name]: count.num_rows / count.busy_seconds for name, count in stages.items() if name in names and count.busy_seconds}


def scoring_run(spec: ResolvedScoreSpec, run_id: str) -> ScoringRun:
    return ScoringRun(
        run_id=run_id,
        input=spec.input,
        output=spec.output,
        fetch=spec.fetch,
        stall_minutes=spec.stall_minutes,
        review=spec.review,
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
) -> RunReport:
    plan, findings = work.summary, summary.result()
    findings = with_thumbnails(findings, partial(picture_of, spec.fetch))
    scoring = stages.get(scoring_stage(recipe.engine.critique))
    wall = scoring.last_at - scoring.first_at if scoring else 0.0
    return RunReport(
        run_id=work.intent.run_id,
        run_date=date.fromisoformat(work.intent.run_date),
        status="failed" if failure else "published",
        started_at=started_at,
        finished_at=finished_at,
        input_uri=spec.collection[1],
        output_uri=spec.output,
        model_id=recipe.identity.model_id,
        model_digest=recipe.identity.model_digest,
        prompt_digest=recipe.identity.prompt_digest,
        engine=recipe.description,
        num_planned=plan.num_planned,
        num_scored=findings.num_scored,
        num_rejected=findings.num_rejected,
        num_reused=plan.num_reused,
        reasons=plan.reasons,
        images_per_second=scoring.num_rows / wall if scoring and wall else 0.0,
        stages=[
            StageTime(name, count.busy_seconds, count.num_rows, count.num_rows / count.busy_seconds)
            for name, count in stages.items()
            if count.busy_seconds
        ],
        files=files,
        config=spec.model_dump(mode="json"),
        findings=findings,
        message=str(failure) if failure else None,
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
        "num_needs_review": report.findings.num_needs_review,
        "mean_score": report.findings.mean_score,
        "level_counts": report.findings.level_counts,
        "rejects_by_class": dict(report.findings.rejects_by_class),
        "images_per_second": report.images_per_second,
        "stages": {stage.name: {"busy_seconds": stage.seconds, "num_rows": stage.num_rows} for stage in report.stages},
    }
