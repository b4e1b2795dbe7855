"""The score job: list -> plan -> fetch and decode -> score and critique -> staged Parquet -> reconcile -> publish -> report."""

import json
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Any

from artquant.config import ResolvedScoreSpec, spec_yaml
from artquant.core.errors import Reject, RunFailed, UserError
from artquant.engines.recipe import EngineRecipe
from artquant.pipelines.run import ScoringRun, check_capacity, execute, warn_only
from artquant.pipelines.sink import Written
from artquant.pipelines.stages import scoring_stage
from artquant.progress.display import watch
from artquant.progress.stages import StageCount, counts_of, start_counter
from artquant.records.run import OutputFile, RunReport, StageTime
from artquant.report.page import render
from artquant.results import layout
from artquant.results.plan import PlanSummary, due, write_plan
from artquant.results.publish import Part, drop_staging, placed, publish, read_footer, reconcile
from artquant.results.summary import Summary
from artquant.results.thumbnails import picture_of, with_thumbnails
from artquant.storage.store import Store, open_store


def run_score(spec: ResolvedScoreSpec, recipe: EngineRecipe) -> RunReport:
    """Scores the collection `spec.input` into `spec.output`. Ray is running; what a person can get wrong was checked before it was started.

    Raises RunFailed where the run may not be published, and UserError where a store fails; what was published before is current still.
    What fails after that, the page or the cleaning up, is said on stderr: it stands between no proved row and its readers.
    """
    check_capacity(spec.fetch, recipe.engine)
    started_at = datetime.now(UTC)
    source, store = open_store(spec.input), open_store(spec.output)
    plan_key = layout.run_key(spec.run_id, "plan.parquet")
    plan = make_plan(spec, source, store, plan_key)
    store.put(layout.run_key(spec.run_id, "spec.yaml"), spec_yaml(spec).encode())
    counter = start_counter()
    failure: Exception | None = None
    files: list[tuple[Part, Part]] = []
    written = None
    try:
        written = execute(scoring_run(spec), recipe, plan, plan_key, counter)
        footers = [read_footer(store, part) for part in written.parts]
        num_scored, num_rejected = reconcile(plan, footers)
        if num_rejected > spec.max_rejected_fraction * plan.num_planned:
            raise RunFailed(
                f"{num_rejected} of {plan.num_planned} artworks were rejected, more than "
                f"max_rejected_fraction={spec.max_rejected_fraction} allows: "
                "look at the reject classes in the report, then mend the collection or raise the limit."
            )
        pairs = placed(footers, recipe.identity.model_id, spec.run_date, spec.run_id)
        publish(store, spec.run_id, pairs, manifest(spec, recipe, plan, num_scored, num_rejected))
        files = pairs
    except (RunFailed, UserError) as error:
        failure = error
    except Reject as error:
        failure = RunFailed(f"What was written to {store.uri} cannot be read again, and nothing was published: {error.message}.")
    finished_at = datetime.now(UTC)
    with warn_only(f"The run is {'not published' if failure else 'published'}, but what it staged was not removed"):
        drop_staging(store, spec.run_id)
    report = build_report(
        spec,
        recipe,
        plan,
        written=written,
        files=[OutputFile(part.key, part.num_rows, part.num_bytes) for _, part in files],
        stages=counts_of(counter),
        started_at=started_at,
        finished_at=finished_at,
        failure=failure,
    )
    with warn_only(f"The run is {'not published' if failure else 'published'}, but its page was not written"):
        store.put(layout.run_key(spec.run_id, "metrics.json"), json.dumps(metrics(report), indent=1).encode())
        store.put(layout.run_key(spec.run_id, "report.html"), render(report).encode())
    if failure:
        raise failure
    return report


def scoring_run(spec: ResolvedScoreSpec) -> ScoringRun:
    return ScoringRun(
        run_id=spec.run_id,
        input=spec.input,
        output=spec.output,
        fetch=spec.fetch,
        rows_per_file=spec.rows_per_file,
        stall_minutes=spec.stall_minutes,
        review=spec.review,
    )


def make_plan(spec: ResolvedScoreSpec, source: Store, store: Store, key: str) -> PlanSummary:
    """Raises UserError for a collection in which there is nothing."""
    counts: Counter[str] = Counter()
    return write_plan(store, key, islice(due(watch(source.list(), "listed"), source.uri_of, spec.exclude, counts), spec.limit), counts)


def build_report(
    spec: ResolvedScoreSpec,
    recipe: EngineRecipe,
    plan: PlanSummary,
    *,
    written: Written | None,
    files: list[OutputFile],
    stages: dict[str, StageCount],
    started_at: datetime,
    finished_at: datetime,
    failure: Exception | None,
) -> RunReport:
    findings = (written.summary if written else Summary(recipe.level_values)).result()
    findings = with_thumbnails(findings, partial(picture_of, open_store(spec.input), spec.fetch))
    scoring = stages.get(scoring_stage(recipe.engine.critique))
    wall = scoring.last_at - scoring.first_at if scoring else 0.0
    return RunReport(
        run_id=spec.run_id,
        run_date=spec.run_date,
        status="failed" if failure else "published",
        started_at=started_at,
        finished_at=finished_at,
        input_uri=spec.input,
        output_uri=spec.output,
        model_id=recipe.identity.model_id,
        model_digest=recipe.identity.model_digest,
        prompt_digest=recipe.identity.prompt_digest,
        engine=recipe.description,
        num_planned=plan.num_planned,
        num_scored=findings.num_scored,
        num_rejected=findings.num_rejected,
        num_reused=0,
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


def manifest(spec: ResolvedScoreSpec, recipe: EngineRecipe, plan: PlanSummary, num_scored: int, num_rejected: int) -> dict[str, Any]:
    return {
        "run_id": spec.run_id,
        "run_date": spec.run_date,
        "published_at": datetime.now(UTC),
        "identity": asdict(recipe.identity),
        "plan": asdict(plan),
        "num_scored": num_scored,
        "num_rejected": num_rejected,
        "num_reused": 0,
    }
