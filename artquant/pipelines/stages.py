"""The two stages of scoring that Ray Data runs on actor pools: fetch and decode, then score."""

import socket
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from artquant.config import FetchSpec, ReviewSpec
from artquant.core import schema
from artquant.core.errors import Reject, RunFailed
from artquant.core.identity import Identity
from artquant.engines import Engine
from artquant.engines.halving import BatchLimit, assess_each
from artquant.pipelines.frame import Batch, Stage
from artquant.pipelines.in_hand import OPENING
from artquant.pipelines.loader import Loader
from artquant.pipelines.rows import score_columns
from artquant.progress.stages import Counter
from artquant.results.plan import Plan
from artquant.results.rows import outcome_schema
from artquant.storage.budget import BUDGET
from artquant.storage.store import open_store

T = TypeVar("T")
FETCHING = "fetch and decode"


def scoring_stage(critique: bool) -> str:
    """Return the name under which the score stage reports."""
    return "score and critique" if critique else "score"


@dataclass(frozen=True, kw_only=True)
class FetchSettings:
    """What a worker that fetches and decodes is started with. `shards`: those that are due, by their place in the data set; `block_rows`:
    artworks in a block of its output."""

    input: str | tuple[str, ...] | None
    output: str
    plan_key: str
    shards: tuple[int, ...]
    image_size: int
    block_rows: int
    fetch: FetchSpec
    stall_seconds: float
    counter: Counter
    suspicions: str = ""


@dataclass(frozen=True, kw_only=True)
class ScoreSettings:
    """What a worker that scores is started with."""

    open_engine: Callable[[], Engine]
    identity: Identity
    batch_size: int
    critique: bool
    review: ReviewSpec
    run_id: str
    stall_seconds: float
    counter: Counter
    suspicions: str = ""


class FetchStage(Stage[Batch, Batch]):
    """Shard numbers in; blocks of artworks out: their plan's columns, `pixels` (N, S, S, 3) uint8, and why one cannot be scored."""

    def __init__(self, settings: FetchSettings):
        super().__init__(FETCHING, settings)
        self.loader = Loader(settings.input, settings.image_size, settings.fetch, self.in_hand)
        self.plan = Plan(open_store(settings.output), settings.plan_key)
        self.settings, self.block_rows = settings, settings.block_rows

    def process(self, batch: Batch) -> Iterator[Batch]:
        """One block is handed on while the next is loaded: at most two are held."""
        numbers = [self.settings.shards[index] for index in batch["id"].tolist()]
        blocks = batched(({**row, schema.SHARD: number} for number in numbers for row in self.plan.shard(number)), self.block_rows)
        upcoming = ((rows, self.loader.begin(rows)) for rows in blocks)
        current = next(upcoming, None)
        while current:
            following = next(upcoming, None)
            rows, (pixels, loading) = current
            columns = [
                {name: row[name] for name in (schema.ARTWORK_ID, schema.URI, schema.REASON, schema.SHARD)} | loaded.result()
                for row, loaded in zip(rows, loading, strict=True)
            ]
            yield {name: np.array([row[name] for row in columns]) for name in columns[0]} | {schema.PIXELS: pixels}
            current = following

    def news(self) -> tuple[float, int]:
        return BUDGET.drain(), 0

    def count(self, output: Batch) -> tuple[int, int]:
        return len(output[schema.PIXELS]), 0  # what cannot be decoded is counted with the scores, once


def batched(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    rows = iter(rows)
    return iter(lambda: list(islice(rows, size)), [])


class ScoreStage(Stage[Batch, pa.Table]):
    """Fetched blocks in, `outcome_schema()` out: a score or a reject for each artwork."""

    def __init__(self, settings: ScoreSettings):
        super().__init__(scoring_stage(settings.critique), settings)
        with self.in_hand.holding(OPENING):
            stage = scoring_stage(settings.critique)
            settings.counter.opens.remote(stage, False)
            try:
                self.engine = settings.open_engine()
            except RunFailed:  # it scored the golden set otherwise
                settings.counter.refuse.remote(stage, socket.gethostname())
                raise
            settings.counter.opens.remote(stage, True)
        self.settings = settings
        # An engine that dies of a full memory, as vLLM does, takes its process along: the next one begins with less.
        died = self.in_hand.num_out_of_memory
        self.limit = BatchLimit(max(1, settings.batch_size >> died) if died else None)
        self.num_shrunk = 0
        if died:
            self.say_limit()

    def say_limit(self) -> None:
        self.settings.counter.note.remote(
            f"Memory does not hold {self.settings.batch_size} images at a time: this worker scores {self.limit.size} from now on; "
            f"engine.batch_size={self.limit.size} spares the failed tries."
        )

    def news(self) -> tuple[float, int]:
        num, self.num_shrunk = self.limit.num_shrunk - self.num_shrunk, self.limit.num_shrunk
        if num:
            self.say_limit()
        return 0.0, num

    def process(self, batch: Batch) -> Iterator[pa.Table]:
        size = self.settings.batch_size
        for start in range(0, len(batch[schema.PIXELS]), size):
            yield self.score({name: values[start : start + size] for name, values in batch.items()})

    def count(self, output: pa.Table) -> tuple[int, int]:
        return output.num_rows, sum(value != "" for value in output.column(schema.REJECT_CLASS).to_pylist())

    def score(self, batch: Batch) -> pa.Table:
        pixels, settings = batch[schema.PIXELS], self.settings
        usable = np.flatnonzero(batch[schema.REJECT_CLASS] == "")

        def assess(indices: list[int]) -> list[Any]:
            rows = usable[indices]
            return assess_each(self.engine, pixels if len(rows) == len(pixels) else pixels[rows], settings.critique, self.limit)

        answers = self.in_hand.handle("scoring", batch[schema.ARTWORK_ID][usable].tolist(), assess)
        outcomes: dict[int, Any] = dict(zip(usable.tolist(), answers, strict=True))
        scored = [row for row, outcome in outcomes.items() if not isinstance(outcome, Reject)]
        columns = score_columns([outcomes[row] for row in scored], self.engine.scale, settings.review)
        shared = {schema.RUN_ID: settings.run_id, schema.AT: datetime.now(UTC), **vars(settings.identity)}
        position = {row: i for i, row in enumerate(scored)}
        fetched = {name: values.tolist() for name, values in batch.items() if name != schema.PIXELS}
        rows: list[dict[str, Any]] = []
        for row in range(len(pixels)):
            record = {name: values[row] for name, values in fetched.items()} | shared
            if row in position:
                record |= {name: values[position[row]] for name, values in columns.items()}
            elif isinstance(reject := outcomes.get(row), Reject):
                record |= {schema.REJECT_CLASS: reject.reject_class.value, schema.MESSAGE: reject.message}
            rows.append(record)
        return pa.Table.from_pylist(rows, outcome_schema())


class FetchAndScoreStage:
    """Both in one process, for engines that compute on the cores that decode: pixels are not copied to another process. A block is an
    engine batch here.

    May be called from two threads, so that the next task's artworks are fetched while the last ones of this are scored.
    """

    def __init__(self, fetch: FetchSettings, score: ScoreSettings, num_engine_threads: int):
        self.engine_threads = ThreadPoolExecutor(num_engine_threads)
        self.fetch = FetchStage(fetch)
        self.score = self.engine_threads.submit(ScoreStage, score).result()  # opened where it works: torch's settings are a thread's own

    def __call__(self, batch: Batch) -> Iterator[pa.Table]:
        for block in self.fetch(batch):
            yield from self.engine_threads.submit(lambda block: list(self.score(block)), block).result()
