"""Sentences asked one by one: what the judge does not find in the picture, and what it cannot tell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from artquant.config import ExamSpec
from artquant.core.errors import Reject
from artquant.core.schema import RejectClass
from artquant.descriptions import Answer
from artquant.descriptions.claims import measure, sentences_of
from artquant.descriptions.exam import painted_rows
from artquant.prompts import read_templates

ROWS = painted_rows(8)
PIXELS = np.zeros((8, 4, 4, 3), np.uint8)
TEMPLATE = read_templates(None, is_tiny=False).judge
PARTS = ("perception", "cognition", "emotion")
KEPT = [
    (row["artwork_id"], f"v{number}", ("good", "bad")[number % 2], {part: row[part] for part in PARTS}) for number, row in enumerate(ROWS)
]


class Judge:
    """Knows the sentences of each artwork; says yes with `sure`, or whatever it is shown with `blind`."""

    def __init__(self, is_blind: bool = False, invented: str = ""):
        self.known = {row["artwork_id"]: sentences_of(row) for row in ROWS}
        self.is_blind, self.invented, self.asked = is_blind, invented, 0

    def ask(self, requests: Any) -> list[Answer | Reject]:
        self.asked += len(requests)
        self.contents = {request.content for request in requests}
        return [self.answer(request) for request in requests]

    def answer(self, request: Any) -> Answer | Reject:
        if self.invented and self.invented in request.question:
            return Answer("", 1, 1, probability=0.0)
        if self.is_blind:
            return Answer("", 1, 1, probability=0.5 + 0.001 * (hash(request.question) % 7))
        return Answer("", 1, 1, probability=0.9 if any(own in request.question for own in self.known[request.artwork_id]) else 0.2)


def marks(judge: Judge, kept: Any = KEPT) -> Any:
    return measure(judge, TEMPLATE, (ROWS, PIXELS), (kept, PIXELS[: len(kept)]), ExamSpec())  # type: ignore[arg-type]


def test_sentences_are_those_of_the_three_texts_in_order():
    texts = {"perception": "A field. Blue!  Is it?", "cognition": "The sea at 7.5 metres", "emotion": ""}
    assert sentences_of(texts) == ["A field.", "Blue!", "Is it?", "The sea at 7.5 metres"]


def test_what_a_judge_does_not_find_is_counted_by_level_with_its_interval():
    found = marks(Judge())
    assert found.auc > 0.9 and [(one.level, one.unsupported.value) for one in found.levels] == [("good", 0.0), ("bad", 0.0)]
    more = {"good": "", "bad": " A dog waits."}
    invented = [(*one[:3], one[3] | {"emotion": one[3]["emotion"] + more[one[2]]}) for one in KEPT]
    good, bad = marks(Judge(), invented).levels
    assert good.unsupported.value == 0 and bad.num == good.num + 4
    assert bad.unsupported.value == pytest.approx(4 / bad.num) and bad.unsupported.low < 4 / bad.num < bad.unsupported.high


def test_a_judge_that_cannot_tell_sentences_says_nothing_of_a_run():
    judge = Judge(is_blind=True)
    found = marks(judge)
    assert found.auc < 0.7 and found.levels == ()
    assert judge.contents == set(judge.known), "it was asked of the run too"


def test_an_answer_is_kept_for_the_bytes_that_were_seen():
    judge = Judge()
    marks(judge)
    assert judge.contents == {f"v{number}" for number in range(8)}


def test_sentences_without_an_answer_do_not_count():
    class Mute(Judge):
        def answer(self, request: Any) -> Answer | Reject:
            return Reject(RejectClass.BUDGET, "spent") if request.artwork_id == ROWS[1]["artwork_id"] else super().answer(request)

    good, bad = marks(Mute()).levels
    assert bad.num < good.num and bad.unsupported.value == 0
    assert np.isnan(marks(type("None", (Judge,), {"answer": lambda *_: Reject(RejectClass.BUDGET, "spent")})()).auc)
