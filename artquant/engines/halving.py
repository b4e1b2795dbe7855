"""Halving of a batch that fails, until the artwork that breaks it is alone."""

from collections.abc import Callable

import numpy as np

from artquant.core.errors import Reject
from artquant.core.schema import CritiqueStatus, RejectClass
from artquant.engines import Assessment, Critic, Engine
from artquant.engines.critique_checks import status_of

_NOT_FINITE = "the engine's probabilities are not finite"


class BatchLimit:
    """How many images of one call the device's memory holds. It only falls: what did not fit once would fail, and be computed twice, in
    every batch to come. `num_shrunk` counts how often it fell."""

    def __init__(self, size: int | None = None):
        self.size, self.num_shrunk = size, 0

    def did_not_fit(self, num_images: int) -> None:
        half = num_images // 2
        if self.size is None or half < self.size:  # two threads may have met the same limit
            self.size = half
            self.num_shrunk += 1


def assess_each(
    engine: Engine, pixels: np.ndarray, critique: bool, limit: BatchLimit | None = None
) -> list[tuple[Assessment, int] | Reject]:
    """Return for each image its assessment (and the row in it), or why it has none: `poison` or `bad_scores`. No call has more images
    than `limit` says, which learns from what does not fit in memory.

    Critiques are checked, and those that fail are written once more.

    Raises SystemExit if the device is lost: a new process may get another.
    """

    def assess(part: np.ndarray) -> Assessment:
        assessment = engine.assess(part, critique)
        if critique and isinstance(engine, Critic):
            check_critiques(engine, part, assessment)
        return assessment

    return _halve(assess, pixels, limit or BatchLimit())


def check_critiques(engine: Critic, pixels: np.ndarray, assessment: Assessment) -> None:
    """Give each critique its status. Those that fail a check are written a second time, and replaced where that one passes all checks."""

    def status(image: int, critique: dict[str, str] | None, given: str) -> str:
        is_truncated = given == CritiqueStatus.TRUNCATED
        return status_of(critique or {}, is_truncated, engine.prompts.critique, assessment.probabilities[image].tolist())

    assessment.critique_statuses = [
        status(image, critique, given)
        for image, (critique, given) in enumerate(zip(assessment.critiques, assessment.critique_statuses, strict=True))
    ]
    failed = [image for image, given in enumerate(assessment.critique_statuses) if given != CritiqueStatus.OK]
    if not failed:
        return
    for image, critique, given in zip(failed, *engine.rewrite(pixels[failed]), strict=True):
        if status(image, critique, given) == CritiqueStatus.OK:
            assessment.critiques[image], assessment.critique_statuses[image] = critique, CritiqueStatus.OK


def _halve(assess: Callable[[np.ndarray], Assessment], pixels: np.ndarray, limit: BatchLimit) -> list[tuple[Assessment, int] | Reject]:
    if len(pixels) == 0:
        return []
    if limit.size and len(pixels) > limit.size:
        return _halve(assess, pixels[: limit.size], limit) + _halve(assess, pixels[limit.size :], limit)
    assessment = _attempt(assess, pixels)
    # The failed attempt has ended here: its traceback would keep the whole batch's memory while the halves run.
    if isinstance(assessment, str):
        if len(pixels) == 1:
            return [Reject(RejectClass.POISON, f"the engine fails on this artwork alone: {assessment}")]
        if is_out_of_memory(assessment):
            limit.did_not_fit(len(pixels))
        middle = len(pixels) // 2
        return _halve(assess, pixels[:middle], limit) + _halve(assess, pixels[middle:], limit)
    finite = np.isfinite(assessment.probabilities).all(1) & np.isfinite(assessment.open_set_mass)
    return [
        (assessment, row) if finite[row] else Reject(RejectClass.BAD_SCORES, assessment.failures.get(row, _NOT_FINITE))
        for row in range(len(pixels))
    ]


def is_out_of_memory(text: str) -> bool:
    """Whether an error's type and message are those of a full memory, of a GPU or the machine."""
    text = text.lower()
    return any(words in text for words in ("out of memory", "outofmemoryerror", "memoryerror", "can't allocate memory", "cannot allocate"))


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
    return type(error).__name__ == "AcceleratorError" and not is_out_of_memory(str(error))
