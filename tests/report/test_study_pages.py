"""The pages of training, comparison and evaluation say what came of it, whatever is missing, and no text in them is more than text."""

from __future__ import annotations

import dataclasses
import math

import pytest

from artquant.records.training import Flip, LossPoint, Validation
from artquant.report import evaluation_page, shadow_page, training_page
from artquant.report.evaluation_page import render_evaluation
from artquant.report.shadow_page import render_shadow
from artquant.report.training_page import render_training
from tests.report import studies
from tests.report.outline import text_of


@pytest.mark.parametrize(
    ("changes", "sentences"),
    [
        (
            {},
            "learned from 8,204 artworks in 42 min 00 s. It ranks 1,034 artworks that it had never seen with an SRCC of 0.871. It replaces",
        ),
        ({"verdict": studies.verdict(promoted=False)}, "with an SRCC of 0.871. portraits-2026-10-02 stays in use."),
        ({"verdict": studies.verdict(**studies.FIRST_EVER)}, "It replaces artquant-tiny, by +0.839 in SRCC."),
        ({"verdict": studies.verdict(**studies.FIRST_EVER, promoted=False)}, "artquant-tiny stays in use."),
        ({"verdict": None, "test": {"srcc": studies.NAN}}, "portraits-2026-11-21 learned from 8,204 artworks in 42 min 00 s."),
        ({"status": "failed", "verdict": None, "num_steps": 1}, "Training failed after 42 min 00 s and 1 step. No model was published"),
    ],
)
def test_the_training_headline_says_what_came_of_it(changes, sentences):
    report = studies.training(**changes)
    assert sentences in training_page.headline(report) and sentences in text_of(render_training(report))


def test_a_failed_training_says_why_and_promises_nothing():
    text = text_of(render_training(studies.FAILED))
    for words in (
        "The disk is full.",
        "The run ended before its model could be compared.",
        "The run ended before the test.",
        "No validation",
    ):
        assert words in text
    assert "promoted" not in text


def test_a_training_without_anything_to_draw_says_so():
    text = text_of(render_training(studies.BARE))
    for words in ("compared with none", "No artwork was set aside for a test.", "No loss was recorded.", "Every row was used."):
        assert words in text


def test_the_best_validation_is_the_earliest_of_the_highest_and_never_one_without_a_number():
    values = [0.5, math.nan, 0.8, 0.8, None, math.inf]
    validations = [Validation(step, value, 0.5, {}) for step, value in enumerate(values)]
    assert training_page.best_validation(validations).step == 2
    assert training_page.best_validation(validations[1:2]) is None and training_page.best_validation([]) is None
    page = render_training(studies.training(validations=validations))
    assert page.count("(best)") == 1 and "best 0.800" in page and "3 validations left a gap" in text_of(page)


def test_validations_that_are_all_without_a_number_are_told_not_drawn():
    page = render_training(studies.training(validations=[Validation(5, None, math.nan, {"score": math.inf})]))
    assert "1 validation, none with a correlation" in text_of(page) and "Agreement with people</h3>" not in page


def test_a_single_point_of_a_loss_is_drawn_and_one_that_is_not_finite_is_not():
    page = render_training(studies.training(curve=[LossPoint(10, {"score": 1.5, "vision_warmup": math.nan})], validations=[]))
    assert page.count("training at 10: 1.500") == 1 and "Loss: vision warm-up" in page


def test_rejected_rows_are_listed_largest_reason_first_with_file_and_row():
    text = text_of(render_training(studies.training()))
    assert text.index("score outside 0 to 10 14") < text.index("no score 3") < text.index("artwork named twice without a rater 2")
    assert "ratings-3.csv 812 score outside 0 to 10: 73" in text and "3 of 19." in text
    assert "12 scores beyond the levels’ values were moved" in text and "1 annotated artwork was not among" in text


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {},
            "on 412 artworks of the test split: its order agrees with people’s at an SRCC of 0.871 (95 % interval 0.853 to 0.887). It is",
        ),
        ({"split": "all", "num_rejected": 0}, "on 412 annotated artworks: its order"),
        (
            {"metrics": {"srcc": studies.NAN, "mae": studies.NAN}},
            "its order cannot be compared with people’s, as all scores on one side are alike. 2 artworks got",
        ),
        ({"num_artworks": 0}, "could not be compared with people on any artwork. 2 artworks got no score."),
    ],
)
def test_the_evaluation_headline_says_how_well_it_agrees(changes, sentence):
    assert sentence in evaluation_page.headline(dataclasses.replace(studies.evaluation(), **changes))


def test_an_evaluation_of_nothing_says_so_in_every_section():
    text = text_of(render_evaluation(studies.NOTHING))
    for words in ("No artwork has both", "Nothing to draw.", "no column to look at apart", "Not estimated", "No artwork is shown."):
        assert words in text


def test_the_tables_hold_the_evaluation_s_numbers():
    text = text_of(render_evaluation(studies.evaluation()))
    for words in (
        "KRCC 0.689 0.667 to 0.709",
        "abstract 44 0.710 0.520 to 0.840 0.740 0.93",
        "(none) 2 – – to – – 0.40",
        "80 % ± 0.93 78.0 %",
    ):
        assert words in text
    rows = ("picture about score 0.710 0.680 to 0.740 0.020", "texts about score 0.440", "texts, levels masked 0.060 -0.010 to 0.120 0.040")
    places = [text.index(row.replace("-", minus)) for row in rows for minus in "−-" if row.replace("-", minus) in text]
    assert len(places) >= 3 and "picture about texts 18.300" in text and "bound" not in text


@pytest.mark.parametrize(
    ("changes", "sentences"),
    [
        ({}, "better than portraits-2026-10-02 on the same 412 held-out artworks, by +0.013 in SRCC. It was promoted."),
        (
            {"difference": 0.001, "low": -0.01, "promoted": False},
            "by +0.001 in SRCC. That may be chance. portraits-2026-10-02 stays in use.",
        ),
        ({"difference": -0.02, "low": -0.03, "high": -0.01, "promoted": False}, "worse than portraits-2026-10-02 on the same 412"),
        ({"difference": 0.0, "promoted": False}, "as well as portraits-2026-10-02 on the same 412 held-out artworks."),
        ({"difference": math.nan, "promoted": False}, "cannot be told apart on the same 412 held-out artworks."),
    ],
)
def test_the_shadow_headline_says_which_is_better_and_whether_that_is_sure(changes, sentences):
    report = studies.shadow(verdict=studies.verdict(**changes))
    assert sentences in shadow_page.headline(report) and sentences in text_of(render_shadow(report))


@pytest.mark.parametrize(
    ("human", "judgement"),
    [
        (2.0, "the candidate is 2.00 nearer to people"),
        (4.0, "the current model is 2.00 nearer"),
        (3.0, "both as far"),
        (math.nan, "no human score"),
    ],
)
def test_a_flip_says_who_is_nearer_to_people(human, judgement):
    flip = Flip("a.jpg", human, 2.0, 4.0, None)
    assert shadow_page.nearer(flip).startswith(judgement)
    page = render_shadow(studies.shadow(30, flips=[flip]))
    assert "4.00 → 2.00" in page and judgement in page and "no picture kept" in page
