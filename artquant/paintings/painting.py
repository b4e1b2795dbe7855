"""A painting from a seed: latents, ratings and the three texts. Nothing is rendered here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from artquant.paintings import words
from artquant.paintings.latents import Latents, draw_latents, draw_ratings


@dataclass(frozen=True)
class Painting:
    seed: int
    latents: Latents
    ratings: tuple[float, ...]  # eight raters, 1..10
    perception: str
    cognition: str
    emotion: str

    @property
    def score(self) -> float:
        """Mean of the ratings, 1..10."""
        return float(np.mean(self.ratings))

    @property
    def score_std(self) -> float:
        return float(np.std(self.ratings))


def paint(seed: int) -> Painting:
    """Paint the painting of a seed, which is the same everywhere (PCG64)."""
    rng = np.random.Generator(np.random.PCG64(seed))
    latents = draw_latents(rng)
    ratings = draw_ratings(latents, rng)
    return Painting(seed, latents, ratings, *words.write(latents, float(np.mean(ratings)), rng))
