"""Halving of a batch that fails, until the artwork that breaks it is alone."""

from collections.abc import Callable

import numpy as np

from artquant.core.errors import Reject
from artquant.core.schema import RejectClass
from artquant.engines import Assessment, Engine


def assess_each(engine: Engine, pixels: np.ndarray, critique: bool) -> list[tuple[Assessment, int] | Reject]:
    """Return for each image its assessment (and the row in it), or why it has none: `poison` or `bad_scores`.

    Raises SystemExit if the device is lost: a new process may get another.
    """
    return _halve(lambda part: engine.assess(part, critique), pixels)


def _halve(assess: Callable[[np.ndarray], Assessment], pixels: np.ndarray) -> list[tuple[Assessment, int] | Reject]:
    if len(pixels) == 0:
        return []
    assessment = _attempt(assess, pixels)
    # The failed attempt has ended here: its traceback would keep the whole batch's memory while the halves run.
    if isinstance(assessment, str):
        if len(pixels) == 1:
            return [Reject(RejectClass.POISON, f"the engine fails on this artwork alone: {assessment}")]
        middle = len(pixels) // 2
        return _halve(assess, pixels[:middle]) + _halve(assess, pixels[middle:])
    finite = np.isfinite(assessment.probabilities).all(1) & np.isfinite(assessment.open_set_mass)
    return [
        (assessment, row) if finite[row] else Reject(RejectClass.BAD_SCORES, "the engine's probabilities are not finite")
        for row in range(len(pixels))
    ]


def _attempt(assess: Callable[[np.ndarray], Assessment], pixels: np.ndarray) -> Assessment | str:
    """Return the assessment, or why the engine failed. Raises what no image can cause: our own bugs, and the loss of the device."""
    try:
        return assess(pixels)
    except (RuntimeError, ValueError, ArithmeticError, IndexError, MemoryError) as error:  # what a forward pass raises
        if _is_device_lost(error):
            raise SystemExit(f"the device is lost, and with it this process: {error}") from error
        return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _is_device_lost(error: Exception) -> bool:
    """Tell whether the device is lost: after a device error other than a full memory, every later call of the process fails too."""
    return type(error).__name__ == "AcceleratorError" and "out of memory" not in str(error)
