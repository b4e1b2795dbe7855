"""What pipelines and tests program against; the engines themselves are imported where they are used."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from artquant.core.prompts import Prompts
from artquant.core.scale import Scale

Critiques = tuple[list[dict[str, str] | None], list[str]]  # the texts and their statuses, one of each an image

# Of a second try: greedy as the first, so that it depends on the image alone and a run that goes on has the same rows.
FREQUENCY_PENALTY = 0.6  # taken from a token's logit for each time that it occurred in the answer: no loop lasts
MIN_TOKENS = 8  # before an answer may end


@dataclass
class Assessment:
    """An engine's assessment of B images, in their order.

    probabilities (B, 5) float64, closed set, best level first; open_set_mass (B,) float64: the five levels' share of the full softmax;
    critiques: B dicts of part -> text, or None where none was asked for; critique_statuses: `CritiqueStatus` each; an engine
    itself knows ok, truncated and not_requested; domain_distance (B,) float64: as `artquant.engines.domain` has it, None where the model
    or the engine does not tell; failures: where a row has no score (its probabilities are nan), why, in words.
    """

    probabilities: np.ndarray
    open_set_mass: np.ndarray
    critiques: list[dict[str, str] | None] = field(default_factory=list)
    critique_statuses: list[str] = field(default_factory=list)
    domain_distance: np.ndarray | None = None
    failures: Mapping[int, str] = field(default_factory=dict)


class Engine(Protocol):
    """Scores batches of images. An engine holds one device and is called by one thread at a time."""

    scale: Scale
    image_size: int  # pixels a side

    def assess(self, pixels: np.ndarray, critique: bool = False) -> Assessment:
        """pixels (B, image_size, image_size, 3) uint8 sRGB, any B >= 1. An answer depends on its image alone."""
        ...


@runtime_checkable
class Critic(Engine, Protocol):
    """An engine whose critiques are checked, and that can write them a second time."""

    prompts: Prompts

    def rewrite(self, pixels: np.ndarray) -> Critiques:
        """Write the critiques of images (B, S, S, 3) again with FREQUENCY_PENALTY and MIN_TOKENS. They depend on their image alone."""
        ...
