"""The waves of the describe job: rounds of many artworks on Ray Data, packed again after each."""

import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy

from artquant.config import ResolvedDescribeSpec
from artquant.core import schema
from artquant.core.errors import RunFailed, UserError, root_cause
from artquant.descriptions.collection import Collection
from artquant.descriptions.exam import Marks
from artquant.descriptions.loop import State
from artquant.descriptions.recipes import PlayerRecipe
from artquant.pipelines.describe_rounds import RoundLimit
from artquant.pipelines.describe_stages import DESCRIBING, DescribeSettings, DescribeStage
from artquant.pipelines.run import data_context
from artquant.pipelines.sizing import BLOCK_BYTES
from artquant.progress.stages import Counter, show_progress
from artquant.prompts import Templates
from artquant.results import layout
from artquant.results.nights import Work
from artquant.results.rows import DESCRIPTIONS, outcome_schema
from artquant.results.shards import ShardCollector, missing, read_shard, records
from artquant.results.waves import begin_wave, open_wave, wave_work


@dataclass(frozen=True)
class Players:
    """Who plays, and in which words."""

    generator: PlayerRecipe
    judge: PlayerRecipe
    templates: Templates


def stage_outputs(spec: ResolvedDescribeSpec, stage: type, settings: Any, num: int) -> Iterator[pa.Table]:
    """Run a stage over so many numbers on Ray Data, and yield what it makes. Raises UserError and RunFailed."""
    workers = spec.workers
    with data_context(BLOCK_BYTES, is_ordered=False):
        dataset = ray.data.range(num, override_num_blocks=num).map_batches(
            stage,
            fn_constructor_args=(settings,),
            batch_size=1,
            compute=ActorPoolStrategy(size=min(num, workers.num_workers)),
            num_cpus=workers.num_cpus,
            num_gpus=workers.num_gpus or None,
        )
        try:
            batches = iter(dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=2))
            with closing(batches):  # type: ignore[type-var]  # a generator: the workers end with it
                yield from batches
        except (ray.exceptions.RayError, RuntimeError) as error:
            if "UserError" in str(error):
                raise UserError(root_cause(error)) from error
            raise RunFailed(f"The pipeline failed and nothing was published: {root_cause(error)}") from error


def run_waves(
    spec: ResolvedDescribeSpec,
    players: Players,
    collection: Collection,
    work: Work,
    marks: Marks,
    purse: Any,
    counter: Counter,
    limit: RoundLimit,
    on_decided: Callable[[dict[str, Any]], None],
) -> None:
    """Describe what is due in waves: each has the artworks that the last one left open, and new ones. Raises RunFailed.

    `limit` is asked after each wave: what has had so many rounds then is decided as it is.
    """
    collector, done = ShardCollector(work.store, work.intent.work, work.plan), set(work.done)
    fresh, waiting, seen = fresh_rows(work), list[dict[str, Any]](), set[str]()
    number = 0
    with show_progress(counter, work.summary.num_planned, DESCRIBING):
        while True:
            plan = open_wave(work.store, work.intent.work, number)
            if plan is None:
                rows = waiting + first(fresh, spec.workers.wave_rows - len(waiting), seen)
                if not rows:
                    break
                plan = begin_wave(work.store, work.intent.work, number, rows, spec.workers.shard_rows, (schema.GIVEN, schema.STATE))
            seen |= {name.as_py() for shard in range(len(plan.shard_rows)) for name in plan.ids(shard)}
            one = wave_work(work.intent.work, number)
            due = missing(plan, records(work.store, one, plan))
            if due:
                settings = settings_of(
                    spec, players, collection, work, marks, purse, counter, layout.plan_key(one), tuple(due), limit.number
                )
                shards = ShardCollector(work.store, one, plan)
                for table in stage_outputs(spec, DescribeStage, settings, len(due)):
                    shards.add(table)
                shards.finish()
            found = records(work.store, one, plan)
            rows = [row for shard in sorted(found) for row in read_shard(work.store, found[shard]).to_pylist()]
            limit.after_wave(rows)
            rows = [within(row, limit.number) for row in rows]
            waiting = [row for row in rows if row[schema.VERDICT] == "again"]
            for row in rows:
                if row[schema.VERDICT] != "again":
                    on_decided(row)
            decided = [outcome_of(row, spec, players, marks, work) for row in rows if row[schema.VERDICT] != "again"]
            decided = sorted((row for row in decided if row[schema.SHARD] not in done), key=lambda row: row[schema.SHARD])
            if decided:
                collector.add(pa.Table.from_pylist(decided, outcome_schema(DESCRIPTIONS)))
            number += 1
    collector.finish()


def within(row: dict[str, Any], max_rounds: int) -> dict[str, Any]:
    """Decide a row that waits for a round which is not made any more."""
    if row[schema.VERDICT] != "again":
        return row
    return row | {schema.VERDICT: State.of(json.loads(row[schema.STATE])["state"]).outcome(max_rounds)}


def fresh_rows(work: Work) -> Iterator[dict[str, Any]]:
    """All artworks of the night that are not done, as a wave takes them."""
    for number in work.due:
        for row in work.plan.shard(number):
            yield row | {schema.STATE: json.dumps({"shard": number, "state": State().to_document()})}


def first(rows: Iterator[dict[str, Any]], num: int, seen: set[str]) -> list[dict[str, Any]]:
    """Take so many rows, none that was in a wave before."""
    taken: list[dict[str, Any]] = []
    while len(taken) < num and (row := next(rows, None)) is not None:
        if row[schema.ARTWORK_ID] not in seen:
            taken.append(row)
    return taken


def settings_of(
    spec: ResolvedDescribeSpec,
    players: Players,
    collection: Collection,
    work: Work,
    marks: Marks,
    purse: Any,
    counter: Counter,
    plan_key: str,
    shards: tuple[int, ...],
    max_rounds: int,
) -> DescribeSettings:
    return DescribeSettings(
        generator=players.generator,
        judge=players.judge,
        templates=players.templates,
        threshold=marks.threshold,
        statistics=collection.statistics if spec.statistics else None,
        scale=collection.scale,
        language=spec.language,
        max_rounds=max_rounds,
        images=collection.images,
        output=spec.output,
        plan_key=plan_key,
        shards=shards,
        fetch=spec.fetch,
        purse=purse,
        # What is tried again by itself, as after a spent budget, takes the answers that are there; who asks for it wants others.
        tries=100 + zlib.crc32(work.intent.work.encode()) % 1_000_000_000 if spec.retry or spec.force else 0,
        stall_seconds=spec.stall_minutes * 60,
        counter=counter,
    )


def outcome_of(row: dict[str, Any], spec: ResolvedDescribeSpec, players: Players, marks: Marks, work: Work) -> dict[str, Any]:
    """Turn the last round of an artwork into a row of the night: a description that is kept, or why it is set aside."""
    document, given = json.loads(row[schema.STATE]), json.loads(row[schema.GIVEN])
    state, identity = State.of(document["state"]), work.asked.identity
    made = {name: row[name] for name in (schema.ARTWORK_ID, schema.URI, schema.ETAG, schema.REASON, schema.AT)}
    made |= vars(identity) | {
        schema.SHARD: document["shard"],
        schema.RUN_ID: work.intent.run_id,
        schema.REJECT_CLASS: row[schema.VERDICT],
        schema.MESSAGE: row[schema.MESSAGE] if row[schema.VERDICT] else "",
        schema.ATTEMPTS: len(state.verdicts),
    }
    if row[schema.VERDICT]:
        return made
    assert state.last is not None
    return made | {
        schema.SCORE: given[schema.SCORE],
        schema.SCORE_STD: given[schema.SCORE_STD],
        schema.NUM_RATERS: given[schema.NUM_RATERS],
        **state.last.texts,
        schema.VERDICTS: json.dumps(document["state"]["verdicts"]),
        schema.LANGUAGE: spec.language,
        schema.GENERATOR_DIGEST: players.generator.digest,
        schema.JUDGE_DIGEST: players.judge.digest,
        schema.TEMPLATE_DIGEST: players.templates.digest,
        schema.EXAM_DIGEST: marks.digest,
        schema.NUM_ROUNDS: len(state.verdicts),
        schema.INPUT_TOKENS: state.input_tokens,
        schema.OUTPUT_TOKENS: state.output_tokens,
        schema.COST: state.cost,
    }
