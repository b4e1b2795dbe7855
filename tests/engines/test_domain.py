"""How far a picture is from those that a model learnt from: right by its definition, and telling on the shipped weights."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import artquant
from artquant.core.errors import UserError
from artquant.engines.domain import SHARE_INSIDE, Domain, features_of, read_domain
from artquant.engines.recipe import TINY
from artquant.engines.torch_engine import TorchEngine
from artquant.model.checkpoint import Checkpoint
from artquant.model.location import DOMAIN
from artquant.paintings.exam import picture, square
from artquant.paintings.seeds import HELD_OUT


def sign() -> Image.Image:
    """A no-entry sign."""
    image = Image.new("RGB", (200, 200), "white")
    draw = ImageDraw.Draw(image)
    draw.ellipse((10, 10, 190, 190), fill=(200, 0, 0))
    draw.rectangle((40, 85, 160, 115), fill="white")
    return image


def test_the_distance_is_mahalanobis_in_units_of_what_unseen_pictures_stay_below():
    random = np.random.default_rng(0)
    mixing = random.normal(size=(3, 3))
    seen, unseen, others = (random.normal(size=(num, 3)) @ mixing + 5 for num in (5_000, 1_000, 7))
    domain = Domain.fit(0, seen, unseen)
    inverse = np.linalg.inv(np.cov(seen.T))
    expected = np.array([np.sqrt((row - seen.mean(0)) @ inverse @ (row - seen.mean(0))) for row in others])
    assert domain.distance(others) * domain.limit == pytest.approx(expected, rel=0.05)  # a little less, for the ridge
    assert np.mean(domain.distance(unseen) <= 1) == pytest.approx(SHARE_INSIDE, abs=0.002)


def test_the_features_are_mean_and_spread_of_the_patches_without_the_class_token():
    patches = torch.tensor([[[1e6], [1.0], [3.0]]])
    assert features_of(patches) == pytest.approx(np.array([[2.0, 2**0.5]]))


def test_a_sign_is_foreign_to_the_shipped_weights_and_unseen_paintings_are_not(tmp_path: Path):
    paintings = [picture(seed) for seed in HELD_OUT[5_000:5_012]]  # others than those that the limit was taken from
    rows = artquant.load("tiny").score([*paintings, sign()])
    distances = [row["domain_distance"] for row in rows]
    assert max(distances[:-1]) < 1 < distances[-1]
    assert [row["needs_review"] for row in rows] == [False] * 12 + [True]


def test_a_picture_has_its_own_distance_whatever_it_shares_a_batch_with():
    engine = TorchEngine.load(Checkpoint.open(str(TINY)))
    images = np.stack([square(seed, engine.image_size) for seed in HELD_OUT[:5]])
    together = engine.assess(images).domain_distance
    alone = np.concatenate([engine.assess(image[None]).domain_distance for image in images])
    assert together == pytest.approx(alone, rel=1e-4) and len(set(alone)) == 5


def test_a_checkpoint_without_one_gives_no_distance_and_is_the_same_model(tmp_path: Path):
    copy = shutil.copytree(TINY, tmp_path / "copy")
    (copy / DOMAIN).unlink()
    assert Checkpoint.open(str(copy)).model_digest == Checkpoint.open(str(TINY)).model_digest
    [row] = artquant.load(str(copy)).score([sign()])
    assert row["domain_distance"] is None and not row["needs_review"]


def test_a_damaged_domain_is_refused_with_what_to_do(tmp_path: Path):
    copy = shutil.copytree(TINY, tmp_path / "copy")
    (copy / DOMAIN).write_bytes(b"no tensors")
    with pytest.raises(ValueError, match=r"bring golden/domain.safetensors again, or delete it"):
        read_domain(copy)
    with pytest.raises(UserError, match="its domain is damaged"):
        artquant.load(str(copy))
