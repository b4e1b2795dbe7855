"""The chain on Ray Data, for every job that scores: fetch and decode, score and critique, staged Parquet."""

import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray
from ray.data import ActorPoolStrategy, DataContext

from artquant.config import ROWS_PER_FILE, EngineSpec, FetchSpec, FitSpec, ReviewSpec
from artquant.core.errors import Reject, RunFailed, UserError, root_cause
from artquant.core.schema import reject_schema, score_schema
from artquant.engines.recipe import EngineRecipe
from artquant.pipelines.sink import StagingSink, Written
from artquant.pipelines.sizing import BLOCK_BYTES, FETCH_CPUS, WRITE_CPUS, fetch_workers, lacking, rows_per_block, shards_per_task
from artquant.pipelines.stages import FetchAndScoreStage, FetchSettings, FetchStage, ScoreSettings, ScoreStage, scoring_stage
from artquant.progress.stages import Counter as ProgressCounter
from artquant.progress.stages import show_progress
from artquant.results import layout
from artquant.results.plan import PlanSummary, due, write_plan
from artquant.results.publish import drop_staging, read_footer, reconcile
from artquant.storage.store import Store


@dataclass(frozen=True, kw_only=True)
class ScoringRun:
    """What the chain needs to know of a job: `input` and `output` are whole addresses, and rows carry `run_id`."""

    run_id: str
    input: str
    output: str
    fetch: FetchSpec
    stall_minutes: float
    rows_per_file: int = ROWS_PER_FILE
    review: ReviewSpec = ReviewSpec()


def check_capacity(fetch: FetchSpec, engine: EngineSpec, fit: FitSpec | None = None) -> None:
    """Raises UserError where a local Ray will never have what is asked for; a cluster may grow, and is waited for. Ray is running."""
    if os.environ.get("RAY_ADDRESS", "local") == "local":
        resources = ray.cluster_resources()
        if lack := lacking(fetch, engine, resources.get("CPU", 0), resources.get("GPU", 0), fit):
            raise UserError(lack)


@contextmanager
def data_context(max_block_bytes: int, is_ordered: bool) -> Iterator[None]:
    """Ray Data's settings for the block; before and after it they are whatever they were."""
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.target_max_block_size = max(1 << 20, max_block_bytes)
    context.execution_options.preserve_order = is_ordered
    context.memory_usage_poll_interval_s = None  # it walks every worker's page tables each second, for a figure that nobody reads
    with DataContext.current(context):
        yield


def execute(run: ScoringRun, recipe: EngineRecipe, plan: PlanSummary, plan_key: str, counter: ProgressCounter) -> Written:
    """Runs the pipeline; the written parts lie in the staging area. Raises RunFailed."""
    engine, image_bytes = recipe.engine, recipe.image_size**2 * 3
    assert engine.batch_size
    num_fetch = fetch_workers(run.fetch, engine, int(ray.cluster_resources().get("CPU", 1)))
    batch_size, stall_seconds = engine.batch_size, run.stall_minutes * 60
    block_rows = rows_per_block(plan.num_planned, batch_size, engine.num_workers, image_bytes) if num_fetch else batch_size
    fetch = FetchSettings(
        input=run.input,
        output=run.output,
        plan_key=plan_key,
        image_size=recipe.image_size,
        block_rows=block_rows,
        fetch=run.fetch,
        stall_seconds=stall_seconds,
        counter=counter,
    )
    score = ScoreSettings(
        open_engine=recipe.open,
        identity=recipe.identity,
        batch_size=batch_size,
        critique=engine.critique,
        review=run.review,
        run_id=run.run_id,
        stall_seconds=stall_seconds,
        counter=counter,
    )
    engines: dict[str, Any] = {
        "compute": ActorPoolStrategy(size=engine.num_workers),
        "num_cpus": engine.num_cpus,
        "num_gpus": engine.num_gpus or None,
    }
    engine_threads = 2 if engine.name == "vllm" else 1  # the next block's images fill the places that the last of this one leave
    shards = shards_per_task(plan, num_fetch or engine.num_workers)
    sink = StagingSink(run.output, run.run_id, recipe.level_values, run.rows_per_file, counter)
    # A task that is tried again must cut its rows as before. Outcomes are small: those of a task are one block.
    with data_context(block_rows * image_bytes if num_fetch else BLOCK_BYTES, is_ordered=False):
        dataset = ray.data.range(plan.num_shards, override_num_blocks=plan.num_shards)
        if num_fetch:
            dataset = dataset.map_batches(
                FetchStage,
                fn_constructor_args=(fetch,),
                batch_size=shards,
                compute=ActorPoolStrategy(size=min(num_fetch, plan.num_shards)),
                num_cpus=FETCH_CPUS,
            ).map_batches(
                ScoreStage,
                fn_constructor_args=(score,),
                batch_size=block_rows,  # Ray wants it said where a GPU is
                max_concurrency=engine_threads,
                **engines,
            )
        else:
            stages = (fetch, score, engine_threads)
            dataset = dataset.map_batches(FetchAndScoreStage, fn_constructor_args=stages, batch_size=shards, max_concurrency=2, **engines)
        with show_progress(counter, plan.num_planned, scoring_stage(engine.critique)):
            try:
                dataset.write_datasink(sink, ray_remote_args={"num_cpus": WRITE_CPUS})
            except (ray.exceptions.RayError, RuntimeError) as error:
                raise RunFailed(f"The pipeline failed and nothing was published: {root_cause(error)}") from error
    return sink.written


def predict(
    run: ScoringRun, recipe: EngineRecipe, content: Mapping[str, str], source: Store, store: Store, counter: ProgressCounter
) -> tuple[pa.Table, pa.Table]:
    """(scores, rejects) of the artworks in `content`, each in just one of them; nothing is left in the staging area. Raises RunFailed."""
    counts: Counter[str] = Counter()
    listed = (info for info in source.list() if info.key in content)
    plan_key = f"{layout.staging_prefix(run.run_id)}/plan.parquet"
    try:
        plan = write_plan(store, plan_key, due(listed, source.uri_of, (), counts), counts)
        written = execute(run, recipe, plan, plan_key, counter)
        footers = [read_footer(store, part) for part in written.parts]
        reconcile(plan, footers)
        tables = {
            kind: [pq.read_table(store.open_input(part.key), schema=schema) for part in footers if part.kind == kind]
            for kind, schema in (("scores", score_schema()), ("rejects", reject_schema()))
        }
    finally:
        drop_staging(store, run.run_id)
    return (
        pa.concat_tables([score_schema().empty_table(), *tables["scores"]]),
        pa.concat_tables([reject_schema().empty_table(), *tables["rejects"]]),
    )


@contextmanager
def warn_only(what: str) -> Iterator[None]:
    """A store's trouble in the block is a line on stderr: what it is about decides nothing any more."""
    try:
        yield
    except (UserError, Reject) as error:
        print(f"artquant: {what}: {error}", file=sys.stderr, flush=True)
