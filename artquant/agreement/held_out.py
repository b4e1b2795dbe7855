"""Figures that need something to be fitted first: each artwork is judged by what was fitted to others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from artquant.agreement.metrics import Interval, plcc, resamples, rising_curve

SHARES = (0.5, 0.8, 0.95)
NUM_PIT_BINS = 10
FIT_ROUNDS = 200  # resamples behind an interval of a fitted figure, at most: each takes several fits
_SEED = 20261127


class ErrorInterval(NamedTuple):
    """`score +- half_width` holds people's mean for `share` of artworks to come; `covered`: for so many, by the others' errors."""

    share: float
    half_width: float
    covered: float


class Pit(NamedTuple):
    """Where `num` single ratings fall in the predicted distributions: shares in NUM_PIT_BINS bins, all alike where these are right.

    distance: the largest distance of their cumulated shares from even ones; 0 is calibrated.
    """

    num: int
    shares: tuple[float, ...]
    distance: float


def fitted_agreement(predicted: np.ndarray, human: np.ndarray, rounds: int) -> dict[str, Interval]:
    """Return PLCC and RMSE after the logistic fit, with 95 % intervals: curves are fitted to some artworks and judged on the others.

    The PLCC is the mean of those within the folds, 0 where a curve is flat. Each round of the bootstrap resamples the artworks and fits
    anew; an artwork and its repetitions are in the same fold. nan where nothing can be fitted; the RMSE then is that of the prediction.
    """
    x, y = np.asarray(predicted, np.float64), np.asarray(human, np.float64)
    fold = _folds(len(x))
    figures = [_fitted(x[rows], y[rows], fold[rows]) for rows in (np.arange(len(x)), *resamples(len(x), min(rounds, FIT_ROUNDS), 0))]
    columns = zip(("plcc_fitted", "rmse_fitted"), np.array(figures).T, strict=True)
    return {name: Interval(float(values[0]), *_limits(values[1:])) for name, values in columns}


def _fitted(x: np.ndarray, y: np.ndarray, fold: np.ndarray) -> tuple[float, float]:
    correlations, squares = [], 0.0
    for number in np.unique(fold):
        inside = fold == number
        curve = rising_curve(x[~inside], y[~inside])
        fitted = x[inside] if curve is None else curve(x[inside])
        squares += float(((fitted - y[inside]) ** 2).sum())
        if curve is not None and inside.sum() > 2 and y[inside].min() < y[inside].max():
            value = plcc(fitted, y[inside])
            correlations.append(0.0 if math.isnan(value) else value)
    return (float(np.mean(correlations)) if correlations else math.nan), math.sqrt(squares / len(x)) if len(x) else math.nan


def error_intervals(predicted: np.ndarray, human: np.ndarray, shares: Sequence[float] = SHARES) -> list[ErrorInterval]:
    """Return, for each share, the conformal half-width of the interval about a predicted score, and how often it held where measured.

    The width is that quantile of the artworks' absolute errors at which an interval covers at least `share` of artworks to come; it is
    inf where there are too few of them to say so. Coverage is measured across folds: widths from the other folds' errors.
    """
    errors = np.abs(np.asarray(predicted, np.float64) - np.asarray(human, np.float64))
    fold = _folds(len(errors))
    found = []
    for share in shares:
        inside = [errors[fold == number] <= _quantile(errors[fold != number], share) for number in np.unique(fold)]
        found.append(ErrorInterval(share, _quantile(errors, share), float(np.concatenate(inside).mean()) if inside else math.nan))
    return found


def _quantile(errors: np.ndarray, share: float) -> float:
    place = math.ceil((len(errors) + 1) * share)
    return float(np.sort(errors)[place - 1]) if 0 < place <= len(errors) else math.inf


def pit(probabilities: np.ndarray, ratings: np.ndarray) -> Pit | None:
    """Return the probability integral transform of single ratings (for discrete distributions: Czado, Gneiting, Held 2009).

    probabilities, ratings (N, 5), best level first: the predicted distributions, and how many ratings of each level an artwork has; a row
    of zeros has none. None if there are no ratings.
    """
    rising, counts = np.asarray(probabilities, np.float64)[:, ::-1], np.asarray(ratings, np.float64)[:, ::-1]
    total = counts.sum()
    if not total:
        return None
    ends = np.minimum(np.cumsum(rising, axis=1), 1.0)
    starts = np.concatenate([np.zeros((len(ends), 1)), ends[:, :-1]], axis=1)
    edges = np.linspace(0, 1, NUM_PIT_BINS + 1)
    width = np.maximum(ends - starts, 1e-12)
    below = [float((counts * np.clip((edge - starts) / width, 0, 1)).sum() / total) for edge in edges]
    below[0], below[-1] = 0.0, 1.0
    return Pit(int(round(total)), tuple(np.diff(below).tolist()), float(np.abs(np.array(below) - edges).max()))


def _folds(num: int) -> np.ndarray:
    """Return the fold of each of `num` artworks: two of them, or five where there are 50 artworks."""
    return np.random.default_rng(_SEED).permutation(num) % (5 if num >= 50 else 2)


def _limits(values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, (2.5, 97.5)) if len(finite) else (math.nan, math.nan)
    return float(low), float(high)
