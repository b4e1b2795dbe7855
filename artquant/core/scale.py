"""The rating scale: five levels with values, what a distribution over them says, and distributions estimated from one score.

Distributions are arrays (..., 5) in the order of `schema.LEVELS`, best first.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np

from artquant.core.schema import ENTROPY, LEVEL, LEVELS, SCORE, SCORE_STD

CHUNK = 32_768  # rows solved together: few calls, and work arrays that stay in a core's cache


@dataclass(frozen=True)
class Scale:
    """The values of the five levels, best first, strictly falling. The default is APDD's (ARTQUANT, section on scoring)."""

    values: tuple[float, ...] = (10.0, 7.5, 5.0, 3.5, 1.0)

    def __post_init__(self) -> None:
        falls = all(a > b for a, b in zip(self.values, self.values[1:], strict=False))  # nan is not above anything
        if len(self.values) != len(LEVELS) or not falls or not np.isfinite(self.values).all():
            raise ValueError(f"a scale has {len(LEVELS)} strictly falling values, best first, not {self.values}")

    @property
    def low(self) -> float:
        return self.values[-1]

    @property
    def high(self) -> float:
        return self.values[0]

    @property
    def gap(self) -> float:
        """The mean distance between neighbouring levels."""
        return (self.high - self.low) / (len(self.values) - 1)

    def shares(self, scores: np.ndarray) -> np.ndarray:
        """Share out (N,) scores between the two nearest levels each: (N, 5) float64 whose expectations they are.

        Raises ValueError outside the scale.
        """
        x, rising = np.asarray(scores, np.float64), np.asarray(self.values[::-1])
        if not np.all((x >= self.low) & (x <= self.high)):
            raise ValueError(f"scores must lie within {self.low:g}..{self.high:g}")
        return np.stack([np.interp(x, rising, one_level) for one_level in np.eye(len(rising))[::-1]], axis=1)

    def level(self, score: np.ndarray) -> np.ndarray:
        """Return the hard level of each score: the worst level whose value is not below it. `Scale().level(3.6)` is 'fair'."""
        rising = np.asarray(self.values[::-1][:-1])
        return np.asarray(LEVELS[::-1])[np.searchsorted(rising, score, side="left")]


def score_statistics(probabilities: np.ndarray, scale: Scale) -> dict[str, np.ndarray]:
    """(B, 5) float probabilities -> score, score_std and entropy (nats), each (B,) float64, and level (B,) str.

    `score = sum p_i v_i`, `score_std = sqrt(sum p_i (v_i - score)^2)`; the level is the likeliest one.
    """
    p, values = np.asarray(probabilities, np.float64), np.asarray(scale.values)
    score = p @ values
    variance = (p * (values - score[:, None]) ** 2).sum(1)
    entropy = -(p * np.log(np.where(p > 0, p, 1.0))).sum(1)
    return {SCORE: score, SCORE_STD: np.sqrt(variance), ENTROPY: entropy, LEVEL: np.asarray(LEVELS)[p.argmax(1)]}


def clamp_scores(scores: np.ndarray, scale: Scale) -> tuple[np.ndarray, int]:
    """Clamp (N,) scores to the scale as float64, and count those that lay beyond it; nan stays nan and is not counted."""
    x = np.atleast_1d(np.asarray(scores, np.float64))
    return np.clip(x, scale.low, scale.high), int(np.count_nonzero((x < scale.low) | (x > scale.high)))


def estimate_distribution(scores: np.ndarray, sigma: np.ndarray | float, scale: Scale, tolerance: float = 1e-12) -> np.ndarray:
    """Score-based distribution estimation (ARTQUANT, section 3): (N,) scores -> (N, 5) float64 soft labels whose expectation is the score.

    Each row is `N(v_i; mu, sigma)` over the five values, normalised; for fixed sigma the expectation rises strictly with mu, so there is
    one mu. It is sought until the odds of the levels above the score against those below are right within `tolerance` (relative); what is
    left goes into these odds, so that the expectation is exact. At the ends of the scale the row is one-hot. Raises ValueError outside the
    scale (see `clamp_scores`), and where sigma (a number, or one for each row) is not above zero.
    """
    x, values = np.atleast_1d(np.asarray(scores, np.float64)), np.asarray(scale.values)
    if not np.all((x >= scale.low) & (x <= scale.high)):
        raise ValueError(f"scores must lie within {scale.low}..{scale.high}")
    spread = np.asarray(sigma, np.float64)
    if not np.all((spread > 0) & np.isfinite(spread)):
        raise ValueError("sigma must be a number above zero")
    with np.errstate(over="ignore"):
        precision = np.broadcast_to((np.sqrt(0.5) / spread) ** 2, x.shape)
    probabilities = np.zeros((len(x), len(values)))
    for start in range(0, len(x), CHUNK):
        _fill(probabilities[start : start + CHUNK], x[start : start + CHUNK], precision[start : start + CHUNK], values, tolerance)
    return probabilities


def _fill(probabilities: np.ndarray, x: np.ndarray, precision: np.ndarray, values: np.ndarray, tolerance: float) -> None:
    """Write the distributions of x (n,) into zeros (n, 5); rows whose scores lie between the same two levels are solved together."""
    num_above = np.searchsorted(-values, -x, side="right")  # levels whose value is not below the score
    for above in range(1, len(values)):
        rows = np.flatnonzero((num_above == above) & (x < values[0]))
        if len(rows):
            probabilities[rows] = _solve(x[rows], precision[rows], values, above, tolerance).T
    probabilities[x == values[0], 0] = 1
    probabilities[x == values[-1], -1] = 1


def _solve(x: np.ndarray, precision: np.ndarray, values: np.ndarray, above: int, tolerance: float) -> np.ndarray:
    """Scores (n,) that the first `above` levels are not below, precision 1 / (2 sigma^2) (n,) -> their distributions (5, n).

    With c_i = v_i - x and mu = x + u sigma^2, level i weighs w_i = exp(c_i u - c_i^2 / (2 sigma^2)). The expectation is x where the levels
    above pull as hard as those below: A = sum c_i w_i equals B = sum -c_i w_i. G = log A - log B rises with u at least as fast as the gap
    between the two nearest levels, at any sigma and however near a score comes to a level or an end; so iterating on G is well-conditioned
    where iterating on the expectation is not.
    """
    gaps = -np.diff(values)
    gap, beside = gaps[above - 1], min(gaps[i] for i in (above - 2, above) if 0 <= i < len(gaps))
    c = values[:, None] - x
    # Beyond this precision the weights of all but the two nearest levels are below any float64, and the rounding of c^2 would only grow.
    density = -np.minimum(precision, 2048 / (gap * beside)) * c
    density *= c
    with np.errstate(divide="ignore"):  # a level at the score pulls neither way
        pull = np.log(np.abs(c))
    pull += density
    # The start: the strongest pull above equals the strongest below. G is then within log 4, and the root within `low..high` of it.
    u = np.full(len(x), np.inf)
    for i in range(above):
        meets = (pull[above] - pull[i]) / (values[i] - values[above])
        for j in range(above + 1, len(values)):
            np.maximum(meets, (pull[j] - pull[i]) / (values[i] - values[j]), out=meets)
        np.minimum(u, meets, out=u)
    pull += c * u
    pull -= pull.max(0)
    low, high = np.full(len(x), -np.log(above) / gap), np.full(len(x), np.log(len(values) - above) / gap)
    step = np.zeros(len(x))
    for _ in range(100):
        g, change = _halley(pull, c, step, above)
        np.copyto(low, step, where=g < 0)
        np.copyto(high, step, where=g > 0)
        step = np.where(g == 0, step, step - change)
        np.copyto(step, (low + high) / 2, where=~((step >= low) & (step <= high)))  # also where the pulls over- or underflowed
        if np.all(np.abs(g) < np.cbrt(tolerance) / 2):  # each step cubes what is left
            break
    return _normalised(density + c * (u + step), c, above)


def _halley(pull: np.ndarray, c: np.ndarray, step: np.ndarray, above: int) -> tuple[np.ndarray, np.ndarray]:
    """G at `step` from the start, and Halley's correction, from the mean and the variance of c under the pulls above and those below."""
    with np.errstate(all="ignore"):
        weights = c * step
        weights += pull
        np.exp(weights, out=weights)
        totals = []
        for _ in range(3):
            totals.append((_total(weights[:above]), _total(weights[above:])))
            weights *= c
        (a, b), (a1, b1), (a2, b2) = totals
        a1, b1 = a1 / a, b1 / b
        g, slope = np.log(a / b), a1 - b1
        bend = a2 / a - a1 * a1 - b2 / b + b1 * b1
        newton = g / slope
        return g, newton / (1 - newton * bend / (2 * slope))


def _total(rows: np.ndarray) -> np.ndarray:
    return cast(np.ndarray, np.add.reduce(rows, axis=0))


def _normalised(logits: np.ndarray, c: np.ndarray, above: int) -> np.ndarray:
    """Probabilities (5, n) whose expectation is the score to the last digit: the levels above share the rounding of both pulls."""
    p: np.ndarray = np.exp(logits - logits.max(0))
    pull = p * c
    up, down = _total(pull[:above]), -_total(pull[above:])
    p[:above] *= np.divide(down, up, out=np.ones_like(up), where=(up > 0) & (down > 0))  # none: all weight is on a level at the score
    p /= _total(p)
    return p
