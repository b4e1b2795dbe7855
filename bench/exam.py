"""How well an engine judges generated paintings: against the raters' means, and against the latents that critiques should name."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from artquant.agreement.metrics import plcc, srcc
from artquant.core.schema import CRITIQUE_PARTS
from artquant.paintings.painting import Painting
from artquant.paintings.words import attributes_in, attributes_of


@dataclass(frozen=True)
class Marks:
    srcc: float
    plcc: float
    attributes: float  # share of the attributes that critiques name rightly, mean over attributes
    by_attribute: dict[str, float]


def judge(engine: Any, pixels: np.ndarray, paintings: list[Painting], num_critiques: int) -> Marks:
    """Judge an `engine` (an :class:`artquant.engines.Engine`) on pixels (N, S, S, 3) uint8 of N paintings."""
    probabilities = np.concatenate([engine.assess(np.asarray(pixels[i : i + 50])).probabilities for i in range(0, len(pixels), 50)])
    predicted, human = probabilities @ np.asarray(engine.scale.values), np.array([p.score for p in paintings])
    named: dict[str, list[bool]] = {}
    for i in range(0, min(num_critiques, len(pixels)), 50):
        texts = engine.assess(np.asarray(pixels[i : i + 50]), critique=True).critiques
        for painting, critique in zip(paintings[i : i + 50], texts, strict=False):
            named_attributes = attributes_in(" ".join((critique or {})[part] for part in CRITIQUE_PARTS))
            for name, value in attributes_of(painting.latents).items():
                named.setdefault(name, []).append(named_attributes.get(name) == value)
    shares = {name: float(np.mean(values)) for name, values in named.items()}
    return Marks(srcc(predicted, human), plcc(predicted, human), float(np.mean(list(shares.values()))), shares)
