"""What an evaluation decides, on arrays whose answers are known."""

import math

import numpy as np
import pytest

from artquant.agreement import evaluation, metrics
from artquant.agreement.evaluation import NOT_SAID, CalibrationBin
from artquant.core.scale import Scale, estimate_distribution, score_statistics

SCALE = Scale()


def votes(num: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(probabilities, human): people's means scattered about the predicted distributions' as these say."""
    random = np.random.default_rng(seed)
    probabilities = estimate_distribution(random.uniform(1.5, 9.5, num), 1.0, SCALE)
    picked = np.array([random.choice(SCALE.values, p=row) for row in probabilities])
    return probabilities, picked


def test_calibration_bins_hold_each_artwork_once_in_the_order_of_the_prediction():
    random = np.random.default_rng(0)
    predicted = random.uniform(1, 10, 95)
    human, std, raters = predicted + 1, random.uniform(0.5, 1, 95), np.full(95, math.nan)
    raters[predicted.argsort()[:5]] = 0.7
    bins = evaluation.calibration(predicted, human, std, raters)
    assert len(bins) == 9 and sum(one.num for one in bins) == 95 and max(one.num for one in bins) - min(one.num for one in bins) == 1
    assert all(a.high < b.low for a, b in zip(bins, bins[1:], strict=False))
    assert all(one.human == pytest.approx(one.predicted + 1) and one.low <= one.predicted <= one.high for one in bins)
    assert bins[0].raters_std == pytest.approx(0.7) and bins[1].raters_std is None
    assert sum(one.num * one.predicted_std for one in bins) == pytest.approx(std.sum())


@pytest.mark.parametrize("num", [2, 3, 19])
def test_few_artworks_or_equal_predictions_make_few_bins(num):
    same = np.full(num, 5.0)
    assert evaluation.calibration(same, same, same, same) == [CalibrationBin(5.0, 5.0, num, 5.0, 5.0, 5.0, 5.0)]


def test_spread_looks_at_the_artworks_whose_raters_are_known():
    ours, theirs = np.array([1.0, 2.0, 3.0, 9.0]), np.array([1.0, 2.5, 2.0, math.nan])
    found = evaluation.spread(ours, theirs)
    assert found is not None
    assert (found.num, found.predicted_std, found.share_covered) == (3, 2.0, pytest.approx(2 / 3))
    assert found.raters_std == pytest.approx(5.5 / 3) and found.srcc == pytest.approx(0.5)
    assert evaluation.spread(ours, np.full(4, math.nan)) is None


def test_columns_of_a_few_texts_are_looked_at_and_titles_are_not():
    names = [f"painting {i}" for i in range(40)]
    columns = {
        "title": names,
        "style": ["oil", "pastel"] * 20,
        "school": [None, "north"] * 20,
        "twelve": [str(i % 12) for i in range(40)],
        "thirteen": [str(i % 13) for i in range(40)],
        "nothing": [None] * 40,
    }
    assert evaluation.telling_columns(columns) == ["style", "twelve"]
    assert evaluation.telling_columns({"style": ["a", "b", "a"]}) == []  # hardly groups


def test_subgroups_are_measured_each_by_itself_and_none_is_lost():
    random = np.random.default_rng(2)
    human = random.uniform(1, 10, 60)
    style = np.array(["oil", "pastel", "ink"])[np.repeat([0, 1, 2], [40, 18, 2])]
    predicted = np.where(style == "pastel", -human, human + 2)
    cells = [None if i % 2 else "north" for i in range(60)]
    groups = evaluation.subgroups({"style": style.tolist(), "school": cells}, predicted, human)
    assert [(group.column, group.value, group.num) for group in groups] == [
        ("style", "oil", 40),
        ("style", "pastel", 18),
        ("style", "ink", 2),
        ("school", NOT_SAID, 30),
        ("school", "north", 30),
    ]
    assert (groups[0].srcc, groups[1].srcc, groups[0].mae) == (pytest.approx(1), pytest.approx(-1), pytest.approx(2))
    assert math.isnan(groups[2].srcc) and math.isnan(groups[2].plcc) and groups[2].mae == pytest.approx(2)
    assert groups[3].plcc == pytest.approx(metrics.plcc(predicted[1::2], human[1::2]))


def test_a_small_subgroup_has_a_wide_interval():
    random = np.random.default_rng(3)
    human = random.uniform(1, 10, 220)
    predicted, size = human + random.normal(0, 3, 220), np.repeat(["large", "small"], [200, 20])
    large, small = evaluation.subgroups({"size": size.tolist()}, predicted, human, rounds=200)
    assert large.srcc_low < large.srcc < large.srcc_high and small.srcc_low < small.srcc < small.srcc_high
    assert small.srcc_high - small.srcc_low > 2 * (large.srcc_high - large.srcc_low)
    assert (large.srcc, large.srcc_low, large.srcc_high) == metrics.bootstrap(metrics.srcc, predicted[:200], human[:200], rounds=200)


def test_the_worst_misses_come_first():
    human, predicted = np.array([5.0, 5.0, 5.0, 5.0]), np.array([5.5, 1.0, 9.0, 7.0])
    assert evaluation.worst(predicted, human, 3).tolist() == [1, 2, 3]
    assert evaluation.worst(predicted, human, 9).tolist() == [1, 2, 3, 0]


def test_agreement_has_every_metric_with_an_interval_about_it():
    probabilities, human = votes(150)
    statistics = score_statistics(probabilities, SCALE)
    found, fitted = evaluation.agreement(statistics["score"], human, SCALE, rounds=100)
    assert list(found) == ["srcc", "plcc", "plcc_fitted", "krcc", "mae", "rmse", "rmse_fitted", "level_accuracy"]
    assert all(interval.low <= interval.value <= interval.high and interval.low < interval.high for interval in found.values())
    assert found["srcc"].value == pytest.approx(metrics.srcc(statistics["score"], human))
    assert metrics.rmse(fitted, human) < found["rmse_fitted"].value < found["rmse"].value + 0.2, "not judged on what it was fitted to"
    assert found["level_accuracy"].value == pytest.approx(np.mean(SCALE.level(statistics["score"]) == SCALE.level(human)))


def test_a_prediction_on_another_scale_is_right_once_it_is_fitted():
    predicted = np.linspace(0, 100, 80)
    human = 1 + 9 / (1 + np.exp(-(predicted - 60) / 12))
    found, _ = evaluation.agreement(predicted, human, SCALE, rounds=20)
    assert found["rmse"].value > 20 and found["srcc"].value == pytest.approx(1)
    assert found["plcc"].value < 0.98 < found["plcc_fitted"].value and found["rmse_fitted"].value < 0.05


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("num", [2, 3, 30])
def test_a_constant_prediction_has_no_correlation_and_is_measured_all_the_same(num):
    human = np.linspace(2, 8, num)
    found, fitted = evaluation.agreement(np.full(num, 5.0), human, SCALE, rounds=50)
    assert all(math.isnan(found[name].value) for name in ("srcc", "plcc", "krcc", "plcc_fitted"))
    assert (fitted == 5).all() and found["rmse_fitted"].value == pytest.approx(found["rmse"].value)
    assert found["mae"].value == pytest.approx(np.abs(human - 5).mean())
