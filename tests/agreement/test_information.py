"""Usable information: what tells everything, what tells nothing, and what chance gives."""

from __future__ import annotations

import numpy as np
import pytest

from artquant.agreement import information

ROUNDS = 200


@pytest.fixture
def labels() -> np.ndarray:
    """(60, 5): each artwork nearly all of one level."""
    levels = np.random.default_rng(0).integers(0, 5, 60)
    return np.where(np.arange(5) == levels[:, None], 0.92, 0.02)


def entropy(shares: np.ndarray) -> np.ndarray:
    return -(shares * np.log(shares)).sum(1)


def test_a_model_that_says_what_people_said_knows_all_that_there_is_to_know(labels: np.ndarray) -> None:
    found = information.of_predictions(labels, labels, ROUNDS)
    others = (labels.sum(0) - labels) / (len(labels) - 1)
    known = -(labels * np.log(others)).sum(1) - entropy(labels)
    assert found.nats.value == pytest.approx(known.mean()) and found.nats.low > found.by_chance


def test_one_that_says_the_same_of_all_knows_nothing(labels: np.ndarray) -> None:
    found = information.of_predictions(labels, np.tile(labels.mean(0), (len(labels), 1)), ROUNDS)
    assert found.nats.value <= found.by_chance + 1e-9


def test_a_model_that_is_sure_and_wrong_knows_less_than_nothing(labels: np.ndarray) -> None:
    assert information.of_predictions(labels, np.roll(labels, 1, axis=1), ROUNDS).nats.high < 0


def test_texts_that_name_the_level_tell_it_and_texts_of_others_do_not(labels: np.ndarray) -> None:
    rng = np.random.default_rng(3)
    noise = (rng.random((60, 40)) < 0.3).astype(float)
    telling = np.concatenate([np.repeat(labels > 0.5, 4, axis=1).astype(float), noise], axis=1)
    told, untold = (information.of_texts(labels, features, ROUNDS) for features in (telling, noise))
    assert told.nats.value > 0.5 > untold.nats.value and told.nats.low > told.by_chance
    assert untold.nats.value <= untold.by_chance + 0.05
    assert information.of_texts(labels, rng.permutation(telling), ROUNDS).nats.value < told.nats.value / 2


def test_no_artwork_is_read_by_what_was_learnt_of_itself(labels: np.ndarray) -> None:
    own = np.eye(len(labels))  # each text has a word that no other has: learnt of itself it would tell all
    assert information.of_texts(labels, own, ROUNDS).nats.value < 0.05


def test_a_picture_tells_of_its_text_what_another_does_not() -> None:
    rng = np.random.default_rng(0)
    own = rng.normal(50, 5, 80)
    told = information.of_pictures_about_texts(own, own + rng.normal(8, 2, 80), ROUNDS)
    assert told.nats.value == pytest.approx(8, abs=0.7) and told.nats.low > told.by_chance > 0
    untold = information.of_pictures_about_texts(own, own + rng.normal(0, 2, 80), ROUNDS)
    assert untold.nats.low < 0 < untold.nats.high
