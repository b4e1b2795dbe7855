"""A batch that fails is halved until the artwork that breaks it stands alone."""

from collections.abc import Callable

import numpy as np

from artquant.engines import Assessment, Engine
from artquant.errors import Reject
from artquant.schema import RejectClass


def assess_each(engine: Engine, pixels: np.ndarray, critique: bool) -> list[tuple[Assessment, int] | Reject]:
    """For each image its assessment (and row therein), or why it has none: `poison` or `bad_scores`."""
    return _halve(lambda part: engine.assess(part, critique), pixels)


def _halve(assess: Callable[[np.ndarray], Assessment], pixels: np.ndarray) -> list[tuple[Assessment, int] | Reject]:
    if len(pixels) == 0:
        return []
    try:
        assessment = assess(pixels)
    except (RuntimeError, ValueError, ArithmeticError, IndexError) as error:  # what a forward pass raises, out of memory included
        if len(pixels) == 1:
            return [Reject(RejectClass.POISON, f"the engine fails on this artwork alone: {' '.join(str(error).split())[:300]}")]
        middle = len(pixels) // 2
        return _halve(assess, pixels[:middle]) + _halve(assess, pixels[middle:])
    finite = np.isfinite(assessment.probabilities).all(1) & np.isfinite(assessment.open_set_mass)
    return [
        (assessment, row) if finite[row] else Reject(RejectClass.BAD_SCORES, "the engine's probabilities are not finite")
        for row in range(len(pixels))
    ]
