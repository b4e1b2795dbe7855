"""Levels, statistics of distributions, and distributions estimated from one score."""

import math

import numpy as np
import pytest
from scipy.optimize import brentq

import artquant.core.scale
from artquant.core.scale import Scale, clamp_scores, estimate_distribution, score_statistics
from artquant.core.schema import LEVELS
from tests.reference import document, needs_reference

SIGMAS = [1e-6, 0.05, 0.2, 1.0, 5.0, 20.0, 1e200]
SCALES = [Scale(), Scale((5.0, 4.0, 3.0, 2.0, 1.0)), Scale((100.0, 40.0, 0.0, -1.0, -80.0)), Scale((1.0, 0.75, 0.5, 0.25, 0.0))]


def inside(scale: Scale, num: int = 2_001) -> np.ndarray:
    """A dense grid strictly inside the scale, the levels' values and what is a billionth to the next float away from them and the ends."""
    values, near = np.asarray(scale.values), (scale.high - scale.low) * np.array([1e-6, 1e-9, 1e-14])
    around = [values, np.nextafter(values, -np.inf), np.nextafter(values, np.inf), *(values + d for d in [*near, *-near])]
    scores = np.concatenate([np.linspace(scale.low, scale.high, num), *around])
    return scores[(scores > scale.low) & (scores < scale.high)]


def density(mu: float, sigma: float, scale: Scale) -> np.ndarray:
    """(5,) N(v_i; mu, sigma), normalised, as it is written."""
    logs = -((np.asarray(scale.values) - mu) ** 2) / (2 * sigma**2)
    weights = np.exp(logs - logs.max())
    return weights / weights.sum()


def means(probabilities: np.ndarray, scale: Scale) -> np.ndarray:
    return probabilities @ np.asarray(scale.values)


def test_a_score_at_a_levels_value_has_that_level_and_the_next_float_above_it_the_better_one():
    scale = Scale()
    values = np.asarray(scale.values)
    assert scale.level(values).tolist() == list(LEVELS)
    assert scale.level(np.nextafter(values, -np.inf)).tolist() == list(LEVELS)
    assert scale.level(np.nextafter(values, np.inf)).tolist() == ["excellent", *LEVELS[:-1]]
    assert scale.level(np.array([3.6, 0.0, 11.0])).tolist() == ["fair", "bad", "excellent"]


def test_statistics_are_those_of_a_loop_written_by_hand():
    scale = Scale()
    rows = np.random.default_rng(0).dirichlet(np.full(5, 0.4), 200)
    rows[:5] = np.eye(5)  # certain: no spread, no entropy
    statistics = score_statistics(rows, scale)
    single = score_statistics(rows.astype(np.float32), scale)
    assert all(single[name].dtype == np.float64 for name in ("score", "score_std", "entropy"))
    assert {name: len(column) for name, column in statistics.items()} == dict.fromkeys(["score", "score_std", "entropy", "level"], 200)
    for i, row in enumerate(rows.tolist()):
        score = sum(p * value for p, value in zip(row, scale.values, strict=True))
        spread = math.sqrt(sum(p * (value - score) ** 2 for p, value in zip(row, scale.values, strict=True)))
        entropy = -sum(p * math.log(p) for p in row if p > 0)
        found = [statistics[name][i] for name in ("score", "score_std", "entropy")]
        assert found == pytest.approx([score, spread, entropy], abs=1e-12)
        assert statistics["level"][i] == LEVELS[row.index(max(row))]


@pytest.mark.parametrize("scale", SCALES, ids=str)
@pytest.mark.parametrize("sigma", SIGMAS)
def test_an_estimated_distribution_has_the_score_as_its_expectation(scale, sigma):
    scores = inside(scale)
    probabilities = estimate_distribution(scores, sigma, scale)
    assert probabilities.dtype == np.float64 and probabilities.shape == (len(scores), 5)
    assert np.abs(means(probabilities, scale) - scores).max() < 1e-12
    assert probabilities.min() >= 0
    assert np.abs(probabilities.sum(1) - 1).max() < 1e-12


def test_each_row_may_have_a_sigma_of_its_own():
    scores = inside(Scale(), 500)
    sigmas = np.random.default_rng(1).uniform(0.05, 5, len(scores))
    together = estimate_distribution(scores, sigmas, Scale())
    assert np.abs(means(together, Scale()) - scores).max() < 1e-12
    for i in range(0, len(scores), 97):
        assert together[i] == pytest.approx(estimate_distribution(scores[i : i + 1], sigmas[i], Scale())[0], abs=1e-10)


def test_rows_are_the_same_however_they_are_cut_into_chunks(monkeypatch):
    scores = np.random.default_rng(2).permutation(inside(Scale(), 300))
    scores[::50] = Scale().high
    sigmas = np.random.default_rng(3).uniform(0.2, 3, len(scores))
    whole = estimate_distribution(scores, sigmas, Scale())
    monkeypatch.setattr(artquant.core.scale, "CHUNK", 7)
    assert np.abs(estimate_distribution(scores, sigmas, Scale()) - whole).max() < 1e-12
    assert np.abs(estimate_distribution(scores, 0.7, Scale()) - whole).max() > 1e-3


@pytest.mark.parametrize("scale", SCALES[:3], ids=str)
@pytest.mark.parametrize("sigma", [0.5, 1.0, 3.0, 20.0])
def test_a_distribution_is_that_of_scipys_root_of_the_expectation(scale, sigma):
    scores = np.random.default_rng(4).uniform(scale.low, scale.high, 40)
    wide = (scale.high - scale.low) + 40 * sigma**2
    for score, row in zip(scores, estimate_distribution(scores, sigma, scale), strict=True):
        mu = brentq(
            lambda mu, score=score: density(mu, sigma, scale) @ scale.values - score, scale.low - wide, scale.high + wide, xtol=1e-13
        )
        assert row == pytest.approx(density(mu, sigma, scale), abs=1e-9)


@pytest.mark.parametrize("tolerance", [1e-6, 1e-9, 1e-15])
def test_a_coarser_tolerance_moves_the_odds_but_never_the_expectation(tolerance):
    scores = inside(Scale())
    rough, exact = estimate_distribution(scores, 1.5, Scale(), tolerance), estimate_distribution(scores, 1.5, Scale())
    assert np.abs(means(rough, Scale()) - scores).max() < 1e-12
    assert np.abs(rough - exact).max() <= max(tolerance, 1e-12)


@pytest.mark.parametrize("values", [(1e6, 1e3, 1.0, 1e-3, 0.0), (1e9, 3.0, 2.0, 1.0, -1e9)])
@pytest.mark.parametrize("sigma", [1e-9, 1.0, 1e4])
def test_the_expectation_is_the_score_even_where_gaps_differ_a_billionfold(values, sigma):
    scale = Scale(values)
    scores = np.concatenate([inside(scale, 201), np.linspace(0.01, 2.99, 100)])
    assert np.abs(means(estimate_distribution(scores, sigma, scale), scale) - scores).max() < 1e-14 * (scale.high - scale.low)


@pytest.mark.parametrize("sigma", [s for s in SIGMAS if 0.01 < s < 100])
def test_a_better_score_moves_weight_to_the_better_levels_only(sigma):
    probabilities = estimate_distribution(np.linspace(1, 10, 400), sigma, Scale())
    assert np.all(np.diff(means(probabilities, Scale())) > 0)
    assert np.all(np.diff(probabilities.cumsum(1)[:, :-1], axis=0) >= -1e-9)


def test_a_distribution_is_a_normal_density_at_the_five_values():
    """Its log, with the density's square term added back, is linear in the value."""
    sigma, values = 1.3, np.asarray(Scale().values)
    logs = np.log(estimate_distribution(np.linspace(2, 9, 50), sigma, Scale())) + values**2 / (2 * sigma**2)
    slopes = np.diff(logs, axis=1) / np.diff(values)
    assert np.ptp(slopes, axis=1).max() < 1e-9


@pytest.mark.parametrize("scale", SCALES, ids=str)
def test_the_ends_of_the_scale_are_one_hot(scale):
    scores = np.array([scale.high, scale.low, scale.high])
    assert estimate_distribution(scores, 1.0, scale).tolist() == [[1, 0, 0, 0, 0], [0, 0, 0, 0, 1], [1, 0, 0, 0, 0]]


def test_scores_beyond_the_scale_are_clamped_to_its_ends_and_counted():
    clamped, num_clamped = clamp_scores(np.array([0.0, 1.0, 5.5, 10.0, 10.1, np.inf, np.nan], np.float32), Scale())
    assert clamped.dtype == np.float64 and clamped[:-1].tolist() == [1.0, 1.0, 5.5, 10.0, 10.0, 10.0] and np.isnan(clamped[-1])
    assert num_clamped == 3
    assert clamp_scores(np.empty(0), Scale())[1] == 0
    assert estimate_distribution(clamped[:1], 1.0, Scale()).tolist() == [[0, 0, 0, 0, 1]]


def test_no_scores_give_no_rows():
    assert estimate_distribution(np.empty(0), 1.0, Scale()).shape == (0, 5)


@pytest.mark.parametrize("score", [0.999, 10.001, -np.inf, np.inf, np.nan])
def test_a_score_outside_the_scale_is_refused(score):
    with pytest.raises(ValueError, match=r"within 1\.0\.\.10\.0"):
        estimate_distribution(np.array([5.0, score]), 1.0, Scale())


@pytest.mark.parametrize("sigma", [0.0, -1.0, np.nan, np.inf])
def test_a_sigma_that_is_no_spread_is_refused_even_in_one_row(sigma):
    for given in (sigma, np.array([1.0, sigma])):
        with pytest.raises(ValueError, match="sigma"):
            estimate_distribution(np.array([5.0, 6.0]), given, Scale())


@needs_reference
def test_at_the_expectation_that_the_published_solver_reached_its_distribution_is_ours():
    """Its own residual error, 8e-9 in the score at most, is what sets its rows apart from ours at the score itself."""
    rows = document("distribution")["rows"]
    column = {name: np.array([row[name] for row in rows]) for name in ("score", "expected", "sigma", "probs")}
    assert np.abs(column["expected"] - column["score"]).max() < 1e-8
    reached = clamp_scores(column["expected"], Scale())[0]
    assert np.abs(estimate_distribution(reached, column["sigma"], Scale()) - column["probs"]).max() < 1e-13


@needs_reference
def test_distributions_are_those_of_the_published_solver_at_its_sigmas():
    published = document("distribution")
    assert published["level_names"] == list(LEVELS) and tuple(published["level_values"]) == Scale().values
    column = {name: np.array([row[name] for row in published["rows"]]) for name in ("score", "sigma", "probs")}
    assert len(column["score"]) == 37
    ours = estimate_distribution(column["score"], column["sigma"], Scale())
    assert np.abs(ours - column["probs"]).max() < 1e-6


@pytest.mark.parametrize(
    "values",
    [
        (10.0, 7.5, 5.0, 3.5),
        (10.0, 7.5, 5.0, 3.5, 1.0, 0.0),
        (10.0, 7.5, 7.5, 3.5, 1.0),
        (1.0, 3.5, 5.0, 7.5, 10.0),
        (10.0, math.nan, 5.0, 3.5, 1.0),
        (math.inf, 7.5, 5.0, 3.5, 1.0),
    ],
)
def test_values_that_do_not_fall_or_are_not_five_are_no_scale(values):
    with pytest.raises(ValueError, match="5 strictly falling values"):
        Scale(values)
