"""Correlations agree with scipy's."""

import math

import numpy as np
import pytest
from scipy import stats

from artquant.metrics import plcc, srcc


def tied(seed: int, num: int) -> tuple[np.ndarray, np.ndarray]:
    """Two related columns of few distinct values: most rows share their rank with others."""
    random = np.random.default_rng(seed)
    x = random.integers(0, 8, num) / 2
    return x, np.round(x + random.normal(0, 1.5, num))


@pytest.mark.parametrize("num", [2, 3, 10, 1_000])
@pytest.mark.parametrize("seed", range(5))
def test_correlations_are_scipys_with_ties_and_without(seed, num):
    random = np.random.default_rng(seed)
    smooth = random.normal(size=num)
    for x, y in (tied(seed, num), (smooth, np.exp(smooth) + random.normal(size=num)), (1e6 + smooth, -3 * smooth)):
        if np.ptp(x) and np.ptp(y):
            assert plcc(x, y) == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-9)
            assert srcc(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)


def test_ranks_see_order_alone_and_the_linear_correlation_sees_distance():
    x = np.linspace(0, 5, 50)
    assert srcc(x, np.exp(x)) == pytest.approx(1) and srcc(x, -(x**3)) == pytest.approx(-1)
    assert plcc(x, 3 * x + 2) == pytest.approx(1) and plcc(x, np.exp(x)) < 0.9


@pytest.mark.parametrize("constant", [0.0, 0.1, 5.3])
def test_a_constant_correlates_with_nothing(constant):
    for correlation in (plcc, srcc):
        assert math.isnan(correlation(np.full(7, constant), np.arange(7)))
        assert math.isnan(correlation(np.arange(7), np.full(7, constant)))


def test_columns_of_different_length_are_refused():
    for correlation in (plcc, srcc):
        with pytest.raises(ValueError):
            correlation(np.arange(4), np.arange(5))
