"""What a painting is before it is painted: its subject, colours, light and hand, and what eight raters make of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

SUBJECTS = ("mountains", "seascape", "desert", "forest", "town", "still_life", "flowers", "portrait", "cat", "abstract")
PALETTES = ("earth", "blue", "green", "rose", "gold", "violet", "grey", "vivid")
LIGHTS = ("dawn", "noon", "dusk", "night")
COMPOSITIONS = ("centred", "left", "right", "diagonal")
BRUSHES = ("smooth", "impasto", "pointillist", "hatched")
LINES = ("crisp", "soft", "broken")
ASPECTS = {"square": 1.0, "landscape": 4 / 3, "portrait": 3 / 4}
QUALITIES = ("harmony", "balance", "control", "depth", "finish")

_MOOD = {  # by palette, in the order of LIGHTS
    "earth": ("tender", "serene", "dramatic", "mysterious"),
    "blue": ("serene", "serene", "melancholic", "mysterious"),
    "green": ("serene", "joyful", "melancholic", "mysterious"),
    "rose": ("tender", "joyful", "tender", "mysterious"),
    "gold": ("tender", "joyful", "dramatic", "dramatic"),
    "violet": ("tender", "serene", "mysterious", "mysterious"),
    "grey": ("melancholic", "melancholic", "melancholic", "melancholic"),
    "vivid": ("joyful", "joyful", "dramatic", "dramatic"),
}
_WEIGHT = {"harmony": 0.24, "balance": 0.16, "control": 0.24, "depth": 0.16, "finish": 0.20}
_TASTE = {
    "seascape": 0.15,
    "cat": 0.2,
    "flowers": 0.1,
    "abstract": -0.2,
    "grey": -0.2,
    "gold": 0.1,
    "dusk": 0.1,
    "serene": 0.1,
    "melancholic": -0.1,
}
NUM_RATERS = 8


@dataclass(frozen=True)
class Latents:
    """Everything that `render` needs. The five qualities are in 0..1 and each leaves its own visible trace."""

    subject: str
    palette: str
    light: str
    composition: str
    brush: str
    line: str
    aspect: str
    harmony: float  # low: clashing hues and blotches
    balance: float  # low: everything tilts and leans on one side
    control: float  # low: wobbling contours, colours that spill
    depth: float  # low: flat and chalky, no modelling
    finish: float  # low: bare canvas
    variation: int  # seed of every accident of the drawing

    @property
    def mood(self) -> str:
        return _MOOD[self.palette][LIGHTS.index(self.light)]

    @property
    def technique(self) -> str:
        return {"smooth": "glaze", "impasto": "knife", "pointillist": "dots", "hatched": "pastel"}[self.brush]


def draw_latents(rng: np.random.Generator) -> Latents:
    """Draw the categories uniformly, and the qualities from one shared skill, as people's are."""
    choice: dict[str, Any] = {
        name: values[int(rng.integers(len(values)))]
        for name, values in (
            ("subject", SUBJECTS),
            ("palette", PALETTES),
            ("light", LIGHTS),
            ("composition", COMPOSITIONS),
            ("brush", BRUSHES),
            ("line", LINES),
            ("aspect", ("landscape", "landscape", "square", "portrait")),
        )
    }
    skill = rng.normal(0.57, 0.20) if rng.random() > 0.04 else rng.normal(0.02, 0.1)
    quality: dict[str, Any] = {name: float(np.clip(skill + rng.normal(0, 0.18), 0, 1)) for name in QUALITIES}
    return Latents(**choice, **quality, variation=int(rng.integers(2**31)))


def worth(latents: Latents) -> float:
    """Return the score that an endless jury would agree on: diminishing returns of each quality, and a little taste.

    It lies within -0.7..9.7; near 0 and below, all raters give the lowest rating, 1.
    """
    made = sum(weight * (1 - (1 - getattr(latents, name)) ** 1.35) for name, weight in _WEIGHT.items())
    taste = sum(_TASTE.get(value, 0.0) for value in (latents.subject, latents.palette, latents.light, latents.mood))
    return float(np.clip(-0.7 + 10.3 * made + taste * min(1.0, 2 * made), -0.7, 9.7))


def draw_ratings(latents: Latents, rng: np.random.Generator) -> tuple[float, ...]:
    """Draw eight ratings on the 1..10 scale in steps of a half.

    Each rater has a bias and may have an off day. The ratings' mean errs by about 0.25.
    """
    raw = worth(latents) + rng.normal(0, 0.45, NUM_RATERS) + rng.normal(0, 0.5, NUM_RATERS)
    return tuple(float(value) for value in np.clip(np.round(raw * 2) / 2, 1, 10))
