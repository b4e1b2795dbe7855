"""The score job: list -> plan -> fetch and decode -> score and critique -> staged Parquet -> reconcile -> publish -> report."""

import json
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Any

import ray
from ray.data import ActorPoolStrategy, DataContext

from artquant import images
from artquant.config import EngineSpec, FetchSpec, FitSpec, ScoreSpec, Section
from artquant.engines import Engine
from artquant.engines.open import resolve
from artquant.errors import Reject, RunFailed, UserError
from artquant.identity import Identity
from artquant.memory import decode_budget
from artquant.pipelines.progress import ProgressCounter, StageCount, counts_of, show_progress, watch
from artquant.pipelines.shape import BLOCK_BYTES, FETCH_CPUS, WRITE_CPUS, fetch_workers, lacking, rows_per_block, shards_per_task
from artquant.pipelines.sink import StagingSink, Written
from artquant.pipelines.stages import FetchAndScoreStage, FetchStage, ScoreStage
from artquant.report.facts import THUMBNAIL_SIZE, Artwork, OutputFile, RunReport, StageTime
from artquant.report.page import render
from artquant.report.summary import Summary, with_thumbnails
from artquant.results import layout
from artquant.results.plan import PlanSummary, due, write_plan
from artquant.results.publish import Part, drop_staging, placed, publish, read_footer, reconcile
from artquant.storage import Store, open_store


@dataclass(frozen=True)
class EngineRecipe:
    """How a worker gets its engine, and what its scores depend on."""

    open: Callable[[], Engine]
    identity: Identity
    image_size: int
    level_values: tuple[float, ...]
    description: str  # "torch on cpu, float32"
    engine: EngineSpec | None = None  # what `open` opens, resolved; none: what the run's spec asks for
    open_network: Callable[[], Engine] | None = None  # the torch engine, where `artquant.engines.theory` can ask its network


def run_score(spec: ScoreSpec, recipe: EngineRecipe) -> RunReport:
    """Scores the collection `spec.input` into `spec.output`. Ray is running; what a person can get wrong was checked before it was started.

    Raises RunFailed where the run may not be published, and UserError where a store fails; what was published before is current still.
    What fails after that, the page or the cleaning up, is said on stderr: it stands between no proved row and its readers.
    """
    assert spec.input and spec.output
    check_capacity(spec.fetch, recipe.engine or resolve(spec.engine))
    started_at = datetime.now(UTC)
    source, store = open_store(spec.input), open_store(spec.output)
    plan_key = layout.run_key(spec.run_id, "plan.parquet")
    plan = make_plan(spec, source, store, plan_key)
    store.put(layout.run_key(spec.run_id, "spec.yaml"), spec_yaml(spec).encode())
    counter: Any = ray.remote(num_cpus=0)(ProgressCounter).remote()
    failure: Exception | None = None
    files: list[tuple[Part, Part]] = []
    written = None
    try:
        written = execute(spec, recipe, plan, plan_key, counter)
        footers = [read_footer(store, part) for part in written.parts]
        num_scored, num_rejected = reconcile(plan, footers)
        if num_rejected > spec.max_failed_fraction * plan.num_planned:
            raise RunFailed(
                f"{num_rejected} of {plan.num_planned} artworks were rejected, more than "
                f"max_failed_fraction={spec.max_failed_fraction} allows: "
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
    with said_only(f"The run is {'not published' if failure else 'published'}, but what it staged was not removed"):
        drop_staging(store, spec.run_id)
    report = describe(spec, recipe, plan, written, files, counts_of(counter), started_at, finished_at, failure)
    with said_only(f"The run is {'not published' if failure else 'published'}, but its page was not written"):
        store.put(layout.run_key(spec.run_id, "metrics.json"), json.dumps(metrics(report), indent=1).encode())
        store.put(layout.run_key(spec.run_id, "report.html"), render(report).encode())
    if failure:
        raise failure
    return report


@contextmanager
def said_only(what: str) -> Iterator[None]:
    """A store's trouble in the block is a line on stderr: what it is about decides nothing any more."""
    try:
        yield
    except (UserError, Reject) as error:
        print(f"artquant: {what}: {error}", file=sys.stderr, flush=True)


def check_capacity(fetch: FetchSpec, engine: EngineSpec, fit: FitSpec | None = None) -> None:
    """Raises UserError where a local Ray will never have what is asked for; a cluster may grow, and is waited for. Ray is running."""
    if os.environ.get("RAY_ADDRESS", "local") == "local":
        resources = ray.cluster_resources()
        if lack := lacking(fetch, engine, resources.get("CPU", 0), resources.get("GPU", 0), fit):
            raise UserError(lack)


def make_plan(spec: ScoreSpec, source: Store, store: Store, key: str) -> PlanSummary:
    """Raises UserError for a collection in which there is nothing."""
    counts: Counter = Counter()
    return write_plan(store, key, islice(due(watch(source.list(), "listed"), source.uri_of, spec.exclude, counts), spec.limit), counts)


def execute(spec: ScoreSpec, recipe: EngineRecipe, plan: PlanSummary, plan_key: str, counter: Any) -> Written:
    """Runs the pipeline; the written parts lie in the staging area. Raises RunFailed."""
    assert spec.output
    context = DataContext.get_current()
    context.enable_progress_bars = False
    engine, image_bytes = recipe.engine or resolve(spec.engine), recipe.image_size**2 * 3
    assert engine.batch_size
    num_fetch = fetch_workers(spec.fetch, engine, int(ray.cluster_resources().get("CPU", 1)))
    batch_size = engine.batch_size
    block_rows = rows_per_block(plan.num_planned, batch_size, engine.num_workers, image_bytes) if num_fetch else batch_size
    # A task that is tried again must cut its rows as before. Outcomes are small: those of a task are one block.
    context.target_max_block_size = max(1 << 20, block_rows * image_bytes) if num_fetch else BLOCK_BYTES
    context.execution_options.preserve_order = False
    context.memory_usage_poll_interval_s = None  # it walks every worker's page tables each second, for a figure that nobody reads
    sink = StagingSink(spec.output, spec.run_id, recipe.level_values, spec.rows_per_file, counter)
    stage, stall_seconds = "score and critique" if engine.critique else "score", spec.stall_minutes * 60
    fetch: tuple[Any, ...] = (spec.input, spec.output, plan_key, recipe.image_size, block_rows, spec.fetch, stall_seconds, counter)
    score: tuple[Any, ...] = (recipe.open, recipe.identity, batch_size, engine.critique, spec.review, spec.run_id, stall_seconds, counter)
    engines: dict[str, Any] = {
        "compute": ActorPoolStrategy(size=engine.num_workers),
        "num_cpus": engine.num_cpus,
        "num_gpus": engine.num_gpus or None,
    }
    engine_threads = 2 if engine.name == "vllm" else 1  # the next block's images fill the places that the last of this one leave
    dataset = ray.data.range(plan.num_shards, override_num_blocks=plan.num_shards)
    shards = shards_per_task(plan, num_fetch or engine.num_workers)
    if num_fetch:
        dataset = dataset.map_batches(
            FetchStage,
            fn_constructor_args=fetch,
            batch_size=shards,
            compute=ActorPoolStrategy(size=min(num_fetch, plan.num_shards)),
            num_cpus=FETCH_CPUS,
        ).map_batches(
            ScoreStage,
            fn_constructor_args=score,
            batch_size=block_rows,  # Ray wants it said where a GPU is
            max_concurrency=engine_threads,
            **engines,
        )
    else:
        stages = (partial(FetchStage, *fetch), partial(ScoreStage, *score), engine_threads)
        dataset = dataset.map_batches(FetchAndScoreStage, fn_constructor_args=stages, batch_size=shards, max_concurrency=2, **engines)
    with show_progress(counter, plan.num_planned, stage):
        try:
            dataset.write_datasink(sink, ray_remote_args={"num_cpus": WRITE_CPUS})
        except (ray.exceptions.RayError, RuntimeError) as error:
            raise RunFailed(f"The pipeline failed and nothing was published: {last_words(error)}") from error
    return sink.written


def last_words(error: Exception) -> str:
    """The sentence of ours in a remote traceback, or its line that names the first cause, as in 'OSError: no space left'."""
    if own := re.search(r"(?:RunFailed|UserError): (.+)", str(error)):
        return own[1].strip()
    named = [line.strip() for line in str(error).splitlines() if re.match(r"\s*[\w.]*(Error|Exception|Exit|Interrupt|Reject)\b.*: ", line)]
    return next((line for line in named if "UserCodeException" not in line), str(error).strip() or type(error).__name__)[:500]


def spec_yaml(spec: Section) -> str:
    import yaml

    return yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False)


def describe(
    spec: ScoreSpec,
    recipe: EngineRecipe,
    plan: PlanSummary,
    written: Written | None,
    files: list,
    stages: dict[str, StageCount],
    started_at: datetime,
    finished_at: datetime,
    failure: Exception | None,
) -> RunReport:
    findings = (written.summary if written else Summary(recipe.level_values)).result()
    findings = with_thumbnails(findings, partial(picture_of, open_store(str(spec.input)), spec.fetch))
    slowest = stages.get("score and critique") or stages.get("score")
    wall = slowest.last_at - slowest.first_at if slowest else 0.0
    return RunReport(
        run_id=spec.run_id,
        run_date=spec.run_date,
        status="failed" if failure else "published",
        started_at=started_at,
        finished_at=finished_at,
        input_uri=str(spec.input),
        output_uri=str(spec.output),
        model_id=recipe.identity.model_id,
        model_digest=recipe.identity.model_digest,
        prompt_digest=recipe.identity.prompt_digest,
        engine=recipe.description,
        num_planned=plan.num_planned,
        num_scored=findings.num_scored,
        num_rejected=findings.num_rejected,
        num_reused=0,
        reasons=plan.reasons,
        images_per_second=slowest.num_rows / wall if slowest and wall else 0.0,
        stages=[
            StageTime(name, count.busy_seconds, count.num_rows, count.num_rows / count.busy_seconds)
            for name, count in stages.items()
            if count.busy_seconds
        ],
        files=[OutputFile(part.key, part.num_rows, part.num_bytes) for _, part in files],
        config=spec.model_dump(mode="json"),
        findings=findings,
        message=str(failure) if failure else None,
    )


_THUMBNAIL_SECONDS = 5.0  # a page is not worth a longer wait


def picture_of(source: Store, fetch: FetchSpec, work: Artwork) -> bytes | None:
    return thumbnail_of(source, fetch, work.artwork_id)


def thumbnail_of(source: Store, fetch: FetchSpec, artwork_id: str) -> bytes | None:
    """A small JPEG of an artwork, fetched once more: engines may look at smaller pictures than people. None where it is gone by now."""
    try:
        data = source.fetch(artwork_id, attempts=1, patience_seconds=0, timeout_seconds=min(_THUMBNAIL_SECONDS, fetch.timeout_seconds)).data
        budget = decode_budget(fetch.decode_memory_mb)
        picture = images.load(data, THUMBNAIL_SIZE, max_pixels=fetch.max_pixels, budget=budget, simd=False)  # without torch
        return images.thumbnail(picture, THUMBNAIL_SIZE)
    except Reject:
        return None


def metrics(report: RunReport) -> dict:
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


def manifest(spec: ScoreSpec, recipe: EngineRecipe, plan: PlanSummary, num_scored: int, num_rejected: int) -> dict:
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
