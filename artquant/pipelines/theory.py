"""The theory's terms of artworks that have descriptions, on Ray Data: fetch, decode and ask the network, in one stage."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import ray
from ray.data import ActorPoolStrategy

from artquant import images
from artquant.config import EngineSpec, FetchSpec
from artquant.engines import Engine
from artquant.errors import Reject, RunFailed
from artquant.memory import decode_budget
from artquant.pipelines.in_hand import OPENING, of_this_worker
from artquant.pipelines.progress import show_progress, tell
from artquant.pipelines.score import last_words
from artquant.pipelines.stages import Batch
from artquant.storage import open_store

BATCH_ROWS = 8  # artworks in one pass: their texts are far longer than a score's prompt
TERMS = ("entropy_given_text", "description_nll", "num_description_tokens")  # columns of `schema.evaluation_schema()`


class TheoryStage:
    """Rows with `artwork_id` and the three texts in; out: `artwork_id` and TERMS, nan where the picture is gone or the texts do not fit."""

    def __init__(self, open_engine: Callable[[], Engine], input_uri: str, fetch: FetchSpec, stall_seconds: float, progress: Any):
        from artquant.engines.theory import TheoryEngine
        from artquant.engines.torch_engine import TorchEngine

        self.in_hand = of_this_worker(stall_seconds)
        tell(progress, self.in_hand)
        with self.in_hand.holding(OPENING):
            engine = open_engine()
        assert isinstance(engine, TorchEngine), "the theory needs the network itself"
        self.theory, self.image_size = TheoryEngine(engine), engine.image_size
        self.store, self.fetch, self.progress = open_store(input_uri), fetch, progress
        self.pool = ThreadPoolExecutor(min(fetch.threads, BATCH_ROWS))

    def __call__(self, batch: Batch) -> Batch:
        started = time.monotonic()
        rows = [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
        pictures = dict(enumerate(self.pool.map(self._load, [row["artwork_id"] for row in rows])))
        found = {i: pixels for i, pixels in pictures.items() if pixels is not None and self.theory.fits(rows[i])}
        usable = list(found)
        terms = {name: np.full(len(rows), np.nan) for name in TERMS}

        def estimate(indices: list[int]) -> list[tuple[float, ...]]:
            chosen = [usable[i] for i in indices]
            descriptions = [rows[i] for i in chosen]
            nll, num_tokens = self.theory.description_nll(np.stack([found[i] for i in chosen]), descriptions)
            return list(zip(self.theory.entropy_given_text(descriptions), nll, num_tokens, strict=True))

        estimates = self.in_hand.handle("estimating", [rows[i]["artwork_id"] for i in usable], estimate)
        for i, estimated in zip(usable, estimates, strict=True):
            for name, value in zip(TERMS, (np.nan,) * 3 if isinstance(estimated, Reject) else estimated, strict=True):
                terms[name][i] = value
        self.progress.add.remote("theory", len(rows), time.monotonic() - started, len(rows) - len(usable))
        return {"artwork_id": batch["artwork_id"], **terms}

    def _load(self, artwork_id: str) -> np.ndarray | None:
        try:
            fetch = self.fetch
            data = self.store.fetch(
                artwork_id,
                attempts=fetch.attempts,
                patience_seconds=fetch.patience_seconds,
                timeout_seconds=fetch.timeout_seconds,
            ).data
            budget = decode_budget(fetch.decode_memory_mb)
            return images.load(data, self.image_size, max_pixels=fetch.max_pixels, fast=not fetch.full_decode, budget=budget).pixels
        except Reject:
            return None


def theory_terms(
    rows: Sequence[dict[str, str]],
    open_engine: Callable[[], Engine],
    input_uri: str,
    fetch: FetchSpec,
    engine: EngineSpec,
    stall_minutes: float,
    counter: Any,
) -> dict[str, dict[str, float]]:
    """artwork_id -> its TERMS, of those of `rows` that have them. Ray is running. Raises RunFailed."""
    num_workers = min(engine.num_workers, -(-len(rows) // BATCH_ROWS))
    dataset = ray.data.from_items(list(rows), override_num_blocks=-(-len(rows) // BATCH_ROWS)).map_batches(
        TheoryStage,
        fn_constructor_args=(open_engine, input_uri, fetch, stall_minutes * 60, counter),
        batch_size=BATCH_ROWS,
        compute=ActorPoolStrategy(size=num_workers),
        num_cpus=engine.num_cpus,
        num_gpus=engine.num_gpus or None,
    )
    with show_progress(counter, len(rows), "theory"):
        try:
            made = dataset.take_all()
        except (ray.exceptions.RayError, RuntimeError) as error:
            raise RunFailed(f"The theory's terms could not be estimated: {last_words(error)}; theory=false leaves them out.") from error
    return {row.pop("artwork_id"): row for row in made if not np.isnan(row["description_nll"])}
