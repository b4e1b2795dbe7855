"""A run summed up batch by batch, in bounded memory, the same whatever the split and the order.

Each worker feeds a `Summary` of its own; they are pickled and merged at the end. Nothing in it grows with the number of
rows: counts, one histogram a level, and a few kept artworks and rejects. Sums are integers, and every tie is broken by
artwork_id, so merging is associative and commutative to the bit.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from artquant.core.schema import (
    ARTWORK_ID,
    CRITIQUE_PARTS,
    CRITIQUE_STATUS,
    DOMAIN_DISTANCE,
    ENTROPY,
    HEIGHT,
    LEVEL,
    LEVELS,
    MESSAGE,
    NEEDS_REVIEW,
    OPEN_SET_MASS,
    PROBABILITY_COLUMNS,
    REJECT_CLASS,
    SCORE,
    SCORE_STD,
    URI,
    WIDTH,
)
from artquant.records.run import GROUPS, Artwork, Findings, RejectExample

BIN_WIDTH = 0.25
MAX_TEXT = 1_200  # characters kept of a critique part or a message

_STEPS = 1 << 16  # scores are summed in steps of 1/65,536: exact in any order, and 2e7 squares fit int64

Columns = Mapping[str, Any]  # column name -> numpy array or list, all of one length


class Summary:
    """Counts, distribution and the artworks worth looking at, of the rows added so far.

    `level_values`: the five levels' values, best first; the histogram spans from the lowest to the highest.
    `max_works`: artworks kept in each of the gallery's groups; `max_examples`: rejects kept of each class.

    Groups: best and worst by score; middling, the nearest to the middle level's value; most uncertain by entropy. The first three share
    no artwork: of a small collection the best come first, then the worst.
    """

    def __init__(self, level_values: Sequence[float], max_works: int = 8, max_examples: int = 5):
        if len(level_values) != len(LEVELS):
            raise ValueError(f"{len(LEVELS)} level values, best first, not {len(level_values)}")
        self.level_values = tuple(float(value) for value in level_values)
        self.max_works = max_works
        self.max_examples = max_examples
        self._low = min(self.level_values)
        num_bins = max(1, int(np.ceil((max(self.level_values) - self._low) / BIN_WIDTH)))
        self._histogram = np.zeros((len(LEVELS), num_bins), np.int64)
        self._sum = 0
        self._sum_of_squares = 0
        self._num_needs_review = 0
        self._critiques: Counter[str] = Counter()
        self._rejects: Counter[str] = Counter()
        self._examples: dict[str, list[RejectExample]] = {}
        self._works: dict[str, list[tuple[float, str, Artwork]]] = {group: [] for group in GROUPS}
        self._num_kept = 3 * max_works  # what best and worst take from the third of them leaves enough

    def add_scores(self, rows: Columns) -> None:
        """Count rows of `score_schema()`.

        Raises ValueError for a score that is not finite, or a level that is none of the five: such rows are rejects.
        """
        ids = rows[ARTWORK_ID]
        if len(ids) == 0:
            return
        scores = np.asarray(rows[SCORE], np.float64)
        entropies = np.asarray(rows[ENTROPY], np.float64)
        if not (np.isfinite(scores).all() and np.isfinite(entropies).all() and np.isfinite(np.asarray(rows[SCORE_STD], np.float64)).all()):
            raise ValueError("a score row holds a number that is not finite")
        levels = [LEVELS.index(level) for level in rows[LEVEL]]
        bins = np.floor((scores - self._low) / BIN_WIDTH).astype(np.int64).clip(0, self._histogram.shape[1] - 1)
        np.add.at(self._histogram, (np.array(levels), bins), 1)
        steps = np.rint(scores * _STEPS).astype(np.int64)
        self._sum += int(steps.sum())
        self._sum_of_squares += int(np.dot(steps, steps))
        self._critiques.update(rows.get(CRITIQUE_STATUS, ()))
        self._num_needs_review += int(np.count_nonzero(np.asarray(rows[NEEDS_REVIEW], bool)))

        make = cache(lambda row: _artwork(rows, row))
        middle = self.level_values[len(LEVELS) // 2]
        for group, keys in zip(GROUPS, (-scores, np.abs(scores - middle), scores, -entropies), strict=True):
            self._keep(self._works[group], keys, ids, make)

    def _keep(self, works: list[tuple[float, str, Artwork]], keys: np.ndarray, ids: Sequence[str], make: Callable[[int], Artwork]) -> None:
        """Insert the rows whose (key, artwork_id) is among the `_num_kept` smallest seen so far."""
        limit = works[-1][0] if len(works) == self._num_kept else np.inf
        candidates = np.flatnonzero(keys <= limit)
        for row in sorted(candidates.tolist(), key=lambda row: (keys[row], ids[row]))[: self._num_kept]:
            place = float(keys[row]), str(ids[row])
            if len(works) < self._num_kept or place < works[-1][:2]:
                insort(works, (*place, make(row)), key=lambda work: work[:2])
                del works[self._num_kept :]

    def add_rejects(self, rows: Columns) -> None:
        """Count rows of `reject_schema()`."""
        for artwork_id, reject_class, message in zip(rows[ARTWORK_ID], rows[REJECT_CLASS], rows[MESSAGE], strict=True):
            name = str(reject_class)
            self._rejects[name] += 1
            self._keep_examples(name, [RejectExample(str(artwork_id), name, _text(message) or "")])

    def _keep_examples(self, name: str, examples: list[RejectExample]) -> None:
        self._examples[name] = sorted([*self._examples.get(name, []), *examples])[: self.max_examples]

    def merge(self, other: Summary) -> None:
        """Take in all that `other` has counted; `other` is left as it was."""
        if (self.level_values, self.max_works, self.max_examples) != (other.level_values, other.max_works, other.max_examples):
            raise ValueError("summaries of different scales or sizes do not merge")
        self._histogram += other._histogram
        self._sum += other._sum
        self._sum_of_squares += other._sum_of_squares
        self._num_needs_review += other._num_needs_review
        self._critiques.update(other._critiques)
        self._rejects.update(other._rejects)
        for name, examples in other._examples.items():
            self._keep_examples(name, examples)
        for group, works in other._works.items():
            self._works[group] = sorted([*self._works[group], *works], key=lambda work: work[:2])[: self._num_kept]

    def result(self) -> Findings:
        num_scored = int(self._histogram.sum())
        mean = spread = None
        if num_scored:
            mean = self._sum / num_scored / _STEPS
            spread = max(0, num_scored * self._sum_of_squares - self._sum**2) ** 0.5 / num_scored / _STEPS
        return Findings(
            level_values=self.level_values,
            num_scored=num_scored,
            num_rejected=sum(self._rejects.values()),
            num_needs_review=self._num_needs_review,
            mean_score=mean,
            score_spread=spread,
            histogram_edges=tuple(self._low + BIN_WIDTH * index for index in range(self._histogram.shape[1] + 1)),
            histogram={level: tuple(counts.tolist()) for level, counts in zip(LEVELS, self._histogram, strict=True)},
            critiques_by_status=dict(sorted(self._critiques.items(), key=lambda item: (-item[1], item[0]))),
            rejects_by_class=dict(sorted(self._rejects.items(), key=lambda item: (-item[1], item[0]))),
            reject_examples=[example for name in sorted(self._examples) for example in self._examples[name]],
            gallery=self._gallery(),
        )

    def _gallery(self) -> dict[str, list[Artwork]]:
        taken: set[str] = set()
        gallery = {}
        for group in ("best", "worst", "middling", "most uncertain"):
            works = [work[2] for work in self._works[group] if group == "most uncertain" or work[1] not in taken][: self.max_works]
            taken |= {work.artwork_id for work in works}
            gallery[group] = works
        return {group: gallery[group] for group in GROUPS}


def _artwork(rows: Columns, row: int) -> Artwork:
    critique = {part: _text(rows[part][row]) for part in CRITIQUE_PARTS if part in rows}
    return Artwork(
        artwork_id=str(rows[ARTWORK_ID][row]),
        uri=str(rows[URI][row]),
        width=int(rows[WIDTH][row]),
        height=int(rows[HEIGHT][row]),
        score=float(rows[SCORE][row]),
        score_std=float(rows[SCORE_STD][row]),
        level=str(rows[LEVEL][row]),
        probabilities=tuple(float(rows[name][row]) for name in PROBABILITY_COLUMNS),
        open_set_mass=float(rows[OPEN_SET_MASS][row]),
        entropy=float(rows[ENTROPY][row]),
        needs_review=bool(rows[NEEDS_REVIEW][row]),
        domain_distance=rows[DOMAIN_DISTANCE][row] if DOMAIN_DISTANCE in rows else None,
        **critique,  # type: ignore[arg-type]
    )


def _text(value: object) -> str | None:
    """Return a column's text, cut to MAX_TEXT; a missing one is None or, from pandas, a float."""
    return value[:MAX_TEXT] if isinstance(value, str) and value else None
