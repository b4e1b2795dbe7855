"""Single ratings and counts of them: one histogram of votes an artwork, from which its mean and its spread follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from artquant.annotations.values import Refusals, load_json, numbers, ratings, texts
from artquant.core.scale import Scale

VOTE = pa.struct([("value", pa.float64()), ("count", pa.float64())])
"""How many raters, or which share of them, gave a rating."""

NO_COUNT = "a count of votes is no number from zero on"


class Votes(NamedTuple):
    """M votes of N rows: each one's rating, its count and its row. Counts are numbers of raters, or shares."""

    values: np.ndarray  # (M,) float64
    counts: np.ndarray  # (M,) float64
    rows: np.ndarray  # (M,) int64

    @classmethod
    def of_ratings(cls, values: np.ndarray, rows: np.ndarray) -> Votes:
        return cls(values, np.ones(len(values)), rows)

    @classmethod
    def join(cls, parts: Sequence[Votes]) -> Votes:
        empty = cls(np.empty(0), np.empty(0), np.empty(0, np.int64))
        return cls(*(np.concatenate(columns) for columns in zip(empty, *parts, strict=True)))

    def kept(self, mask: np.ndarray) -> Votes:
        return Votes(self.values[mask], self.counts[mask], self.rows[mask])

    def moments(self, num_rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return for each row the mean, the standard deviation and the number of raters, (N,) float64; nan where it is not known.

        The deviation is that of a sample (n - 1) of whole counts, of two raters or more; of shares, which do not say how many raters
        there were, that of the distribution.
        """
        total = np.bincount(self.rows, self.counts, num_rows)
        is_whole = np.ones(num_rows, bool)
        is_whole[self.rows[self.counts != np.floor(self.counts)]] = False
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.bincount(self.rows, self.counts * self.values, num_rows) / total
            squares = np.bincount(self.rows, self.counts * (self.values - mean[self.rows]) ** 2, num_rows)
            sigma = np.sqrt(squares / np.where(is_whole, total - 1, total))
        return mean, np.where((total > 1) | ~is_whole, sigma, np.nan), np.where(is_whole & (total > 0), total, np.nan)

    def to_array(self, num_rows: int) -> pa.Array:
        """Return a list of `VOTE` for each row, by rising rating, equal ones together; null where there are none."""
        order = np.lexsort((self.values, self.rows))
        values, counts, rows = self.values[order], self.counts[order], self.rows[order]
        first = np.flatnonzero(np.r_[True, (np.diff(rows) != 0) | (np.diff(values) != 0)]) if len(rows) else np.empty(0, np.int64)
        counts = np.add.reduceat(counts, first) if len(first) else counts
        values, rows = values[first], rows[first]
        ends = np.searchsorted(rows, np.arange(num_rows), side="right")
        offsets = np.r_[0, ends].astype(np.int32)
        entries = pa.StructArray.from_arrays([pa.array(values, pa.float64()), pa.array(counts, pa.float64())], fields=list(VOTE))
        return pa.ListArray.from_arrays(pa.array(offsets), entries, mask=pa.array(np.diff(offsets) == 0))


def counted(arrays: Mapping[str, pa.Array], ratings_of: Mapping[str, float], refusals: Refusals) -> Votes:
    """Read columns that count the votes for one rating each."""
    parts = []
    for name, rating in ratings_of.items():
        counts, is_blank = numbers(arrays[name])
        refusals.refuse(~is_blank & ~(counts >= 0), NO_COUNT, arrays[name])
        rows = np.flatnonzero(counts > 0)
        parts.append(Votes(np.full(len(rows), rating), counts[rows], rows))
    return Votes.join(parts)


def listed_votes(array: pa.Array, low: float, high: float, refusals: Refusals) -> Votes:
    """Read a column of histograms: a list of counts for ratings in even steps from `low` to `high`, or an object `{"7.5": 3}`."""
    if pa.types.is_struct(array.type) or (pa.types.is_string(array.type) and _are_objects(array)):
        return _objects(array, refusals)
    counts, rows, is_wrong = ratings(array)
    refusals.refuse(is_wrong, "the votes are no list of counts", array)
    is_count = counts >= 0
    wrong = np.zeros(len(array), bool)
    wrong[rows[~is_count]] = True
    num = np.bincount(rows, minlength=len(array))
    refusals.refuse(wrong | (num == 1), NO_COUNT, array)
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)
    values = low + (high - low) * place / np.maximum(num[rows] - 1, 1)
    return Votes(values, counts, rows).kept(is_count & (counts > 0))


def _are_objects(array: pa.Array) -> bool:
    first = texts(array).drop_null().slice(0, 1).to_pylist()
    return bool(first) and first[0].startswith("{")


def _objects(array: pa.Array, refusals: Refusals) -> Votes:
    found: list[tuple[float, float, int]] = []
    wrong = np.zeros(len(array), bool)
    for row, cell in enumerate(array.to_pylist()):
        try:
            entries = cell if isinstance(cell, dict) or cell is None else load_json(cell) if cell.strip() else None
            some = [(float(rating), float(count), row) for rating, count in (entries or {}).items() if count is not None]
        except (ValueError, TypeError, AttributeError):
            wrong[row] = True
            continue
        wrong[row] = not all(np.isfinite(rating) and count >= 0 and np.isfinite(count) for rating, count, _ in some)
        found += [vote for vote in some if vote[1] > 0 and not wrong[row]]
    refusals.refuse(wrong, NO_COUNT, array)
    columns = np.array(found, np.float64).reshape(-1, 3)
    return Votes(columns[:, 0], columns[:, 1], columns[:, 2].astype(np.int64))


def level_shares(votes: Sequence[Mapping[str, Any]], scale: Scale) -> np.ndarray:
    """Return the distribution (5,) over the levels, best first, that a histogram of votes is.

    A vote between two levels counts for both, in the proportion that keeps its value, so the expectation is the mean of the votes; one
    beyond the levels counts for the last.
    """
    rising = np.asarray(scale.values[::-1])
    values = np.clip([vote["value"] for vote in votes], scale.low, scale.high)
    counts = np.array([vote["count"] for vote in votes], np.float64)
    above = np.clip(np.searchsorted(rising, values, side="right"), 1, len(rising) - 1)
    weight = (values - rising[above - 1]) / (rising[above] - rising[above - 1])
    shares = np.bincount(above, counts * weight, len(rising)) + np.bincount(above - 1, counts * (1 - weight), len(rising))
    return np.asarray((shares / counts.sum())[::-1])
