"""The number in what a model writes, where it writes its score: Q-Insight, VisualQuality-R1, Aes-R1 and their kind."""

import re
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum

import numpy as np

from artquant.core.scale import Scale

_NUMBER = r"-?\d++(?:[.,]\d++)?+"  # taken whole or not at all
_ANSWER = re.compile(r"<answer>(.*?)(?:</answer>|$)", re.DOTALL | re.IGNORECASE)
_IS = rf"""\b["'*]*\s*(?:is|of|:|=|would be)?\s*["'*]*({_NUMBER})(?!\s*(?:to\b|[-–—])\s*\d)"""
_FINAL = re.compile(rf"\b(?:overall|final|total)\s+(?:score|rating){_IS}", re.IGNORECASE)
_NAMED = re.compile(rf"\b(?:score|rating|mos){_IS}", re.IGNORECASE)
_OUT_OF = re.compile(rf"(?<![\w.,-])({_NUMBER})\s*(?:/|out of\b|of\b)\s*\d", re.IGNORECASE)
_ANY = re.compile(rf"(?<![\w.])({_NUMBER})(?![\w%])")
_THOUSANDS = re.compile(r",(?=\d{3}$)")


class Unread(StrEnum):
    """Why an answer holds no score."""

    NO_NUMBER = "without a number"
    SEVERAL = "with several numbers, none of them named the score"
    OUTSIDE = "outside the scale"
    UNFINISHED = "broken off before the score"


def read_number(text: str, scale: Scale, is_whole: bool = True) -> float | Unread:
    """Return the score that a text gives in its last `<answer>`, or else behind its thoughts.

    That is the number which is named the final score, or a score, or stands before "/ 10" or "out of 10"; or else the only one.
    """
    tagged, (_, end, after) = _ANSWER.findall(text), text.rpartition("</think>")
    if not tagged and not end and "<think>" in text:
        return Unread.UNFINISHED
    said = (tagged[-1] if tagged else after).strip()
    ways = (dict.fromkeys(pattern.findall(said)) for pattern in (_FINAL, _NAMED, _OUT_OF, _ANY))
    found = next((list(numbers) for numbers in ways if numbers), [])
    if not is_whole and (not found or said.endswith(found[-1])):
        return Unread.UNFINISHED
    if len(found) != 1:
        return Unread.SEVERAL if found else Unread.NO_NUMBER
    number = float(_THOUSANDS.sub("", found[0]).replace(",", "."))
    return number if scale.low <= number <= scale.high else Unread.OUTSIDE


def summarise(read: Sequence[float | Unread], scale: Scale) -> tuple[np.ndarray, float, str | None]:
    """Return the answers to one picture as probabilities (5,) whose expectation is their mean, and the share that could be read.

    Where that is less than half, the probabilities are nan, and the third says why.
    """
    numbers = [number for number in read if not isinstance(number, Unread)]
    share = len(numbers) / len(read)
    if share >= 0.5:
        return scale.shares(np.array(numbers)).mean(0), share, None
    lost = Counter(why for why in read if isinstance(why, Unread))
    counted = ", ".join(f"{num} {why}" for why, num in lost.most_common())
    return np.full(len(scale.values), np.nan), share, f"of {len(read)} answers, {counted}; the scale is {scale.low:g} to {scale.high:g}"
