"""The two stages that Ray Data runs on actor pools, each `batch -> batch`: fetch and decode, then score."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from artquant import images
from artquant.config import FetchSpec, ReviewSpec
from artquant.engines import Engine
from artquant.engines.halving import assess_each
from artquant.errors import Reject
from artquant.identity import Identity
from artquant.memory import keep_freed_memory
from artquant.pipelines.progress import StageReport
from artquant.pipelines.rows import outcome_schema, score_columns
from artquant.results.plan import Plan
from artquant.storage import Fetched, open_store

Batch = dict[str, np.ndarray]
T = TypeVar("T")


class Loader:
    """Fetches and decodes artworks of one collection on threads of its own."""

    def __init__(self, input_uri: str, image_size: int, spec: FetchSpec):
        import torch

        keep_freed_memory()
        torch.set_num_threads(1)  # the resize runs on torch; parallelism comes from our own threads
        self.store = open_store(input_uri)
        self.image_size, self.spec = image_size, spec
        self.pool = ThreadPoolExecutor(spec.threads)

    def begin(self, rows: list[dict[str, Any]]) -> tuple[np.ndarray, list[Future[dict[str, Any]]]]:
        """For rows with `artwork_id` and `etag` their pixels (N, S, S, 3) uint8, there when the row's future is done; its result says of
        which version they are, of what size it was, and why there are none (black) if so."""
        pixels = np.empty((len(rows), self.image_size, self.image_size, 3), np.uint8)
        return pixels, [self.pool.submit(self._load, row, square) for row, square in zip(rows, pixels, strict=True)]

    def _load(self, row: dict[str, Any], pixels: np.ndarray) -> dict[str, Any]:
        fetched = Fetched(b"", row["etag"], 1)
        width = height = 0
        try:
            fetched = self.store.fetch(row["artwork_id"], attempts=self.spec.attempts, timeout_seconds=self.spec.timeout_seconds)
            picture = images.load(fetched.data, self.image_size, max_pixels=self.spec.max_pixels, fast=not self.spec.full_decode)
        except Reject as reject:
            why = {
                "reject_class": reject.reject_class.value,
                "message": reject.message,
                "attempts": getattr(reject, "attempts", fetched.attempts),
            }
            pixels[:] = 0
        else:
            why = {"reject_class": "", "message": "", "attempts": fetched.attempts}
            pixels[:], width, height = picture.pixels, picture.width, picture.height
        return {"etag": fetched.etag, "width": width, "height": height} | why


class FetchStage:
    """Shard numbers in; blocks of artworks out: their plan's columns, `pixels` (N, S, S, 3) uint8, and why one cannot be scored."""

    def __init__(self, input_uri: str, output_uri: str, plan_key: str, image_size: int, block_rows: int, spec: FetchSpec, progress: Any):
        self.loader = Loader(input_uri, image_size, spec)
        self.plan = Plan(open_store(output_uri), plan_key)
        self.block_rows, self.progress = block_rows, progress

    def __call__(self, batch: Batch) -> Iterator[Batch]:
        """One block is handed on while the next is loaded: at most two are held."""
        started = time.monotonic()
        blocks = (block for shard in batch["id"].tolist() for block in batched(self.plan.shard(shard), self.block_rows))
        upcoming = ((rows, self.loader.begin(rows)) for rows in blocks)
        current = next(upcoming, None)
        while current:
            following = next(upcoming, None)
            rows, (pixels, loading) = current
            known = [
                {name: row[name] for name in ("artwork_id", "uri", "reason")} | loaded.result()
                for row, loaded in zip(rows, loading, strict=True)
            ]
            self.progress.add.remote("fetch and decode", len(pixels), time.monotonic() - started)
            yield {name: np.array([row[name] for row in known]) for name in known[0]} | {"pixels": pixels}
            started, current = time.monotonic(), following


def batched(rows: list[T], size: int) -> Iterator[list[T]]:
    return (rows[start : start + size] for start in range(0, len(rows), size))


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
        progress: Any,
    ):
        self.engine, self.identity, self.batch_size = open_engine(), identity, batch_size
        self.critique, self.review, self.run_id = critique, review, run_id
        self.report = StageReport(progress, "score and critique" if critique else "score")

    def __call__(self, block: Batch) -> Iterator[pa.Table]:
        for start in range(0, len(block["pixels"]), self.batch_size):
            yield self._score({name: values[start : start + self.batch_size] for name, values in block.items()})
        self.report.send()

    def _score(self, batch: Batch) -> pa.Table:
        started = time.monotonic()
        usable = np.flatnonzero(batch["reject_class"] == "")
        pixels = batch["pixels"] if len(usable) == len(batch["pixels"]) else batch["pixels"][usable]
        outcomes: dict[int, Any] = dict(zip(usable.tolist(), assess_each(self.engine, pixels, self.critique), strict=True))
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
