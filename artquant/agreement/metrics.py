"""Agreement between predicted and human scores, and the uncertainty of a figure, by resampling artworks.

`predicted` and `human` are (N,) arrays of scores in the scale's unit; arrays of different length raise ValueError.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple, cast

import numpy as np

Metric = Callable[[np.ndarray, np.ndarray], float]
"""(N,) predicted, (N,) human -> a figure; nan where it is not defined."""


class Interval(NamedTuple):
    """A figure on all artworks, and the limits of its 95 % interval."""

    value: float
    low: float
    high: float


class Paired(NamedTuple):
    """The candidate's figure less the current model's on the same artworks, and the limits of its interval."""

    difference: float
    low: float
    high: float


def plcc(predicted: np.ndarray, human: np.ndarray) -> float:
    """Return Pearson's linear correlation of two (N,) arrays; nan if one of them is constant."""
    x, y = _columns(predicted, human)
    if (
        len(x) < 2 or x.min() == x.max() or y.min() == y.max()
    ):  # not by the spread about the mean: for a constant it may be a rounding error
        return float("nan")
    x, y = x - x.mean(), y - y.mean()
    return float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)))


def srcc(predicted: np.ndarray, human: np.ndarray) -> float:
    """Return Spearman's rank correlation: Pearson's of the ranks, ties sharing their mean rank; nan if one of the arrays is constant."""
    from scipy.stats import rankdata

    x, y = _columns(predicted, human)
    return plcc(rankdata(x, nan_policy="propagate"), rankdata(y, nan_policy="propagate"))


def ranking(predicted: np.ndarray, human: np.ndarray) -> float:
    """Return Spearman's rank correlation, and 0 where it is not defined: whoever says the same of all artworks orders none of them."""
    value = srcc(predicted, human)
    return 0.0 if np.isnan(value) else value


def krcc(predicted: np.ndarray, human: np.ndarray) -> float:
    """Return Kendall's rank correlation tau-b, which allows for ties; nan if one of the arrays is constant."""
    from scipy.stats import kendalltau

    x, y = _columns(predicted, human)
    if len(x) < 2:
        return float("nan")
    # The method is that of the p-value, which is not used: the quick one, which fails on two rows.
    return float(kendalltau(x, y, method="asymptotic" if len(x) > 2 else "auto").statistic)


def mae(predicted: np.ndarray, human: np.ndarray) -> float:
    """Return the mean absolute error; nan if there are no rows."""
    x, y = _columns(predicted, human)
    return float(np.abs(x - y).mean()) if len(x) else float("nan")


def rmse(predicted: np.ndarray, human: np.ndarray) -> float:
    """Return the root of the mean squared error; nan if there are no rows."""
    x, y = _columns(predicted, human)
    return float(np.sqrt(np.mean((x - y) ** 2))) if len(x) else float("nan")


def level_accuracy(predicted_level: np.ndarray, human_level: np.ndarray) -> float:
    """Return the share of rows in which both (N,) arrays of level names agree; nan if there are no rows."""
    x, y = _columns(predicted_level, human_level, None)
    return float(np.mean(x == y)) if len(x) else float("nan")


def rising_curve(predicted: np.ndarray, human: np.ndarray) -> Callable[[np.ndarray], np.ndarray] | None:
    """Fit the customary four-parameter logistic from predicted scores (N,) to the human scale by least squares, held to rise.

    The curve is `b2 + a / (1 + exp(-(x - b3) / b4))` with a > 0: one that may fall makes a good predictor of a bad one. None if nothing can
    be fitted: fewer than four rows, one of the arrays constant, a value that is not finite, or a fit that does not converge.
    """
    x, y = _columns(predicted, human)
    if len(x) < 4 or not (np.isfinite(x).all() and np.isfinite(y).all()) or x.min() == x.max() or y.min() == y.max():
        return None
    from scipy.optimize import least_squares
    from scipy.special import expit

    mean, spread = x.mean(), x.std()

    def curve(b: np.ndarray, z: np.ndarray) -> np.ndarray:
        return cast(np.ndarray, np.exp(min(b[0], 50.0)) * expit((z - b[2]) / max(abs(b[3]), 1e-6)) + b[1])

    z = (x - mean) / spread
    start = [np.log(y.max() - y.min()), y.min(), 0.0, 0.5]
    solution = least_squares(lambda b: curve(b, z) - y, start, method="lm", max_nfev=5_000)
    if not (solution.success and np.isfinite(curve(solution.x, z)).all()):
        return None
    return lambda values: curve(solution.x, (np.asarray(values, np.float64) - mean) / spread)


def logistic_fit(predicted: np.ndarray, human: np.ndarray) -> np.ndarray:
    """Map predicted scores (N,) by :func:`rising_curve`, fitted to all of them; `predicted` itself (as float64) where there is none."""
    curve = rising_curve(predicted, human)
    return np.array(predicted, np.float64) if curve is None else curve(predicted)


def bootstrap(metric: Metric, predicted: np.ndarray, human: np.ndarray, rounds: int = 1000, seed: int = 0) -> Interval:
    """Return the metric on all artworks with its 95 % percentile interval over `rounds` resamples of the artworks with replacement.

    Rounds in which the metric is nan do not count; if it is nan in all of them, so are the limits. The same seed gives the same interval.
    """
    x, y = _columns(predicted, human, None)
    values = np.array([metric(x[rows], y[rows]) for rows in resamples(len(x), rounds, seed)])
    return Interval(float(metric(x, y)), *_limits(values))


def paired_bootstrap(
    metric: Metric,
    candidate: np.ndarray,
    current: np.ndarray,
    human: np.ndarray,
    rounds: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Paired:
    """Return how much higher the metric of `candidate` is than that of `current`, both (N,) scores of the same artworks.

    The limits are those of the interval of `confidence`. Both are judged on the same resamples, so what makes an artwork hard for both
    cancels out. nan is treated as in `bootstrap`.
    """
    x, y = _columns(candidate, human, None)
    other, _ = _columns(current, human, None)
    differences = np.array([metric(x[rows], y[rows]) - metric(other[rows], y[rows]) for rows in resamples(len(x), rounds, seed)])
    return Paired(float(metric(x, y) - metric(other, y)), *_limits(differences, confidence))


def _columns(x: np.ndarray, y: np.ndarray, dtype: type | None = np.float64) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(x, dtype), np.asarray(y, dtype)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"two columns of one length are compared, not {x.shape} with {y.shape}")
    return x, y


def resamples(num: int, rounds: int, seed: int) -> Iterator[np.ndarray]:
    """Yield `rounds` arrays of `num` row numbers, one at a time, so that memory stays small however many artworks there are."""
    random = np.random.default_rng(seed)
    for _ in range(rounds if num else 0):
        yield random.integers(0, num, num)


def _limits(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    finite = values[~np.isnan(values)]
    tail = 50 * (1 - confidence)
    low, high = np.percentile(finite, (tail, 100 - tail)) if len(finite) else (np.nan, np.nan)
    return float(low), float(high)
