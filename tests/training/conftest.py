"""A small collection with annotations, and tasks that train on it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from artquant.config import FitSpec, LossSpec, TrainSpec, VisionWarmupSpec
from artquant.images import square as images
from artquant.model.checkpoint import Checkpoint
from artquant.paintings import attributes_of, jpeg, paint
from artquant.training.data import Task
from tests.checkpoints import save_random_checkpoint

SEEDS = range(1_000_000, 1_000_030)
SIGMAS = (0.8, None, 0.0, None)  # of the raters; 0.0: they all agree


@dataclass(frozen=True)
class FolderSource:
    """A picture source without a cluster; an artwork that is not there has no picture."""

    folder: str

    def read(self, artwork_ids: Sequence[str], size: int, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, len(artwork_ids), batch_size):
            paths = [Path(self.folder) / name for name in artwork_ids[start : start + batch_size]]
            blank = np.zeros((size, size, 3), np.uint8)
            yield (
                np.stack([images.load(path.read_bytes(), size).pixels if path.exists() else blank for path in paths]),
                np.array([path.exists() for path in paths]),
            )


def annotations(seeds: range) -> pa.Table:
    paintings = [paint(seed) for seed in seeds]
    return pa.table(
        {
            "artwork_id": [f"{seed}.jpg" for seed in seeds],
            "score": [min(10.0, max(1.0, painting.score)) for painting in paintings],
            "sigma": pa.array([SIGMAS[seed % 4] for seed in seeds], pa.float64()),
            **{part: [getattr(painting, part) for painting in paintings] for part in ("perception", "cognition", "emotion")},
            "subject": [attributes_of(painting.latents)["subject"] for painting in paintings],
            "harmony": [painting.latents.harmony for painting in paintings],
        }
    )


@pytest.fixture(scope="module", autouse=True)
def small_products(one_thread) -> None:
    """All of these."""


@pytest.fixture(scope="session")
def gallery(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("gallery")
    for seed in SEEDS:
        (folder / f"{seed}.jpg").write_bytes(jpeg(paint(seed), 96, quality=85))
    return folder


@pytest.fixture(scope="session")
def parent(tmp_path_factory) -> Checkpoint:
    from artquant.core.prompts import Prompts

    texts = Prompts(max_critique_tokens=20)
    folder = save_random_checkpoint(tmp_path_factory.mktemp("parent") / "random", scale=3.0, max_critique_tokens=texts.max_critique_tokens)
    return Checkpoint.open(str(folder))


@pytest.fixture
def make_task(gallery, parent, tmp_path):
    """`make_task(fit, name=..., ...)`: a task over 24 artworks, six to judge by, in a folder of its own."""

    def make(name: str = "run", from_nothing: bool = False, warmup_steps: int = 0, loss: LossSpec | None = None, lora=None, **fit) -> Task:
        options = dict(
            steps=4, batch_size=3, gradient_accumulation_steps=2, learning_rate=3e-3, checkpoint_interval=2, dtype="float32", max_failures=0
        )
        spec = TrainSpec(
            loss=loss or LossSpec(score=1.0),
            vision_warmup=VisionWarmupSpec(steps=warmup_steps, columns=("subject", "harmony") if warmup_steps else ()),
            fit=FitSpec(**{**options, **fit}),
            **({"lora": lora} if lora else {}),
        )
        table = annotations(SEEDS)
        return Task(
            spec=spec,
            run_id=name,
            output_uri=str(tmp_path / "output"),
            digest="d",
            train=table.slice(0, 24),
            validation=table.slice(24),
            checkpoint=None if from_nothing else parent,
            pictures=FolderSource(str(gallery)),
        )

    return make
