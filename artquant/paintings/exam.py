"""How well an engine judges generated paintings: against the raters' means, and against the latents that critiques should name."""

import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from artquant import images
from artquant.metrics import plcc, srcc
from artquant.paintings.painting import Painting, paint
from artquant.paintings.render import jpeg
from artquant.paintings.words import attributes_in, attributes_of
from artquant.schema import CRITIQUE_PARTS

LONG_SIDES = (160, 224, 320)  # pixels; several sizes keep the school from being about one


def picture(seed: int) -> bytes:
    """One painting for school or exam, as a JPEG."""
    return jpeg(paint(seed), LONG_SIDES[seed % len(LONG_SIDES)], quality=90)


def square(seed: int, size: int) -> np.ndarray:
    """The same as the score job sees it: decoded, padded, resized to (size, size, 3) uint8."""
    return images.load(picture(seed), size).pixels


def squares(seeds: range, size: int, path: Path) -> np.ndarray:
    """(N, size, size, 3) uint8, kept in the file `path` and read from there the next time."""
    if path.is_file():
        kept = np.load(path, mmap_mode="r")
        if kept.shape == (len(seeds), size, size, 3):
            return kept
    path.parent.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        rendered = np.stack(list(pool.map(square, seeds, repeat(size), chunksize=64)))
    np.save(path, rendered)
    return rendered


@dataclass(frozen=True)
class Marks:
    srcc: float
    plcc: float
    attributes: float  # share of the attributes that critiques name rightly, mean over attributes
    by_attribute: dict[str, float]


def judge(engine: Any, pixels: np.ndarray, paintings: list[Painting], num_critiques: int) -> Marks:
    """`engine`: an :class:`artquant.engines.Engine`; pixels (N, S, S, 3) uint8 of the N paintings."""
    probabilities = np.concatenate([engine.assess(np.asarray(pixels[i : i + 50])).probabilities for i in range(0, len(pixels), 50)])
    predicted, human = probabilities @ np.asarray(engine.scale.values), np.array([p.score for p in paintings])
    named: dict[str, list[bool]] = {}
    for i in range(0, min(num_critiques, len(pixels)), 50):
        texts = engine.assess(np.asarray(pixels[i : i + 50]), critique=True).critiques
        for painting, critique in zip(paintings[i : i + 50], texts, strict=False):
            said = attributes_in(" ".join((critique or {})[part] for part in CRITIQUE_PARTS))
            for name, value in attributes_of(painting.latents).items():
                named.setdefault(name, []).append(said.get(name) == value)
    shares = {name: float(np.mean(values)) for name, values in named.items()}
    return Marks(srcc(predicted, human), plcc(predicted, human), float(np.mean(list(shares.values()))), shares)
