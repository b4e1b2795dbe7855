"""The chain on Ray Data, for every job that scores: fetch and decode, score and critique, staged Parquet."""

import os
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray
from ray.data import ActorPoolStrategy, DataContext

from artquant.config import EngineSpec, FetchSpec, FitSpec, ReviewSpec
from artquant.core.errors import Reject, RunFailed, UserError, root_cause
from artquant.core.schema import ARTWORK_ID, REJECT_CLASS
from artquant.engines.open import NUM_THREADS
from artquant.engines.recipe import EngineRecipe
from artquant.pipelines.capacity import needs_of, wait_for_room
from artquant.pipelines.sizing import BLOCK_BYTES, FETCH_CPUS, fetch_workers, lacking, rows_per_block, shards_per_task, share_of
from artquant.pipelines.stages import FetchAndScoreStage, FetchSettings, FetchStage, ScoreSettings, ScoreStage, scoring_stage
from artquant.progress.stages import Counter as ProgressCounter
from artquant.progress.stages import show_progress
from artquant.progress.watch import WATCH
from artquant.results import layout
from artquant.results.catalog import Source, read_catalog
from artquant.results.ledger import Night
from artquant.results.plan import Plan, draft_plan, store_plan
from artquant.results.rows import outcome_schema, split
from artquant.storage.budget import BUDGET
from artquant.storage.store import Store


@dataclass(frozen=True, kw_only=True)
class ScoringRun:
    """What the chain needs to know of a job: `input` and `output` are whole addresses (no input: each row has one of its own); rows carry
    `run_id`; `rates`: as the last run measured them, artworks a second of one worker."""

    run_id: str
    input: str | tuple[str, ...] | None
    output: str
    fetch: FetchSpec
    stall_minutes: float
    review: ReviewSpec = ReviewSpec()
    rates: Mapping[str, float] = field(default_factory=dict)


def check_capacity(fetch: FetchSpec, engine: EngineSpec, fit: FitSpec | None = None) -> None:
    """Raise UserError where Ray will never have what is asked for; a cluster may grow, and is waited for. Ray is running."""
    if os.environ.get("RAY_ADDRESS", "local") != "local":
        wait_for_room(needs_of(engine, fit), engine.node_minutes)
    else:
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


def execute(
    run: ScoringRun,
    recipe: EngineRecipe,
    plan_key: str,
    shard_rows: Mapping[int, int],
    counter: ProgressCounter,
    on_outcomes: Callable[[pa.Table], None],
) -> None:
    """Run the pipeline over the plan's shards that `shard_rows` (number -> artworks) names, and hand the outcomes on as they come: tables
    of `outcome_schema()`, in any order, each artwork once. Raises RunFailed."""
    num_planned = sum(shard_rows.values())
    engine, image_bytes = recipe.engine, recipe.image_size**2 * 3
    assert engine.batch_size
    num_fetch = fetch_workers(run.fetch, engine, int(ray.cluster_resources().get("CPU", 1)), run.rates)
    batch_size, stall_seconds = engine.batch_size, run.stall_minutes * 60
    shared = share_of(run.fetch, 1 + (num_fetch or engine.num_workers))  # this process is one of them
    suspicions = f"{run.output}/{layout.suspicions_prefix(plan_key)}"
    block_rows = rows_per_block(num_planned, batch_size, engine.num_workers, image_bytes) if num_fetch else batch_size
    fetch = FetchSettings(
        input=run.input,
        output=run.output,
        plan_key=plan_key,
        shards=tuple(shard_rows),
        image_size=recipe.image_size,
        block_rows=block_rows,
        fetch=shared,
        stall_seconds=stall_seconds,
        counter=counter,
        suspicions=suspicions,
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
        suspicions=suspicions,
    )
    engines: dict[str, Any] = {
        "compute": ActorPoolStrategy(size=engine.num_workers),
        "num_cpus": engine.num_cpus,
        "num_gpus": engine.num_gpus or None,
    }
    engine_threads = NUM_THREADS.get(engine.name, 1)
    shards = shards_per_task(num_planned, len(shard_rows), num_fetch or engine.num_workers)
    # A task that is tried again must cut its rows as before. Outcomes are small: those of a task are one block.
    with data_context(block_rows * image_bytes if num_fetch else BLOCK_BYTES, is_ordered=False):
        dataset: ray.data.Dataset = ray.data.from_items(
            [{"id": number} for number in range(len(shard_rows))], override_num_blocks=len(shard_rows)
        )
        if num_fetch:
            dataset = dataset.map_batches(
                FetchStage,
                fn_constructor_args=(fetch,),
                batch_size=shards,
                compute=ActorPoolStrategy(size=min(num_fetch, len(shard_rows))),
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
        with show_progress(counter, num_planned, scoring_stage(engine.critique)):
            try:
                BUDGET.limit(shared.max_requests_per_second)
                # Outcomes are stored as they come; Ray would hold back the first task's until two more had ended.
                batches: Any = iter(dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0))
                with closing(batches):  # a generator: the workers end with it, whatever ends this
                    for outcomes in batches:
                        WATCH.add(outcomes[REJECT_CLASS].to_pylist())
                        on_outcomes(outcomes)
            except (ray.exceptions.RayError, RuntimeError) as error:
                raise RunFailed(f"The pipeline failed and nothing was published: {root_cause(error)}") from error
            finally:
                BUDGET.limit(run.fetch.max_requests_per_second)


def predict(
    run: ScoringRun, recipe: EngineRecipe, content: Mapping[str, str], store: Store, counter: ProgressCounter
) -> tuple[pa.Table, pa.Table]:
    """Return (scores, rejects) of the artworks in `content` that there are, each in just one of them. Nothing stays in the store. Raises
    RunFailed."""
    work = f"{run.run_id}-{secrets.token_hex(4)}"
    key = layout.plan_key(work)
    outcomes: list[pa.Table] = []
    try:
        with tempfile.TemporaryDirectory() as folder, read_catalog(Source("input", str(run.input))) as catalog:
            chosen = pa.array(content, pa.string())
            wanted = (table.filter(pc.is_in(table.column(ARTWORK_ID), chosen)) for table in catalog)
            night = Night(recipe.identity, {}, frozenset())
            draft = draft_plan((table for table in wanted if table.num_rows), store, None, night, Path(folder))
            store_plan(store, key, draft)
        plan = Plan(store, key)
        execute(run, recipe, key, dict(enumerate(plan.shard_rows)), counter, outcomes.append)
    finally:
        store.delete([info.key for info in store.list(layout.work_prefix(work))])
    table = pa.concat_tables([outcome_schema().empty_table(), *outcomes]).sort_by(ARTWORK_ID)
    if table.num_rows != draft.summary.num_planned:
        raise RunFailed(f"The run does not add up: {draft.summary.num_planned} artworks due, {table.num_rows} outcomes.")
    return split(table)


@contextmanager
def warn_only(what: str) -> Iterator[None]:
    """Turn a store's trouble in the block into a line on stderr: what it is about decides nothing any more."""
    try:
        yield
    except (UserError, Reject) as error:
        print(f"artquant: {what}: {error}", file=sys.stderr, flush=True)
