"""The interval of a share."""

from math import sqrt

_Z = 1.959964  # of 95 %


def wilson(num: int, of: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson): `wilson(45, 50)` is about (0.79, 0.96)."""
    share, square = num / of, _Z**2
    middle = (share + square / (2 * of)) / (1 + square / of)
    half = _Z * sqrt(share * (1 - share) / of + square / (4 * of**2)) / (1 + square / of)
    return max(0.0, middle - half), min(1.0, middle + half)
