"""The stages of the describe job that Ray Data runs on actors: the judge's exam, and one round of a shard."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from artquant.config import ExamSpec, FetchSpec
from artquant.core import schema
from artquant.core.scale import Scale
from artquant.descriptions.exam import painted_rows, sit
from artquant.descriptions.loop import Describer, Item, State
from artquant.descriptions.recipes import PlayerRecipe
from artquant.pipelines.frame import Batch, Stage
from artquant.pipelines.in_hand import OPENING
from artquant.pipelines.loader import Loader
from artquant.progress.stages import Counter
from artquant.prompts import Templates
from artquant.prompts.asking import Statistics, Subject
from artquant.results.plan import Plan
from artquant.storage.store import open_store

DESCRIBING, EXAMINING = "describe", "the judge's exam"


def wave_schema() -> pa.Schema:
    """Return what a round hands on: `verdict` is '' for a description that is kept, 'again', or a reject class; `state` is JSON."""
    texts = (schema.ARTWORK_ID, schema.URI, schema.ETAG, schema.REASON, schema.GIVEN, schema.STATE, schema.VERDICT, schema.MESSAGE)
    return pa.schema(
        [*((name, pa.string()) for name in texts), (schema.SHARD, pa.int32()), (schema.AT, pa.timestamp("us", tz="UTC"))],
    )


class RemoteBudget:
    """The run's purse, asked from a worker."""

    def __init__(self, purse: Any):
        self.purse = purse

    def reserve(self, tokens: int, money: float) -> bool:
        return bool(ray.get(self.purse.reserve.remote(tokens, money)))

    def settle(self, reserved: tuple[int, float], used: tuple[int, float]) -> None:
        ray.get(self.purse.settle.remote(reserved, used))


@dataclass(frozen=True, kw_only=True)
class DescribeSettings:
    """What a worker that describes is started with. `shards`: of the wave's plan, by their place in the data set; `tries`: more where
    answers that are kept would only come again."""

    generator: PlayerRecipe
    judge: PlayerRecipe
    templates: Templates
    threshold: float
    statistics: Statistics | None
    scale: Scale
    language: str
    max_rounds: int
    images: str | None
    output: str
    plan_key: str
    shards: tuple[int, ...]
    fetch: FetchSpec
    purse: Any
    tries: int
    stall_seconds: float
    counter: Counter
    suspicions: str = ""


class DescribeStage(Stage[Batch, pa.Table]):
    """Shard numbers in; a round of their artworks out, as `wave_schema()`."""

    def __init__(self, settings: DescribeSettings):
        super().__init__(DESCRIBING, settings)
        self.settings, store = settings, open_store(settings.output)
        budget = RemoteBudget(settings.purse)
        with self.in_hand.holding(OPENING):
            generator = settings.generator.open()
            is_one = settings.judge.digest == settings.generator.digest and settings.judge.spec == settings.generator.spec
            judge = generator if is_one else settings.judge.open()
        self.describer = Describer(
            settings.generator.asker(generator, store, budget, settings.templates.digest),
            settings.judge.asker(judge, store, budget, settings.templates.judge.digest),
            settings.templates,
            settings.threshold,
        )
        self.plan = Plan(store, settings.plan_key)
        sizes = {generator.image_size, judge.image_size}
        self.loaders = {size: Loader(settings.images, size, settings.fetch, self.in_hand) for size in sizes}

    def process(self, batch: Batch) -> Iterator[pa.Table]:
        for index in batch["id"].tolist():
            number = self.settings.shards[index]
            yield self.describe(number, self.plan.shard(number))

    def count(self, output: pa.Table) -> tuple[int, int]:
        verdicts = output.column(schema.VERDICT).to_pylist()
        return output.num_rows, sum(verdict not in ("", "again") for verdict in verdicts)

    def describe(self, number: int, rows: list[dict[str, Any]]) -> pa.Table:
        loads = {size: loader.begin(rows) for size, loader in self.loaders.items()}
        found = [[loading[i].result() for _, loading in loads.values()] for i in range(len(rows))]
        lost = {i: next((one for one in each if one[schema.REJECT_CLASS]), None) for i, each in enumerate(found)}
        there = [i for i in range(len(rows)) if lost[i] is None]
        pixels: dict[int, np.ndarray] = {size: arrays for size, (arrays, _) in loads.items()}
        items = [self.item(rows[i], {size: arrays[i] for size, arrays in pixels.items()}, found[i][0][schema.ETAG]) for i in there]
        states = dict(zip(there, self.describer.round(items), strict=True)) if items else {}
        return pa.Table.from_pylist([self.row(number, row, states.get(i), lost[i]) for i, row in enumerate(rows)], wave_schema())

    def item(self, row: dict[str, Any], pixels: dict[int, np.ndarray], etag: str) -> Item:
        given, settings = json.loads(row[schema.GIVEN]), self.settings
        subject = Subject(given[schema.SCORE], settings.scale, settings.statistics, given["comment"], settings.language)
        return Item(
            row[schema.ARTWORK_ID],
            subject,
            pixels,
            etag or row[schema.ETAG],
            State.of(json.loads(row[schema.STATE])["state"]),
            settings.tries if row[schema.REASON] in (schema.Reason.RETRY, schema.Reason.FORCED) else 0,
        )

    def row(self, number: int, row: dict[str, Any], state: State | None, lost: dict[str, Any] | None) -> dict[str, Any]:
        before = json.loads(row[schema.STATE])
        made = {name: row[name] for name in (schema.ARTWORK_ID, schema.URI, schema.ETAG, schema.REASON, schema.GIVEN)}
        made |= {schema.SHARD: number, schema.AT: datetime.now(UTC)}
        if state is None:
            assert lost is not None
            return made | {schema.STATE: row[schema.STATE], schema.VERDICT: lost[schema.REJECT_CLASS], schema.MESSAGE: lost[schema.MESSAGE]}
        assert state.last is not None
        document = json.dumps(before | {"state": state.to_document()})
        return made | {schema.STATE: document, schema.VERDICT: state.outcome(self.settings.max_rounds), schema.MESSAGE: state.last.reason}


@dataclass(frozen=True, kw_only=True)
class ExamSettings:
    """What the judge's exam is started with."""

    judge: PlayerRecipe
    templates: Templates
    spec: ExamSpec
    output: str
    purse: Any
    stall_seconds: float
    counter: Counter
    suspicions: str = ""


class ExamStage(Stage[Batch, pa.Table]):
    """One row in; the judge's marks out, as JSON."""

    def __init__(self, settings: ExamSettings):
        super().__init__(EXAMINING, settings)
        self.settings = settings

    def count(self, output: pa.Table) -> tuple[int, int]:
        return output.num_rows, 0

    def process(self, batch: Batch) -> Iterator[pa.Table]:
        from artquant.paintings.exam import square

        settings = self.settings
        with self.in_hand.holding(OPENING):
            player = settings.judge.open()
        rows = painted_rows(settings.spec.size)
        pixels = np.stack([square(row["seed"], player.image_size) for row in rows])
        asker = settings.judge.asker(player, open_store(settings.output), RemoteBudget(settings.purse), settings.templates.judge.digest)
        marks = sit(asker, settings.templates.judge, rows, pixels, settings.spec)
        yield pa.table({"marks": [json.dumps(asdict(marks))]})
