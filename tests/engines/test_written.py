"""Scores that a model writes: read from its words, or refused with what is wrong."""

import numpy as np
import pytest

from artquant.core.scale import Scale
from artquant.engines.written import Unread, read_number, summarise

READ = {
    "7": 7.0,
    "7.25.": 7.25,
    "7,5": 7.5,
    "I would say 8.": 8.0,
    "Score: 6.5": 6.5,
    "**Rating**: 6.5 / 10": 6.5,
    '{"rating": 4.2, "reason": "two figures, 3 trees"}': 4.2,
    "It has 3 trees and 2 houses; the score is 9.": 9.0,
    "It earns 7 out of 10.": 7.0,
    "7/10": 7.0,
    "A work of the 18th century, oil on canvas: 5": 5.0,
    "Composition score: 7. Colour score: 8. Overall score: 7.5": 7.5,
    "<think>A 3, or 4?</think> <answer>4.5</answer>": 4.5,
    "<think>The score is 3.</think>8": 8.0,
    "<answer>2</answer> no: <answer>6</answer>": 6.0,
    "The score is 5, and 5 it stays.": 5.0,
}
LOST = {
    "A lovely picture.": Unread.NO_NUMBER,
    "": Unread.NO_NUMBER,
    "GPT4 of the 18th century": Unread.NO_NUMBER,
    "90%": Unread.NO_NUMBER,
    "3 trees, 2 houses": Unread.SEVERAL,
    "On a rating scale of 1 to 10": Unread.SEVERAL,
    "a score of 1 to 10": Unread.SEVERAL,
    "Score: 7-8": Unread.SEVERAL,
    "Line score: 3. Light score: 9.": Unread.SEVERAL,
    "11": Unread.OUTSIDE,
    "score: -3": Unread.OUTSIDE,
    "1,000": Unread.OUTSIDE,
    "1e3": Unread.NO_NUMBER,
    "<think>It is a 7": Unread.UNFINISHED,
    "<answer>1e400</answer>": Unread.NO_NUMBER,
}


@pytest.mark.parametrize("text", READ)
def test_the_score_in_what_was_written(text: str):
    assert read_number(text, Scale()) == READ[text]


@pytest.mark.parametrize("text", LOST)
def test_what_says_no_score_gets_none(text: str):
    assert read_number(text, Scale()) is LOST[text]


def test_an_answer_that_breaks_off_in_its_number_is_not_read():
    assert read_number("The score is 7", Scale(), is_whole=False) is Unread.UNFINISHED
    assert read_number("The score is 7, for the", Scale(), is_whole=False) == 7.0
    assert read_number("A calm", Scale(), is_whole=False) is Unread.UNFINISHED


def test_answers_become_a_distribution_with_their_mean_and_half_of_them_may_be_lost():
    probabilities, share, why = summarise([7.0, 8.0, 4.0, Unread.OUTSIDE, Unread.NO_NUMBER, Unread.NO_NUMBER], Scale())
    assert probabilities @ Scale().values == pytest.approx(19 / 3) and probabilities.sum() == pytest.approx(1) and share == 0.5
    assert why is None and probabilities[4] == 0
    probabilities, share, why = summarise([7.0, Unread.OUTSIDE, Unread.NO_NUMBER, Unread.NO_NUMBER], Scale())
    assert np.isnan(probabilities).all() and share == 0.25
    assert why == "of 4 answers, 2 without a number, 1 outside the scale; the scale is 1 to 10"
