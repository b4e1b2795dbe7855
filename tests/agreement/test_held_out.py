"""Figures after a fit say what they would be on artworks that were not fitted to; measured figures of faults that this ended."""

import numpy as np
import pytest

from artquant.agreement import held_out, metrics
from artquant.core.scale import Scale, estimate_distribution

SCALE = Scale()


def test_a_curve_that_may_only_rise_makes_no_good_predictor_of_a_bad_one():
    random = np.random.default_rng(0)
    human = random.uniform(1, 10, 200)
    against = -human + random.normal(0, 1, 200)
    assert metrics.plcc(against, human) < -0.9
    assert held_out.fitted_agreement(against, human, 3)["plcc_fitted"].value < 0.1  # it was +.927
    assert held_out.fitted_agreement(-against, human, 3)["plcc_fitted"].value > 0.9


def test_chance_is_no_agreement_after_the_fit_either():
    """Fitted and judged on the same artworks, random scores have a PLCC of .27 on average at 40 artworks, and intervals without 0."""
    values, covered = [], 0
    for seed in range(16):
        random = np.random.default_rng(seed)
        interval = held_out.fitted_agreement(random.normal(size=60), random.normal(size=60), 15)["plcc_fitted"]
        values.append(interval.value)
        covered += interval.low <= 0 <= interval.high
    assert abs(np.mean(values)) < 0.1 and covered >= 13


def test_each_round_is_fitted_anew(monkeypatch: pytest.MonkeyPatch):
    random = np.random.default_rng(0)
    human = random.uniform(1, 10, 60)
    calls = []
    fit = held_out.rising_curve
    monkeypatch.setattr(held_out, "rising_curve", lambda x, y: calls.append(len(x)) or fit(x, y))
    held_out.fitted_agreement(human + random.normal(0, 1, 60), human, 7)
    assert len(calls) == 5 * (1 + 7) and max(calls) < 60


def test_conformal_intervals_cover_what_they_say_on_artworks_to_come():
    random = np.random.default_rng(3)
    covered = {share: [] for share in held_out.SHARES}
    for _ in range(200):
        errors = random.standard_t(3, 61)
        for one in held_out.error_intervals(errors[:60], np.zeros(60)):
            covered[one.share].append(abs(errors[60]) <= one.half_width)
    assert all(np.mean(inside) == pytest.approx(share, abs=0.08) for share, inside in covered.items())


def test_coverage_is_measured_on_artworks_whose_own_error_was_left_out():
    random = np.random.default_rng(4)
    found = held_out.error_intervals(random.normal(0, 2, 3000), np.zeros(3000))
    assert [one.covered for one in found] == pytest.approx(list(held_out.SHARES), abs=0.02)
    assert [one.half_width for one in found] == pytest.approx([2 * 0.6745, 2 * 1.2816, 2 * 1.96], rel=0.06)
    assert held_out.error_intervals(np.ones(3), np.zeros(3))[2].half_width == np.inf, "three artworks cannot say what 95 % are"


def drawn(sigma: float, predicted_sigma: float) -> held_out.Pit:
    random = np.random.default_rng(5)
    scores = random.uniform(2, 9, 600)
    people, predicted = (estimate_distribution(scores, spread, SCALE) for spread in (sigma, predicted_sigma))
    found = held_out.pit(predicted, np.stack([random.multinomial(9, row / row.sum()) for row in people]))
    assert found is not None and found.num == 5400 and sum(found.shares) == pytest.approx(1)
    return found


def test_single_ratings_fall_evenly_where_the_distribution_is_theirs_and_at_the_ends_where_it_is_too_narrow():
    even, narrow, wide = drawn(1.5, 1.5), drawn(2.5, 0.8), drawn(0.8, 2.5)
    assert even.distance < 0.02 and max(even.shares) < 0.12 and min(even.shares) > 0.08
    assert narrow.shares[0] > 0.14 < narrow.shares[-1] and narrow.distance > 0.05
    assert wide.shares[0] < 0.05 > wide.shares[-1]


def test_without_single_ratings_there_is_no_pit():
    assert held_out.pit(np.full((3, 5), 0.2), np.zeros((3, 5))) is None
