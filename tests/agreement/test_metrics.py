"""Metrics agree with scipy's, and with what is known of made-up data."""

import math
import subprocess
import sys

import numpy as np
import pytest
from scipy import optimize, stats

from artquant.agreement import metrics
from artquant.agreement.metrics import bootstrap, krcc, level_accuracy, logistic_fit, mae, paired_bootstrap, plcc, rmse, srcc

CORRELATIONS = (plcc, srcc, krcc)


def tied(seed: int, num: int) -> tuple[np.ndarray, np.ndarray]:
    """Two related columns of few distinct values: most rows share their rank with others."""
    random = np.random.default_rng(seed)
    x = random.integers(0, 8, num) / 2
    return x, np.round(x + random.normal(0, 1.5, num))


def tau_b(x: np.ndarray, y: np.ndarray) -> float:
    """Kendall's tau-b from all pairs, as it is defined."""
    dx, dy = np.sign(x[:, None] - x), np.sign(y[:, None] - y)
    return (dx * dy).sum() / math.sqrt((dx**2).sum() * (dy**2).sum())


def scores(seed: int, num: int, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Predicted and human scores."""
    random = np.random.default_rng(seed)
    human = random.uniform(1, 10, num)
    return human + random.normal(0, noise, num), human


@pytest.mark.parametrize("num", [2, 3, 10, 1_000])
@pytest.mark.parametrize("seed", range(5))
def test_correlations_are_scipys_with_ties_and_without(seed, num):
    random = np.random.default_rng(seed)
    smooth = random.normal(size=num)
    for x, y in (tied(seed, num), (smooth, np.exp(smooth) + random.normal(size=num)), (1e6 + smooth, -3 * smooth)):
        if np.ptp(x) and np.ptp(y):
            assert plcc(x, y) == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-9)
            assert srcc(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
            assert krcc(x, y) == pytest.approx(tau_b(x, y), abs=1e-12)


def test_ranks_see_order_alone_and_the_linear_correlation_sees_distance():
    x = np.linspace(0, 5, 50)
    assert srcc(x, np.exp(x)) == pytest.approx(1) and srcc(x, -(x**3)) == pytest.approx(-1)
    assert plcc(x, 3 * x + 2) == pytest.approx(1) and plcc(x, np.exp(x)) < 0.9


@pytest.mark.parametrize("constant", [0.0, 0.1, 5.3])
def test_a_constant_correlates_with_nothing(constant):
    for correlation in CORRELATIONS:
        assert math.isnan(correlation(np.full(7, constant), np.arange(7)))
        assert math.isnan(correlation(np.arange(7), np.full(7, constant)))


@pytest.mark.parametrize("num", [0, 1])
def test_fewer_than_two_rows_correlate_with_nothing(num):
    for correlation in CORRELATIONS:
        assert math.isnan(correlation(np.arange(num), np.arange(num)))


def test_a_score_that_is_nan_makes_every_metric_nan():
    x = np.array([1.0, 2.0, np.nan, 4.0])
    for metric in (*CORRELATIONS, mae, rmse):
        assert math.isnan(metric(x, np.arange(4))) and math.isnan(metric(np.arange(4), x))


def test_columns_of_different_length_are_refused():
    for metric in (*CORRELATIONS, mae, rmse, level_accuracy, logistic_fit):
        for x, y in ((np.arange(4), np.arange(5)), (np.arange(1), np.arange(5)), (np.ones((2, 2)), np.ones((2, 2)))):
            with pytest.raises(ValueError, match="one length"):
                metric(x, y)
    with pytest.raises(ValueError, match="one length"):
        bootstrap(mae, np.arange(4), np.arange(5))
    with pytest.raises(ValueError, match="one length"):
        paired_bootstrap(mae, np.arange(5), np.arange(4), np.arange(5))


def test_errors_are_in_the_scores_unit():
    predicted, human = np.array([1.0, 2.0, 7.0]), np.array([1.0, 4.0, 3.0])
    assert mae(predicted, human) == 2
    assert rmse(predicted, human) == pytest.approx(math.sqrt(20 / 3))
    assert math.isnan(mae([], [])) and math.isnan(rmse([], []))


def test_level_accuracy_is_the_share_of_equal_names():
    assert level_accuracy(np.array(["good", "fair", "bad", "bad"]), np.array(["good", "poor", "bad", "fair"])) == 0.5
    assert math.isnan(level_accuracy([], []))


def logistic(x, b1, b2, b3, b4):
    return (b1 - b2) / (1 + np.exp(-(x - b3) / abs(b4))) + b2


def test_a_logistic_relation_is_fitted_exactly():
    predicted = np.random.default_rng(0).uniform(0, 10, 300)
    human = logistic(predicted, 9.0, 2.0, 4.5, 0.8)
    assert np.abs(logistic_fit(predicted, human) - human).max() < 1e-6
    assert plcc(predicted, human) < 0.98


@pytest.mark.parametrize("seed", range(3))
def test_the_fit_is_as_good_as_scipys_curve_fit(seed):
    predicted, human = scores(seed, 400)
    human = np.round(logistic(human, 10, 1, 5, 1.0) + np.random.default_rng(seed).normal(0, 0.5, len(human)), 1)
    found, _ = optimize.curve_fit(logistic, predicted, human, [human.max(), human.min(), predicted.mean(), predicted.std() / 2])
    fitted = logistic_fit(predicted, human)
    assert rmse(fitted, human) == pytest.approx(rmse(logistic(predicted, *found), human), rel=1e-6)
    assert rmse(fitted, human) < rmse(predicted, human)


@pytest.mark.parametrize("num", [1, 2, 3])
def test_too_few_rows_to_fit_leave_the_predictions_as_they_are(num):
    assert logistic_fit(np.arange(num), np.arange(num) * 2).tolist() == list(range(num))


def test_constant_and_broken_columns_leave_the_predictions_as_they_are():
    rising, constant, broken = np.arange(6.0), np.full(6, 3.3), np.array([0, 1, np.nan, 3, 4, 5])
    assert logistic_fit(constant, rising).tolist() == constant.tolist()
    assert logistic_fit(rising, constant).tolist() == rising.tolist()
    assert logistic_fit(rising, broken).tolist() == rising.tolist()
    assert np.array_equal(logistic_fit(broken, rising), broken, equal_nan=True)


def test_two_values_alone_or_one_outlier_are_fitted_without_an_error():
    for predicted in (np.array([0.0, 0, 1, 1, 1]), np.array([0.0, 1e-9, 2e-9, 1, 1e9])):
        assert np.isfinite(logistic_fit(predicted, np.array([1.0, 2, 3, 4, 5]))).all()


def test_the_interval_is_scipys_percentile_bootstrap():
    predicted, human = scores(1, 200)
    for metric in (srcc, mae):
        ours = bootstrap(metric, predicted, human, rounds=2000)
        theirs = stats.bootstrap((predicted, human), metric, n_resamples=2000, paired=True, vectorized=False, method="percentile", rng=5)
        low, high = theirs.confidence_interval
        assert ours.value == metric(predicted, human) and ours.low < ours.value < ours.high
        assert [ours.low, ours.high] == pytest.approx([low, high], abs=0.1 * (high - low))


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    predicted, human = scores(2, 50)
    first = bootstrap(plcc, predicted, human, rounds=100)
    assert bootstrap(plcc, predicted, human, rounds=100) == first
    assert bootstrap(plcc, predicted, human, rounds=100, seed=1) != first
    assert bootstrap(plcc, predicted, human, rounds=100, seed=1).value == first.value


def test_rounds_in_which_a_metric_is_not_defined_do_not_count():
    predicted, human = np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.5, 3.0])
    rounds = [plcc(predicted[rows], human[rows]) for rows in metrics.resamples(3, 300, 0)]
    assert np.isnan(rounds).any()  # one artwork drawn three times
    low, high = np.nanpercentile(rounds, [2.5, 97.5])
    assert bootstrap(plcc, predicted, human, rounds=300)[1:] == pytest.approx((low, high))


def test_no_artworks_and_constants_give_an_interval_of_nan():
    for predicted in (np.empty(0), np.full(9, 2.0)):
        assert np.isnan(bootstrap(srcc, predicted, predicted, rounds=20)).all()
        assert np.isnan(paired_bootstrap(srcc, predicted, predicted, predicted, rounds=20)).all()


def test_levels_have_an_interval_too():
    human = np.array(["good", "fair"] * 50)
    predicted = np.where(np.arange(100) < 80, human, "bad")
    value, low, high = bootstrap(level_accuracy, predicted, human)
    assert value == 0.8 and 0.68 < low < 0.75 and 0.85 < high < 0.92


def test_a_paired_difference_is_surer_than_the_two_intervals():
    human = np.random.default_rng(3).uniform(1, 10, 300)
    hard = human + np.random.default_rng(4).normal(0, 2, 300)  # what is hard about these artworks, for both models
    candidate, current = hard, hard + np.random.default_rng(5).normal(0, 1.2, 300)
    found = paired_bootstrap(srcc, candidate, current, human)
    assert found.difference == srcc(candidate, human) - srcc(current, human)
    assert 0 < found.low < found.difference < found.high
    alone = bootstrap(srcc, candidate, human)
    assert found.high - found.low < 0.7 * (alone.high - alone.low)
    mirrored = paired_bootstrap(srcc, current, candidate, human)
    assert mirrored[:3] == pytest.approx((-found.difference, -found.high, -found.low))


def test_a_model_is_not_better_than_itself():
    predicted, human = scores(6, 60)
    assert paired_bootstrap(srcc, predicted, predicted, human, rounds=50) == (0, 0, 0)


def test_metrics_are_imported_without_scipy():
    command = "import sys, artquant.agreement.metrics; sys.exit(any(name.split('.')[0] == 'scipy' for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", command]).returncode == 0
