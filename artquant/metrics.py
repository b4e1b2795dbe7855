"""Agreement between predicted and human scores, and how sure a figure is, by resampling artworks.

`predicted` and `human` are (N,) arrays of scores in the scale's unit; arrays of different length raise ValueError.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Metric = Callable[[np.ndarray, np.ndarray], float]
"""(N,) predicted, (N,) human -> a figure; nan where it is not defined."""

LIMITS = (2.5, 97.5)  # percentiles between which 95 % of the rounds lie


class Interval(NamedTuple):
    """A figure on all artworks, and the limits of its 95 % interval."""

    value: float
    low: float
    high: float


class Paired(NamedTuple):
    """The candidate's figure less the current model's on the same artworks, the limits of its 95 % interval, and the share of rounds in
    which the candidate's figure was the higher one."""

    difference: float
    low: float
    high: float
    share_better: float


def plcc(predicted: np.ndarray, human: np.ndarray) -> float:
    """Pearson's linear correlation of two (N,) arrays; nan where one of them is constant."""
    x, y = _columns(predicted, human)
    if len(x) < 2 or x.min() == x.max() or y.min() == y.max():  # not by the spread about the mean: of a constant it may be a rounding error
        return float("nan")
    x, y = x - x.mean(), y - y.mean()
    return float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)))


def srcc(predicted: np.ndarray, human: np.ndarray) -> float:
    """Spearman's rank correlation: Pearson's of the ranks, ties sharing their mean rank; nan where one of the arrays is constant."""
    x, y = _columns(predicted, human)
    return plcc(_ranks(x), _ranks(y))


def krcc(predicted: np.ndarray, human: np.ndarray) -> float:
    """Kendall's rank correlation tau-b, which allows for ties; nan where one of the arrays is constant."""
    from scipy.stats import kendalltau

    x, y = _columns(predicted, human)
    if len(x) < 2:
        return float("nan")
    # The method is that of the p-value, which is not used: the quick one, which fails on two rows.
    return float(kendalltau(x, y, method="asymptotic" if len(x) > 2 else "auto").statistic)


def mae(predicted: np.ndarray, human: np.ndarray) -> float:
    """Mean absolute error; nan of no rows."""
    x, y = _columns(predicted, human)
    return float(np.abs(x - y).mean()) if len(x) else float("nan")


def rmse(predicted: np.ndarray, human: np.ndarray) -> float:
    """Root of the mean squared error; nan of no rows."""
    x, y = _columns(predicted, human)
    return float(np.sqrt(np.mean((x - y) ** 2))) if len(x) else float("nan")


def level_accuracy(predicted_level: np.ndarray, human_level: np.ndarray) -> float:
    """Share of rows in which both (N,) arrays of level names say the same; nan of no rows."""
    x, y = _columns(predicted_level, human_level, None)
    return float(np.mean(x == y)) if len(x) else float("nan")


def logistic_fit(predicted: np.ndarray, human: np.ndarray) -> np.ndarray:
    """(N,) predicted scores on the human scale, by the four-parameter logistic that is customary before PLCC and RMSE are reported:
    `(b1 - b2) / (1 + exp(-(x - b3) / |b4|)) + b2`, least squares. `predicted` itself (as float64) where nothing can be fitted: fewer than
    four rows, one of the arrays constant, a value that is not finite, or a fit that does not converge.
    """
    x, y = _columns(predicted, human)
    if len(x) < 4 or not (np.isfinite(x).all() and np.isfinite(y).all()) or x.min() == x.max() or y.min() == y.max():
        return x.copy()
    from scipy.optimize import least_squares
    from scipy.special import expit

    z = (x - x.mean()) / x.std()

    def curve(b: np.ndarray) -> np.ndarray:
        return (b[0] - b[1]) * expit((z - b[2]) / max(abs(b[3]), 1e-6)) + b[1]

    found = least_squares(lambda b: curve(b) - y, [y.max(), y.min(), 0.0, 0.5], method="lm", max_nfev=5_000)
    fitted = curve(found.x)
    return fitted if found.success and np.isfinite(fitted).all() else x.copy()


def bootstrap(metric: Metric, predicted: np.ndarray, human: np.ndarray, rounds: int = 1000, seed: int = 0) -> Interval:
    """The metric on all artworks with its 95 % percentile interval over `rounds` resamples of the artworks, drawn with replacement.

    Rounds in which the metric is nan do not count; where it is nan in all of them, so are the limits. The same seed, the same interval.
    """
    x, y = _columns(predicted, human, None)
    values = np.array([metric(x[rows], y[rows]) for rows in _resamples(len(x), rounds, seed)])
    return Interval(float(metric(x, y)), *_limits(values))


def paired_bootstrap(
    metric: Metric, candidate: np.ndarray, current: np.ndarray, human: np.ndarray, rounds: int = 1000, seed: int = 0
) -> Paired:
    """How much higher the metric of `candidate` is than that of `current`, both (N,) scores of the same artworks and judged on the same
    resamples: what makes an artwork hard for both cancels. Limits and nan as in `bootstrap`; `share_better` is nan if every round is.
    """
    x, y = _columns(candidate, human, None)
    other, _ = _columns(current, human, None)
    differences = np.array([metric(x[rows], y[rows]) - metric(other[rows], y[rows]) for rows in _resamples(len(x), rounds, seed)])
    known = differences[~np.isnan(differences)]
    share = float(np.mean(known > 0)) if len(known) else float("nan")
    return Paired(float(metric(x, y) - metric(other, y)), *_limits(differences), share)


def _columns(x, y, dtype: type | None = np.float64) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(x, dtype), np.asarray(y, dtype)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"two columns of one length are compared, not {x.shape} with {y.shape}")
    return x, y


def _ranks(x: np.ndarray) -> np.ndarray:
    """(N,) float64 -> mean ranks from 1; all nan where one value is."""
    order = np.argsort(x)
    ordered = x[order]
    if np.isnan(ordered[-1:]).any():  # nan is sorted to the end
        return np.full(len(x), np.nan)
    group = np.concatenate([[0], np.cumsum(ordered[1:] != ordered[:-1])])[: len(x)]  # number of each row's group of equals
    counts = np.bincount(group)
    ranks = np.empty(len(x))
    ranks[order] = (np.cumsum(counts) - (counts - 1) / 2)[group]
    return ranks


def _resamples(num: int, rounds: int, seed: int):
    """`rounds` arrays of `num` row numbers, one at a time: memory stays small however many artworks there are."""
    random = np.random.default_rng(seed)
    for _ in range(rounds if num else 0):
        yield random.integers(0, num, num)


def _limits(values: np.ndarray) -> tuple[float, float]:
    known = values[~np.isnan(values)]
    low, high = np.percentile(known, LIMITS) if len(known) else (np.nan, np.nan)
    return float(low), float(high)
