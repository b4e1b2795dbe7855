"""The two stages that Ray Data runs on actor pools, each `batch -> batch`: fetch and decode, then score."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from artquant import images
from artquant.config import FetchSpec, ReviewSpec
from artquant.engines import Engine
from artquant.engines.halving import assess_each
from artquant.errors import Reject
from artquant.identity import Identity
from artquant.memory import keep_freed_memory
from artquant.pipelines.rows import outcome_schema, score_columns
from artquant.results.plan import Plan
from artquant.storage import Fetched, open_store

Batch = dict[str, np.ndarray]


class FetchStage:
    """Shard numbers in; batches of artworks out: their plan's columns, `pixels` (N, S, S, 3) uint8, and why one cannot be scored."""

    def __init__(self, input_uri: str, output_uri: str, plan_key: str, image_size: int, batch_size: int, spec: FetchSpec, progress: Any):
        import torch

        keep_freed_memory()
        torch.set_num_threads(1)  # the resize runs on torch; parallelism comes from our own threads
        self.store = open_store(input_uri)
        self.plan = Plan(open_store(output_uri), plan_key)
        self.image_size, self.batch_size, self.spec, self.progress = image_size, batch_size, spec, progress
        self.pool = ThreadPoolExecutor(spec.threads)
        self.blank = np.zeros((image_size, image_size, 3), np.uint8)

    def __call__(self, batch: Batch) -> Iterator[Batch]:
        started = time.monotonic()
        for shard in batch["id"].tolist():
            loaded = self._load_all(self.plan.shard(shard))
            while artworks := tuple(islice(loaded, self.batch_size)):
                self.progress.add.remote("fetch and decode", len(artworks), time.monotonic() - started)
                yield _as_columns(artworks)
                started = time.monotonic()

    def _load_all(self, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Loaded artworks in the order of the plan, with a bounded number in flight: pictures that wait are memory."""
        waiting: deque[Future] = deque()
        remaining = iter(rows)
        for row in islice(remaining, 2 * self.spec.threads):
            waiting.append(self.pool.submit(self._load, row))
        while waiting:
            yield waiting.popleft().result()
            for row in islice(remaining, 1):
                waiting.append(self.pool.submit(self._load, row))

    def _load(self, row: dict[str, Any]) -> dict[str, Any]:
        fetched = Fetched(b"", row["etag"], 1)
        try:
            fetched = self.store.fetch(row["artwork_id"], attempts=self.spec.attempts, timeout_seconds=self.spec.timeout_seconds)
            picture = images.load(fetched.data, self.image_size, max_pixels=self.spec.max_pixels, fast=not self.spec.full_decode)
        except Reject as reject:
            why = {
                "reject_class": reject.reject_class.value,
                "message": reject.message,
                "attempts": getattr(reject, "attempts", fetched.attempts),
            }
            picture = images.Picture(self.blank, 0, 0)
        else:
            why = {"reject_class": "", "message": "", "attempts": fetched.attempts}
        return {
            "artwork_id": row["artwork_id"],
            "uri": row["uri"],
            "etag": fetched.etag,
            "reason": row["reason"],
            "width": picture.width,
            "height": picture.height,
            **why,
            "pixels": picture.pixels,
        }


def _as_columns(artworks: tuple[dict[str, Any], ...]) -> Batch:
    return {
        name: np.stack([artwork[name] for artwork in artworks]) if name == "pixels" else np.array([artwork[name] for artwork in artworks])
        for name in artworks[0]
    }


class ScoreStage:
    """Fetched batches in, `outcome_schema()` out: a score or a reject for each artwork."""

    def __init__(
        self, open_engine: Callable[[], Engine], identity: Identity, critique: bool, review: ReviewSpec, run_id: str, progress: Any
    ):
        self.engine, self.identity = open_engine(), identity
        self.critique, self.review, self.run_id, self.progress = critique, review, run_id, progress

    def __call__(self, batch: Batch) -> pa.Table:
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
        self.progress.add.remote("score and critique" if self.critique else "score", len(rows), time.monotonic() - started, num_rejected)
        return table
