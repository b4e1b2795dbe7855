"""Gates: effects that are large and no accident are beyond their bounds, and nothing else is."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from artquant.agreement.drift import CONFIDENCE, NUM_BINS, Check, Limits, Tally, against_training, compare, psi, psi_bound
from artquant.core.schema import LEVELS

VALUES = (10.0, 7.5, 5.0, 3.5, 1.0)
LIMITS = Limits(psi=0.25, level_shift=0.1, mass_shift=0.1, reject_rise=0.1, gone_fraction=0.3, min_count=200)


def night(num: int, seed: int = 0, shift: float = 0.0, mass: float = 0.98, num_rejected: int = 0) -> Tally:
    random = np.random.default_rng(seed)
    scores = np.clip(random.normal(6 + shift, 1.8, num), 1, 10)
    levels = [LEVELS[int(np.abs(np.array(VALUES) - score).argmin())] for score in scores]
    masses = np.clip(random.normal(mass, 0.01, num), 0, 1)
    tally = Tally().with_scores({"score": scores, "level": levels, "open_set_mass": masses}, VALUES)
    return replace(tally, num_tried=num + num_rejected, num_rejected=num_rejected)


def outcomes(tonight: Tally, before: Tally | None, num_gone: int = 0, num_known: int = 0, **limits: float) -> dict[str, str]:
    return {check.name: check.outcome for check in compare(tonight, before, num_gone, num_known, replace(LIMITS, **limits))}


def test_two_nights_of_the_same_kind_pass_and_a_small_one_is_reported_only():
    assert set(outcomes(night(5_000), night(3_000, 1), 10, 5_000).values()) == {"ok"}
    assert set(outcomes(night(40, shift=3), night(3_000, 1), 30, 40).values()) == {"reported"}
    assert outcomes(night(5_000), None) == {}


@pytest.mark.parametrize(
    ("tonight", "gone", "names"),
    [
        (night(2_000, shift=2.5), 0, {"score distribution (PSI)", "share of excellent", "share of fair", "share of poor"}),
        (night(2_000, mass=0.7), 0, {"mean open-set mass"}),
        (night(2_000, num_rejected=600), 0, {"rejected share"}),
        (night(2_000), 900, {"artworks gone"}),
    ],
)
def test_each_kind_of_drift_is_seen_and_named(tonight: Tally, gone: int, names: set[str]):
    found = outcomes(tonight, night(3_000, 1), gone, 2_000)
    assert {name for name, outcome in found.items() if outcome == "beyond"} == names


@pytest.mark.parametrize("limit", ["psi", "level_shift", "mass_shift", "reject_rise", "gone_fraction"])
def test_a_wider_limit_lets_the_effect_pass(limit: str):
    drifted = replace(night(2_000, shift=2.5, mass=0.7), num_tried=3_000, num_rejected=1_000)
    narrow = outcomes(drifted, night(3_000, 1), 900, 2_000)
    wide = outcomes(drifted, night(3_000, 1), 900, 2_000, **{limit: 100.0})
    changed = {name for name in narrow if narrow[name] != wide[name]}
    assert changed and all(narrow[name] == "beyond" and wide[name] == "ok" for name in changed)


def test_a_large_effect_among_few_artworks_may_be_chance():
    few = outcomes(night(20, shift=0.8), night(20, 1), min_count=2)
    assert set(few.values()) == {"ok"}


def test_a_sure_but_small_effect_among_many_holds_nothing():
    assert set(outcomes(night(200_000, shift=0.1), night(200_000, 1)).values()) == {"ok"}


def test_psi_is_the_textbooks_and_its_bound_is_what_chance_gives():
    p, q = np.array([30.5, 70.5]) / 101, np.array([50.5, 50.5]) / 101
    assert psi([30, 70], [50, 50]) == pytest.approx(((p - q) * np.log(p / q)).sum())
    random = np.random.default_rng(0)
    shares = np.full(NUM_BINS, 1 / NUM_BINS)
    drawn = [psi(random.multinomial(400, shares), random.multinomial(600, shares)) for _ in range(4_000)]
    assert np.mean(np.array(drawn) > psi_bound(400, 600, 0.0)) == pytest.approx(1 - CONFIDENCE, abs=0.0015)
    assert np.mean(drawn) == pytest.approx(stats.chi2.mean(NUM_BINS - 1) * (1 / 400 + 1 / 600), rel=0.05)


def test_tallies_add_up_and_come_back_from_json():
    both = night(300) + night(200, 1)
    assert both.num_scored == 500 and both.num_tried == 500
    assert Tally.from_document(both.to_document()) == both


def test_labels_of_the_training_are_reported_only():
    (check,) = against_training(night(1_000), [0.9, 0.1, 0.0, 0.0, 0.0])
    assert isinstance(check, Check) and check.outcome == "reported" and check.value > 1 and math.isnan(check.bound)
    assert against_training(night(1_000), None) == []
