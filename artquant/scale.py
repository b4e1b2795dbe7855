"""The rating scale: five levels with values, what a distribution over them says, and distributions estimated from one score.

Distributions are arrays (..., 5) in the order of `schema.LEVELS`, best first.
"""

from dataclasses import dataclass

import numpy as np

from artquant.schema import LEVELS


@dataclass(frozen=True)
class Scale:
    """The values of the five levels, best first, strictly falling. The default is APDD's (ARTQUANT, section on scoring)."""

    values: tuple[float, ...] = (10.0, 7.5, 5.0, 3.5, 1.0)

    def __post_init__(self):
        falls = all(a > b for a, b in zip(self.values, self.values[1:], strict=False))  # nan is not above anything
        if len(self.values) != len(LEVELS) or not falls or not np.isfinite(self.values).all():
            raise ValueError(f"a scale has {len(LEVELS)} strictly falling values, best first, not {self.values}")

    @property
    def low(self) -> float:
        return self.values[-1]

    @property
    def high(self) -> float:
        return self.values[0]

    def level(self, score: np.ndarray) -> np.ndarray:
        """The hard level of each score: the worst level whose value is not below it. `Scale().level(3.6)` is 'fair'."""
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
    return {"score": score, "score_std": np.sqrt(variance), "entropy": entropy, "level": np.asarray(LEVELS)[p.argmax(1)]}


def estimate_distribution(scores: np.ndarray, sigma: np.ndarray | float, scale: Scale, tolerance: float = 1e-12) -> np.ndarray:
    """Score-based distribution estimation (ARTQUANT, section 3): (N,) scores -> (N, 5) float64 soft labels whose expectation is the score.

    Each row is `N(v_i; mu, sigma)` over the five values, normalised; for fixed sigma the expectation rises strictly with mu, so a Newton
    iteration kept inside a bracket finds the one mu. At the ends of the scale the row is one-hot. Raises ValueError outside the scale, and
    where sigma (a number, or one for each row) is not above zero.
    """
    x, values = np.atleast_1d(np.asarray(scores, np.float64)), np.asarray(scale.values)
    if not np.all((x >= scale.low) & (x <= scale.high)):
        raise ValueError(f"scores must lie within {scale.low}..{scale.high}")
    if not np.all((np.asarray(sigma) > 0) & np.isfinite(sigma)):
        raise ValueError("sigma must be a number above zero")
    variance = np.broadcast_to(np.asarray(sigma, np.float64), x.shape) ** 2
    # log f_i = (mu v_i - v_i^2 / 2) / sigma^2 up to a constant of the row: linear in the tilt t = mu / sigma^2.
    base = -(values**2) / (2 * variance[:, None])
    inside = (x > scale.low) & (x < scale.high)
    probabilities = np.where((x >= scale.high)[:, None], np.eye(len(values))[0], np.eye(len(values))[-1])
    target, base = x[inside], base[inside]
    low, high = _bracket(target, base, values)
    tilt = np.clip(target / variance[inside], low, high)
    for _ in range(200):
        p, error, spread = _expectation(tilt, base, values, target)
        if np.all(np.abs(error) <= tolerance):
            break
        low, high = np.where(error < 0, tilt, low), np.where(error > 0, tilt, high)
        newton = tilt - error / np.maximum(spread, 1e-300)
        tilt = np.where((newton > low) & (newton < high), newton, (low + high) / 2)
    probabilities[inside] = p if len(target) else 0
    return probabilities


def _expectation(tilt, base, values, target):
    logits = tilt[:, None] * values + base
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    mean = p @ values
    return p, mean - target, p @ values**2 - mean**2


def _bracket(target, base, values):
    """Tilts at which every row's expectation lies below, and above, its target; widened by doubling."""
    width = np.full(len(target), 1.0)
    low, high = -width, width.copy()
    for _ in range(100):
        below, above = _expectation(low, base, values, target)[1] < 0, _expectation(high, base, values, target)[1] > 0
        if below.all() and above.all():
            break
        low, high = np.where(below, low, low * 2), np.where(above, high, high * 2)
    return low, high
