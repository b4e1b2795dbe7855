"""Descriptions that fit an artwork and its score, and such that do not: what a judge learns from, and what its exam asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from artquant.core.scale import Scale
from artquant.core.schema import CRITIQUE_PARTS, SCORE


class Fault(StrEnum):
    """What is wrong with a description, if anything."""

    NONE = "right"
    OTHER_PICTURE = "another picture"  # of an artwork with about the same score
    OTHER_SCORE = "another score"  # 3 of 10 away
    CONTRADICTION = "contradicting words"  # one text of a much better or worse artwork


FAULTS = (Fault.OTHER_PICTURE, Fault.OTHER_SCORE, Fault.CONTRADICTION)


@dataclass(frozen=True)
class Pair:
    """Texts beside an artwork, the score that is claimed for it, and what is to be said of them: `reason` is '' where they fit."""

    texts: Mapping[str, str]
    score: float
    fault: Fault
    reason: str


def pair_of(rows: Sequence[Mapping[str, Any]], row: int, fault: Fault, scale: Scale, rng: np.random.Generator) -> Pair | None:
    """Return the row's description with a fault. `rows` have a score and the three texts; None where no other row lends itself."""
    scores = np.array([one[SCORE] for one in rows], np.float64)
    own, mine = rows[row], float(scores[row])
    texts = {part: own[part] for part in CRITIQUE_PARTS}
    unit = scale.high / 10
    if fault is Fault.OTHER_SCORE:
        shifted = [score for score in (mine - 3 * unit, mine + 3 * unit) if scale.low <= score <= scale.high]
        if not shifted:
            return None
        score = shifted[int(rng.integers(len(shifted)))]
        return Pair(texts, score, fault, f"it sounds {'better' if score < mine else 'worse'} than the score")
    away = np.abs(scores - mine)
    is_fit = (away <= unit) if fault is Fault.OTHER_PICTURE else (away >= 4 * unit)
    others = [int(i) for i in np.flatnonzero(is_fit) if i != row]
    if fault is Fault.NONE:
        return Pair(texts, mine, fault, "")
    if not others:
        return None
    other = rows[others[int(rng.integers(len(others)))]]
    if fault is Fault.OTHER_PICTURE:
        return Pair({part: other[part] for part in CRITIQUE_PARTS}, mine, fault, "it describes another picture")
    part = CRITIQUE_PARTS[int(rng.integers(len(CRITIQUE_PARTS)))]
    return Pair(texts | {part: other[part]}, mine, fault, "it contradicts itself")
