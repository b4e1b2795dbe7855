"""The small checkpoint that comes with the code judges paintings that it has never seen; `python -m bench.tiny` does so on 500."""

from pathlib import Path

import numpy as np
import pytest
import torch

from artquant.engines.recipe import TINY
from artquant.engines.torch_engine import TorchEngine
from artquant.model.checkpoint import Checkpoint
from artquant.paintings import paint
from artquant.paintings.exam import square
from artquant.paintings.seeds import ANNOTATED, HELD_OUT, SAMPLE, TRAINING
from bench.exam import Marks, judge

NUM_PAINTINGS = 150


@pytest.fixture(scope="module")
def verdict() -> Marks:
    engine = TorchEngine.load(Checkpoint.open(str(TINY)))
    seeds = HELD_OUT[1000 : 1000 + NUM_PAINTINGS]  # others than those that the training script reports on
    squares = np.stack([square(seed, engine.image_size) for seed in seeds])
    return judge(engine, squares, [paint(seed) for seed in seeds], num_critiques=NUM_PAINTINGS)


def test_scores_agree_with_the_raters(verdict: Marks):
    assert verdict.srcc >= 0.87
    assert verdict.plcc >= 0.87


def test_critiques_name_the_right_attributes(verdict: Marks):
    assert verdict.attributes >= 0.82
    assert verdict.by_attribute["subject"] >= 0.8
    assert verdict.by_attribute["palette"] >= 0.8


def test_the_checkpoint_fits_the_repository_and_every_engine():
    assert sum(path.stat().st_size for path in Path(TINY).rglob("*")) <= 8_000_000
    config = Checkpoint.open(str(TINY)).load_model(torch.float32).config
    assert config.head_dim == 64


def test_sample_held_out_and_training_paintings_never_meet():
    ranges = sorted((SAMPLE, HELD_OUT, TRAINING, ANNOTATED), key=lambda seeds: seeds.start)
    assert all(a.stop <= b.start for a, b in zip(ranges, ranges[1:], strict=False))
