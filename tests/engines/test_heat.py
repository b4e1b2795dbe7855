"""Heat maps: what they add up to, by another way of computing it, and that the engine is as before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from artquant.engines.heat import heat_maps
from artquant.engines.torch_engine import TorchEngine
from artquant.model import vision
from artquant.model.checkpoint import Checkpoint
from tests.checkpoints import save_random_checkpoint

TEXTS = {"perception": "A calm picture.", "cognition": "", "emotion": "It is joyful."}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> TorchEngine:
    folder: Path = tmp_path_factory.mktemp("model") / "random"
    return TorchEngine.load(Checkpoint.open(str(save_random_checkpoint(folder, max_critique_tokens=2))))


@pytest.fixture
def pixels(engine: TorchEngine) -> np.ndarray:
    size = engine.image_size
    return np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)


def test_there_is_a_map_for_the_score_and_for_each_text_that_was_written(engine: TorchEngine, pixels: np.ndarray) -> None:
    heats = heat_maps(engine, pixels, TEXTS)
    assert list(heats) == ["score", "perception", "emotion"]
    side = engine.config.visual_config.visual_model.grid_size
    for heat in heats.values():
        assert heat.attention.shape == heat.gradient.shape == (side, side)
        assert heat.attention.min() >= 0 and heat.attention.sum() == pytest.approx(1)
        assert np.isfinite(heat.gradient).all() and np.ptp(heat.gradient) > 0
    assert np.abs(heats["perception"].gradient - heats["emotion"].gradient).max() > 1e-9


def test_the_gradient_is_the_weights_times_their_own_gradient(
    engine: TorchEngine, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[torch.Tensor] = []

    def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)
        if q.shape[2] != k.shape[2]:  # the abstractor's
            weights.requires_grad_() if weights.is_leaf else weights.retain_grad()
            kept.append(weights)
        return weights @ v

    found = heat_maps(engine, pixels, {})["score"].gradient
    monkeypatch.setattr(vision, "attend", attend)
    with torch.enable_grad():
        patches = engine.model.model.vision_model(vision.normalise(torch.from_numpy(pixels[None]))).detach().requires_grad_()
        features = engine.model.model.visual_abstractor(patches)
        ids = torch.tensor([engine.processor.encode_prompt(engine.prompts.score)])
        start = int((ids[0] == engine.config.image_token_index).nonzero()[0])
        hidden = engine.model.model.hidden(engine.model.model.embed(ids, features), (start, start + features.shape[1]))
        levels = engine.model.lm_head(hidden[0, -1])[engine.level_ids].double().softmax(-1)
        (levels @ torch.tensor(engine.scale.values, dtype=torch.float64)).backward()
    num_queries = kept[0].shape[2]
    product = sum((one * one.grad).sum((0, 1, 2))[num_queries + 1 :] for one in kept if one.grad is not None)
    assert isinstance(product, torch.Tensor) and len(kept) >= 1
    expected = product.detach().double().reshape(found.shape).numpy()
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


def test_the_engine_answers_as_before(engine: TorchEngine, pixels: np.ndarray) -> None:
    before = engine.assess(pixels[None], critique=True)
    heat_maps(engine, pixels, TEXTS)
    after = engine.assess(pixels[None], critique=True)
    assert np.array_equal(before.probabilities, after.probabilities) and before.critiques == after.critiques
    assert not any(layer.self_attn._forward_hooks for layer in engine.model.model.layers)
