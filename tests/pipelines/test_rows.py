"""From an engine's answer to columns."""

from __future__ import annotations

import numpy as np
import pytest

from artquant.config import ReviewSpec
from artquant.core.scale import Scale
from artquant.engines import Assessment
from artquant.pipelines.rows import score_columns

SURE, TORN = [0.0, 0.0, 1.0, 0.0, 0.0], [0.5, 0.0, 0.0, 0.0, 0.5]  # standard deviations of 0 and 4.5


@pytest.mark.parametrize(
    "review, expected",
    [
        ({}, [False, True, True, True]),  # by their deviation, by their mass, by both
        ({"max_score_std": 5.0}, [False, False, True, True]),
        ({"min_open_set_mass": 0.2}, [False, True, False, True]),
        ({"max_score_std": 5.0, "min_open_set_mass": 0.2}, [False, False, False, False]),
        ({"min_open_set_mass": 1.0}, [True, True, True, True]),
        ({"max_score_std": 4.5, "min_open_set_mass": 0.4}, [False, False, False, False]),  # the limits themselves are allowed
    ],
)
def test_a_person_is_asked_where_the_mass_is_small_or_the_levels_lie_far_apart(review: dict, expected: list[bool]) -> None:
    answers = Assessment(np.array([SURE, TORN, SURE, TORN]), np.array([0.9, 0.9, 0.4, 0.4]), [None] * 4, ["not_requested"] * 4)
    columns = score_columns([(answers, row) for row in range(4)], Scale(), ReviewSpec(**review))
    assert columns["score_std"] == [0.0, 4.5, 0.0, 4.5]
    assert columns["needs_review"] == expected


def test_a_person_is_asked_where_a_picture_is_of_another_kind() -> None:
    answers = Assessment(np.array([SURE] * 3), np.array([0.9] * 3), [None] * 3, ["not_requested"] * 3, np.array([0.5, 1.0, 1.2]))
    silent = Assessment(np.array([SURE]), np.array([0.9]), [None], ["not_requested"])
    rows = [(answers, 0), (answers, 1), (answers, 2), (silent, 0)]
    columns = score_columns(rows, Scale(), ReviewSpec())
    assert columns["domain_distance"] == [0.5, 1.0, 1.2, None] and columns["needs_review"] == [False, False, True, False]
    assert score_columns(rows, Scale(), ReviewSpec(max_domain_distance=0.4))["needs_review"] == [True, True, True, False]


def test_each_row_has_its_own_critique_and_its_status() -> None:
    critiques = [{"perception": "blue", "cognition": "a boat", "emotion": "calm"}, None]
    answers = Assessment(np.array([SURE, TORN]), np.array([0.9, 0.8]), critiques, ["ok", "not_requested"])
    columns = score_columns([(answers, 1), (answers, 0)], Scale(), ReviewSpec())
    assert [columns[part] for part in ("perception", "cognition", "emotion")] == [[None, "blue"], [None, "a boat"], [None, "calm"]]
    assert columns["critique_status"] == ["not_requested", "ok"] and columns["open_set_mass"] == [0.8, 0.9]
