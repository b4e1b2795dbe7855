"""How long a training step of artquant-tiny takes, with all examples padded to the longest of them and with those of like length together.

Both recipes, their batches and dtype, on paintings that are kept decoded; median of steps that take turns.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import torch

import artquant.cli
from artquant.config import TrainSpec, load_spec
from artquant.engines.recipe import TINY
from artquant.model.checkpoint import Checkpoint
from artquant.paintings import paint
from artquant.paintings.exam import squares
from artquant.paintings.seeds import TRAINING
from artquant.training.data import Task
from artquant.training.loop import Worker
from artquant.training.order import step_rows
from artquant.training.training_model import TrainingModel

RECIPES = Path(artquant.cli.__file__).with_name("recipes")
NUM = 192  # paintings


class Rendered:
    """A picture source of paintings that are decoded already."""

    def __init__(self, ids: Sequence[str], pixels: np.ndarray):
        self.pixels = dict(zip(ids, pixels, strict=True))

    def read(self, artwork_ids: Sequence[str], size: int, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, len(artwork_ids), batch_size):
            some = np.stack([self.pixels[name] for name in artwork_ids[start : start + batch_size]])
            yield some, np.ones(len(some), bool)


def worker_of(recipe: str, folder: str) -> Worker:
    spec = load_spec(TrainSpec, RECIPES / recipe, ["vision_warmup.steps=0"])
    paintings = {f"{seed}.jpg": paint(seed) for seed in TRAINING[:NUM]}
    columns: dict[str, list[object]] = {"artwork_id": list(paintings)}
    for name in ("score", "perception", "cognition", "emotion"):
        columns[name] = [getattr(painting, name) for painting in paintings.values()]
    table, checkpoint = pa.table(columns), Checkpoint.open(str(TINY))
    pixels = squares(TRAINING[:NUM], checkpoint.image_size, Path(folder) / "pixels.npy")
    task = Task(spec, recipe, folder, "", table, table.slice(0, 1), checkpoint, Rendered(list(paintings), pixels))
    return Worker(task, 0, 1, torch.device("cpu"))


def seconds_of(worker: Worker, step: int, num_groups: int) -> float:
    worker.bare.num_groups = num_groups
    fit = worker.spec.fit
    rows = step_rows(len(worker.rows), fit.seed, step, fit.batch_size, fit.gradient_accumulation_steps, 1)
    batches = list(worker.pictures.batches(rows[:, 0]))
    started = time.perf_counter()
    worker._step(step, rows, batches)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=8)
    options = parser.parse_args()
    sizes = (1, TrainingModel.num_groups)
    for recipe in ("tiny.yaml", "describe.yaml"):
        with tempfile.TemporaryDirectory() as folder:
            worker = worker_of(recipe, folder)
            seconds_of(worker, 0, 1)
            took: dict[int, list[float]] = {size: [] for size in sizes}
            for step in range(1, options.steps + 1):
                for size in sizes:
                    took[size].append(seconds_of(worker, step, size))
        one, many = (median(took[size]) for size in sizes)
        size = worker.spec.fit.batch_size
        print(f"{recipe}, batches of {size}: {one:.2f} s a step in one group, {many:.2f} s in {sizes[1]}, {many / one:.2f} of it")


if __name__ == "__main__":
    main()
