"""What descriptions are worth by their words alone."""

from __future__ import annotations

import numpy as np
import pytest

from artquant.agreement.metrics import srcc
from artquant.core.schema import CRITIQUE_PARTS
from artquant.descriptions.measures import Reader, diversity, diversity_check, masked
from artquant.paintings import paint
from artquant.paintings.seeds import HELD_OUT


def painted(start: int, num: int) -> tuple[list[str], list[float]]:
    paintings = [paint(seed) for seed in HELD_OUT[start : start + num]]
    return [" ".join(getattr(one, part) for part in CRITIQUE_PARTS) for one in paintings], [one.score for one in paintings]


def test_texts_that_are_nearly_equal_hold_the_run_beyond_the_bound():
    words = [f"word{number}" for number in range(400)]
    rng = np.random.default_rng(0)
    different = [" ".join(rng.choice(words, 30)) for _ in range(60)]
    assert diversity(different).duplicates == 0 and diversity(different).distinct_2 > 0.9
    same = [*different, *[f"{different[0]} {name}" for name in words[:20]]]
    found = diversity(same)
    assert found.duplicates == pytest.approx(21 / 80) and found.openings > 0.25
    assert diversity_check(found, 0.2).outcome == "beyond" and diversity_check(found, 0.3).outcome == "ok"
    assert diversity_check(diversity(same[-10:]), 0.2).outcome == "reported", "ten descriptions decide nothing"


def test_a_reader_of_words_ranks_texts_that_it_has_not_seen_and_knows_nothing_of_shuffled_ones():
    texts, scores = painted(40_000, 400)
    others, theirs = painted(50_000, 120)
    reader = Reader(texts, scores)
    assert srcc(reader.read(others), np.array(theirs)) > 0.9
    assert abs(srcc(reader.read(others[1:] + others[:1]), np.array(theirs))) < 0.4


def test_numbers_and_words_for_levels_are_taken_out_and_nothing_else():
    assert masked("An excellent 8.5 of 10, with poor light and a calm sea!") == "an x x x of x with x light and a calm sea"
