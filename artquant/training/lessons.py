"""What there is to learn from annotations: scores, and texts by part."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from artquant.annotations.votes import level_shares
from artquant.config import LossSpec
from artquant.core.errors import UserError
from artquant.core.scale import Scale, estimate_distribution
from artquant.core.schema import SCORE, TEXT_PARTS, VOTES

MIN_SIGMA = 1 / 9  # gaps between levels: raters who all agree still mean this spread
MIN_VOTES = 20  # fewer are too rough a histogram to be a label


def lessons(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Count what rows of annotations teach: scores, and texts by part."""
    num = dict.fromkeys((SCORE, *TEXT_PARTS), 0)
    for row in rows:
        num[SCORE] += row.get(SCORE) is not None
        for part in TEXT_PARTS:
            num[part] += bool((row.get(part) or "").strip())
    return num


def parts_of(spec: LossSpec, rows: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the parts to learn: those that are named, or else all of which there are texts."""
    if spec.parts is not None:
        return spec.parts
    num = lessons(rows)
    return tuple(part for part in TEXT_PARTS if num[part])


def check_lessons(spec: LossSpec, rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Return the number of lessons of each kind that will be learnt. Raises UserError if a part that was asked for has none."""
    rows = list(rows)
    num = lessons(rows)
    if missing := [part for part in spec.parts or () if not num[part]]:
        there = ", ".join(f"{count:,} {part}" for part, count in num.items() if count and part != SCORE) or "no texts at all"
        raise UserError(
            f"loss.parts asks for {missing[0]}, of which the artworks to train on have no text (they have {there}): "
            "name others, or leave loss.parts out to learn all that there is."
        )
    return {kind: num[kind] for kind in (SCORE, *parts_of(spec, rows))}


def soft_labels(rows: list[dict[str, Any]], scale: Scale, spec: LossSpec) -> np.ndarray:
    """Return (rows, 5) float64 targets; zero where a row has no score.

    The target is the distribution of an artwork's votes where there are MIN_VOTES of them or their shares. Otherwise it is estimated from
    the score (ArtQuant, section 3) with the raters' own sigma or, where that is not known, with `spec.sigma`. The raters' sigma is that of
    one rater: the target says how people answer, not how sure their mean is.
    """
    targets = np.zeros((len(rows), 5))
    scored = []
    for i, row in enumerate(rows):
        votes = (row.get(VOTES) or []) if spec.soft_labels == "auto" else []
        if row[SCORE] is not None and _is_histogram(votes):
            targets[i] = level_shares(votes, scale)
        elif row[SCORE] is not None:
            scored.append(i)
    if scored:
        spread = np.array(
            [spec.sigma * scale.gap if rows[i].get("sigma") is None else max(rows[i]["sigma"], MIN_SIGMA * scale.gap) for i in scored]
        )
        targets[scored] = estimate_distribution(np.array([rows[i][SCORE] for i in scored]), spread, scale)
    return targets


def _is_histogram(votes: list[dict[str, float]]) -> bool:
    counts = [vote["count"] for vote in votes]
    return sum(counts) >= MIN_VOTES or any(count != int(count) for count in counts)
