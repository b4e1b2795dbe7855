"""The two stages that Ray Data runs on actor pools, each `batch -> batch`: fetch and decode, then score."""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from artquant.config import FetchSpec, ReviewSpec
from artquant.engines import Engine
from artquant.engines.halving import assess_each
from artquant.errors import Reject
from artquant.identity import Identity
from artquant.pipelines.in_hand import OPENING, of_this_worker
from artquant.pipelines.loader import Loader
from artquant.pipelines.progress import StageReport, tell
from artquant.pipelines.rows import outcome_schema, score_columns
from artquant.results.plan import Plan
from artquant.storage import open_store

Batch = dict[str, np.ndarray]
T = TypeVar("T")


class FetchStage:
    """Shard numbers in; blocks of artworks out: their plan's columns, `pixels` (N, S, S, 3) uint8, and why one cannot be scored."""

    def __init__(
        self,
        input_uri: str,
        output_uri: str,
        plan_key: str,
        image_size: int,
        block_rows: int,
        spec: FetchSpec,
        stall_seconds: float,
        progress: Any,
    ):
        in_hand = of_this_worker(stall_seconds)
        tell(progress, in_hand)
        self.loader = Loader(input_uri, image_size, spec, in_hand)
        self.plan = Plan(open_store(output_uri), plan_key)
        self.block_rows = block_rows
        self.report = StageReport(progress, "fetch and decode")

    def __call__(self, batch: Batch) -> Iterator[Batch]:
        """One block is handed on while the next is loaded: at most two are held."""
        started = time.monotonic()
        blocks = batched((row for shard in batch["id"].tolist() for row in self.plan.shard(shard)), self.block_rows)
        upcoming = ((rows, self.loader.begin(rows)) for rows in blocks)
        current = next(upcoming, None)
        while current:
            following = next(upcoming, None)
            rows, (pixels, loading) = current
            known = [
                {name: row[name] for name in ("artwork_id", "uri", "reason")} | loaded.result()
                for row, loaded in zip(rows, loading, strict=True)
            ]
            self.report.add(len(pixels), time.monotonic() - started, 0)
            yield {name: np.array([row[name] for row in known]) for name in known[0]} | {"pixels": pixels}
            started, current = time.monotonic(), following
        self.report.send()


def batched(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    rows = iter(rows)
    return iter(lambda: list(islice(rows, size)), [])


class ScoreStage:
    """Fetched blocks in, `outcome_schema()` out: a score or a reject for each artwork."""

    def __init__(
        self,
        open_engine: Callable[[], Engine],
        identity: Identity,
        batch_size: int,
        critique: bool,
        review: ReviewSpec,
        run_id: str,
        stall_seconds: float,
        progress: Any,
    ):
        self.in_hand = of_this_worker(stall_seconds)
        tell(progress, self.in_hand)
        with self.in_hand.holding(OPENING):
            self.engine = open_engine()
        self.identity, self.batch_size = identity, batch_size
        self.critique, self.review, self.run_id = critique, review, run_id
        self.report = StageReport(progress, "score and critique" if critique else "score")

    def __call__(self, block: Batch) -> Iterator[pa.Table]:
        for start in range(0, len(block["pixels"]), self.batch_size):
            yield self.score({name: values[start : start + self.batch_size] for name, values in block.items()})
        self.report.send()

    def score(self, batch: Batch) -> pa.Table:
        started = time.monotonic()
        usable = np.flatnonzero(batch["reject_class"] == "")

        def assess(indices: list[int]) -> list[Any]:
            rows = usable[indices]
            pixels = batch["pixels"] if len(rows) == len(batch["pixels"]) else batch["pixels"][rows]
            return assess_each(self.engine, pixels, self.critique)

        answers = self.in_hand.handle("scoring", batch["artwork_id"][usable].tolist(), assess)
        outcomes: dict[int, Any] = dict(zip(usable.tolist(), answers, strict=True))
        scored = [row for row, outcome in outcomes.items() if not isinstance(outcome, Reject)]
        columns = score_columns([outcomes[row] for row in scored], self.engine.scale, self.review)
        rows: list[dict[str, Any]] = []
        now = datetime.now(UTC)
        place = {row: i for i, row in enumerate(scored)}
        known = {name: values.tolist() for name, values in batch.items() if name != "pixels"}
        for row in range(len(batch["pixels"])):
            record = {name: values[row] for name, values in known.items()}
            record |= {"run_id": self.run_id, "at": now, **vars(self.identity)}
            if row in place:
                record |= {name: values[place[row]] for name, values in columns.items()}
            elif isinstance(reject := outcomes.get(row), Reject):
                record |= {"reject_class": reject.reject_class.value, "message": reject.message}
            rows.append(record)
        table = pa.Table.from_pylist(rows, outcome_schema())
        num_rejected = len(rows) - len(scored)
        self.report.add(len(rows), time.monotonic() - started, num_rejected)
        return table


class FetchAndScoreStage:
    """Both in one process, for engines that compute on the cores that decode: pixels are not copied to another process. A block is an
    engine batch here.

    May be called from two threads, so that the next task's artworks are fetched while the last ones of this are scored.
    """

    def __init__(self, fetch: Callable[[], FetchStage], score: Callable[[], ScoreStage], num_engine_threads: int):
        self.engine_threads = ThreadPoolExecutor(num_engine_threads)
        self.fetch = fetch()
        self.score = self.engine_threads.submit(score).result()  # opened where it works: torch's settings are a thread's own

    def __call__(self, batch: Batch) -> Iterator[pa.Table]:
        for block in self.fetch(batch):
            yield self.engine_threads.submit(self.score.score, block).result()
        self.score.report.send()
