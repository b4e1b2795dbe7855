"""Agreement between predicted and human scores."""

import numpy as np


def plcc(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's linear correlation of two (N,) arrays; nan where one of them is constant."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if min(len(np.unique(x)), len(np.unique(y))) < 2:  # not by the spread about the mean: of a constant it may be a rounding error
        return float("nan")
    x, y = x - x.mean(), y - y.mean()
    return float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)))


def srcc(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's rank correlation: Pearson's of the ranks, ties sharing their mean rank."""
    return plcc(_ranks(x), _ranks(y))


def _ranks(x: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]
