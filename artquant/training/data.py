"""What a worker of a run is given, and how it gets its pictures."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa

from artquant.config import TrainSpec
from artquant.model.checkpoint import Checkpoint
from artquant.progress.training import Monitor


class PictureSource(Protocol):
    """Reads artworks by id, in the order that is asked for, fetched and decoded as the score job does."""

    def read(self, artwork_ids: Sequence[str], size: int, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Read pixels (B, size, size, 3) uint8 and whether there is a picture (B,) bool; B is `batch_size`, or less for the last batch."""
        ...


@dataclass(frozen=True)
class Task:
    """All of a run that does not depend on the worker. Tables have the columns of `artquant.annotations`; scores lie within the levels."""

    spec: TrainSpec
    run_id: str
    output_uri: str
    digest: str
    train: pa.Table
    validation: pa.Table
    checkpoint: Checkpoint | None
    pictures: PictureSource
    monitor: Monitor | None = None  # where a person sees how far the run is

    @property
    def num_steps(self) -> int:
        """Optimizer steps of both tasks, after those of the vision warm-up."""
        fit = self.spec.fit
        per_epoch = len(self.train) / (fit.batch_size * fit.gradient_accumulation_steps * fit.num_workers)
        return fit.steps or max(1, round(fit.epochs * per_epoch))


class Pictures:
    """Pictures of a table's artworks by row; a small collection is kept decoded, a large one is streamed in the order of training."""

    def __init__(self, source: PictureSource, artwork_ids: Sequence[str], size: int, keep_bytes: int):
        self.source, self.ids, self.size = source, np.asarray(artwork_ids, dtype=object), size
        self.kept: tuple[np.ndarray, np.ndarray] | None = None
        self.vanished: set[int] = set()
        if len(self.ids) * size * size * 3 <= keep_bytes:
            self.kept = self.load(range(len(self.ids)))

    def load(self, rows: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Load the pixels and presence of some rows, all at once."""
        pixels = np.empty((len(rows), self.size, self.size, 3), np.uint8)
        is_there = np.empty(len(rows), bool)
        start = 0
        for some, there in self.source.read(list(self.ids[list(rows)]), self.size, 64):
            pixels[start : start + len(some)], is_there[start : start + len(some)] = some, there
            start += len(some)
        self._note(np.asarray(rows), is_there)
        return pixels, is_there

    def batches(self, rows: np.ndarray) -> Generator[tuple[np.ndarray, np.ndarray, np.ndarray], None, None]:
        """Yield (rows (B,), pixels, presence) for each of `rows` (batches, B)."""
        if self.kept is not None:
            for batch in rows:
                yield batch, self.kept[0][batch], self.kept[1][batch]
            return
        stream = self.source.read(list(self.ids[rows.reshape(-1)]), self.size, rows.shape[1]) if rows.size else iter(())
        for batch, (pixels, is_there) in zip(rows, stream, strict=True):
            self._note(batch, is_there)
            yield batch, pixels, is_there

    def _note(self, rows: np.ndarray, is_there: np.ndarray) -> None:
        self.vanished.update(rows[~is_there].tolist())
