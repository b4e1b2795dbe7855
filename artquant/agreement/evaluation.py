"""How well predicted scores and distributions agree with people's: decisions on plain arrays of N artworks."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from artquant.agreement import metrics
from artquant.agreement.held_out import fitted_agreement
from artquant.agreement.metrics import Interval
from artquant.core.scale import Scale

MAX_VALUES = 12  # of a column that is examined separately
NOT_SAID = "(none)"  # the subgroup of artworks that have no value in a column
_BIN_ARTWORKS = 10  # in a bin of the calibration, at least, where there are several


class CalibrationBin(NamedTuple):
    """Artworks of neighbouring predicted scores, `low` to `high`: means of both scores, of the predicted and of the raters' spread."""

    low: float
    high: float
    num: int
    predicted: float
    human: float
    predicted_std: float
    raters_std: float | None


class Subgroup(NamedTuple):
    """The artworks that have `value` in an annotation `column`; the limits are those of the 95 % interval of their SRCC."""

    column: str
    value: str
    num: int
    srcc: float
    srcc_low: float
    srcc_high: float
    plcc: float
    mae: float


class Spread(NamedTuple):
    """Does the predicted distribution know how much the raters differ? `share_covered`: artworks whose score_std is no less than theirs."""

    num: int
    predicted_std: float
    raters_std: float
    share_covered: float
    srcc: float


def agreement(predicted: np.ndarray, human: np.ndarray, scale: Scale, rounds: int) -> tuple[dict[str, Interval], np.ndarray]:
    """Return the metrics with their 95 % intervals, and the predicted scores (N,) after the customary four-parameter logistic fit to all.

    Figures after a fit are those of :func:`fitted_agreement`, on artworks that it was not fitted to. Both scores are turned into levels by
    the same hard rule. The likeliest level of a distribution is the nearest one and the rule takes the one above, so the two differ for
    half of all scores. Where there is nothing to fit, as for a constant prediction, the fitted scores are the predicted ones.
    """
    fitted, held_out = metrics.logistic_fit(predicted, human), fitted_agreement(predicted, human, rounds)

    def interval(metric: metrics.Metric, first: np.ndarray, second: np.ndarray = human) -> Interval:
        return metrics.bootstrap(metric, first, second, rounds=rounds)

    return {
        "srcc": interval(metrics.srcc, predicted),
        "plcc": interval(metrics.plcc, predicted),
        "plcc_fitted": held_out["plcc_fitted"],
        "krcc": interval(metrics.krcc, predicted),
        "mae": interval(metrics.mae, predicted),
        "rmse": interval(metrics.rmse, predicted),
        "rmse_fitted": held_out["rmse_fitted"],
        "level_accuracy": interval(metrics.level_accuracy, scale.level(predicted), scale.level(human)),
    }, fitted


def calibration(
    predicted: np.ndarray, human: np.ndarray, predicted_std: np.ndarray, raters_std: np.ndarray, max_bins: int = 10
) -> list[CalibrationBin]:
    """Return bins of about as many artworks each, by rising predicted score. `raters_std` is nan where it is not known."""
    num_bins = min(max_bins, max(1, len(predicted) // _BIN_ARTWORKS))
    bins = []
    for rows in np.array_split(np.argsort(predicted, kind="stable"), num_bins):
        if len(rows):
            finite_stds = raters_std[rows][np.isfinite(raters_std[rows])]
            x, y, std = (float(values[rows].mean()) for values in (predicted, human, predicted_std))
            ends = float(predicted[rows[0]]), float(predicted[rows[-1]])
            bins.append(CalibrationBin(*ends, len(rows), x, y, std, float(finite_stds.mean()) if len(finite_stds) else None))
    return bins


def spread(predicted_std: np.ndarray, raters_std: np.ndarray) -> Spread | None:
    """Compare spreads over the artworks for which the raters' spread is known (not nan); None if there are none."""
    is_known = np.isfinite(raters_std)
    if not is_known.any():
        return None
    ours, theirs = predicted_std[is_known], raters_std[is_known]
    means = float(ours.mean()), float(theirs.mean()), float((ours >= theirs).mean())
    return Spread(int(is_known.sum()), *means, metrics.srcc(ours, theirs))


def telling_columns(columns: Mapping[str, Sequence[str | None]]) -> list[str]:
    """Return the text columns that divide the artworks into two to MAX_VALUES groups, of two artworks or more on average."""
    values = {name: {value for value in column if value is not None} for name, column in columns.items()}
    return [name for name, column in columns.items() if 2 <= len(values[name]) <= min(MAX_VALUES, len(column) // 2)]


def subgroups(columns: Mapping[str, Sequence[object]], predicted: np.ndarray, human: np.ndarray, rounds: int = 1000) -> list[Subgroup]:
    """Return a row per column and value, in the columns' order, larger groups first. Correlations of fewer than three artworks are nan."""
    unknown = Interval(math.nan, math.nan, math.nan)
    groups = []
    for column, cells in columns.items():
        labels = np.array([NOT_SAID if cell is None else str(cell) for cell in cells], dtype=object)
        parts = {value: np.flatnonzero(labels == value) for value in sorted(set(labels))}
        for value, rows in sorted(parts.items(), key=lambda part: -len(part[1])):
            x, y = predicted[rows], human[rows]
            srcc, plcc = (metrics.bootstrap(metrics.srcc, x, y, rounds), metrics.plcc(x, y)) if len(rows) > 2 else (unknown, math.nan)
            groups.append(Subgroup(column, value, len(rows), *srcc, plcc, metrics.mae(x, y)))
    return groups


def worst(predicted: np.ndarray, human: np.ndarray, num: int) -> np.ndarray:
    """Return the rows of the `num` largest errors, the largest first; of equal errors, the earlier row first."""
    return np.argsort(-np.abs(predicted - human), kind="stable")[:num]
