"""What pipelines and tests program against; the engines themselves are imported where they are used."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from artquant.core.scale import Scale


@dataclass
class Assessment:
    """An engine's assessment of B images, in their order.

    probabilities (B, 5) float64, closed set, best level first; open_set_mass (B,) float64: the five levels' share of the full softmax;
    critiques: B dicts of part -> text, or None where none was asked for; critique_statuses: "ok", "truncated" or "not_requested" each.
    """

    probabilities: np.ndarray
    open_set_mass: np.ndarray
    critiques: list[dict[str, str] | None] = field(default_factory=list)
    critique_statuses: list[str] = field(default_factory=list)


class Engine(Protocol):
    """Scores batches of images. An engine holds one device and is called by one thread at a time."""

    scale: Scale
    image_size: int  # pixels a side

    def assess(self, pixels: np.ndarray, critique: bool = False) -> Assessment:
        """pixels (B, image_size, image_size, 3) uint8 sRGB, any B >= 1. An answer depends on its image alone."""
        ...
