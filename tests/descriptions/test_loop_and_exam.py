"""What becomes of an artwork round by round, what a judge must know, and what can be read from an answer."""

from __future__ import annotations

import json

import numpy as np
import pytest

from artquant.annotations.pairs import FAULTS, Fault
from artquant.config import ExamSpec
from artquant.core.errors import Reject, UserError
from artquant.core.schema import RejectClass
from artquant.descriptions import Answer
from artquant.descriptions.cache import Asker, Decoding
from artquant.descriptions.exam import check, marks_of
from artquant.descriptions.loop import Describer, Item, State
from artquant.descriptions.parsing import parse_texts, parse_verdict
from artquant.prompts import read_templates
from artquant.prompts.asking import Subject
from tests.descriptions.conftest import TEXTS, flat

WHOLE = json.dumps(TEXTS)
GERMAN = json.dumps(dict.fromkeys(TEXTS, "Das Bild ist mit dem Meer und der Sonne auf den Wellen"))
YES, NO = '{"agrees": "yes", "reason": ""}', '{"agrees": "no", "reason": "too kind"}'


class Scripted:
    """Answers in this order, and notes what it is asked."""

    image_size = 32

    def __init__(self, digest: str, *answers: Answer | Reject | str):
        self.digest, self.answers, self.asked = digest, list(answers), []

    def ask(self, requests, budget, keep):
        self.asked += requests
        made = [self.answers.pop(0) for _ in requests]
        return [Answer(one, 10, 5) if isinstance(one, str) else one for one in made]


def play(store, purse, drafts, verdicts, max_rounds=3, is_tiny=False):
    generator, judge = Scripted("g", *drafts), Scripted("j", *verdicts)
    askers = [Asker(one, store, purse, Decoding(1, 0.0, 32), "t", 1e6, 2e6) for one in (generator, judge)]
    describer = Describer(*askers, read_templates(None, is_tiny=is_tiny), 0.5)
    state = State()
    while state.outcome(max_rounds) == "again":
        (state,) = describer.round([Item("a", Subject(8.0), {32: flat(9)}, "v1", state)])
        assert State.of(state.to_document()) == state
    return state, generator, judge


def test_a_refused_description_is_written_again_with_the_reason_and_kept_when_it_is_agreed(store, purse):
    state, generator, judge = play(store, purse, [WHOLE, WHOLE.replace("calm", "wild")], [NO, YES])
    assert state.outcome(3) == "" and [one.agreed for one in state.verdicts] == [False, True]
    assert state.last.texts["perception"] == "A wild blue field."
    assert "refused" not in generator.asked[0].question
    assert "refused: too kind. It said:\nA calm blue field." in generator.asked[1].question
    assert (state.input_tokens, state.output_tokens, state.cost) == (40, 20, 80.0)
    assert "A wild blue field." in judge.asked[1].question


def test_a_generator_that_is_asked_part_by_part_begins_anew_where_one_part_failed(store, purse):
    cut = Answer("The sea and", 1, 1, is_cut_off=True)
    state, generator, _ = play(store, purse, ["A calm field.", cut, "It is serene.", *TEXTS.values()], ["yes."], is_tiny=True)
    assert [one.failure for one in state.verdicts] == ["cut_off", ""] and state.outcome(3) == ""
    assert state.last.texts == TEXTS and not any("Refused" in one.question for one in generator.asked)


@pytest.mark.parametrize(
    ("drafts", "verdicts", "outcome", "rounds"),
    [
        ([WHOLE, WHOLE, WHOLE], [NO, Answer(NO, 1, 1, probability=0.4), NO], "not_agreed", 3),
        ([WHOLE], [Answer(NO, 1, 1, probability=0.6)], "", 1),
        (["no json", "{}", "x"], [], "unparsed", 3),
        (["no json", WHOLE], [YES], "", 2),
        ([Answer(WHOLE, 1, 1, is_cut_off=True)] * 3, [], "cut_off", 3),
        ([Answer("no", 1, 1, is_refused=True)] * 3, [], "refused", 3),
        ([Reject(RejectClass.BUDGET, "spent")], [], "budget", 1),
        ([WHOLE], [Reject(RejectClass.UNANSWERED, "gone")], "unanswered", 1),
        ([WHOLE] * 3, ["perhaps"] * 3, "unparsed", 3),
        ([GERMAN] * 3, [], "wrong_language", 3),
    ],
)
def test_each_end_has_its_class_and_its_rounds(store, purse, drafts, verdicts, outcome, rounds):
    state, _, _ = play(store, purse, drafts, [*verdicts])
    assert (state.outcome(3), len(state.verdicts)) == (outcome, rounds)
    if outcome == "unparsed":
        assert "answered" in state.last.reason and ("'x'" in state.last.reason or "'perhaps'" in state.last.reason)


FAULTS_ASKED = [Fault.NONE] * 20 + [fault for fault in FAULTS for _ in range(10)]


def probabilities(right: float, wrong: float, spread: float = 0.05) -> np.ndarray:
    rng = np.random.default_rng(0)
    means = np.array([right if fault is Fault.NONE else wrong for fault in FAULTS_ASKED])
    return np.clip(means[:, None] + rng.normal(0, spread, (len(means), 2)), 0, 1)


def test_the_threshold_gives_the_wanted_false_accepts():
    marks = marks_of(probabilities(0.7, 0.4, 0.1), FAULTS_ASKED, ExamSpec(), "who")
    check(marks, ExamSpec(), "J")
    assert marks.false_accepts <= 0.1 and 0.85 < marks.auc < 1 and (marks.num_right, marks.num_wrong) == (20, 30)
    strict = marks_of(probabilities(0.7, 0.4, 0.1), FAULTS_ASKED, ExamSpec(false_accepts=0.0), "who")
    assert strict.threshold >= marks.threshold and strict.false_accepts == 0 and strict.digest != marks.digest
    assert 0.3 < marks_of(probabilities(0.9, 0.1), FAULTS_ASKED, ExamSpec(), "who").threshold < 0.7


def test_a_judge_that_guesses_and_one_with_one_verdict_are_refused():
    with pytest.raises(UserError, match="did not pass"):
        check(marks_of(probabilities(0.5, 0.5), FAULTS_ASKED, ExamSpec(), "who"), ExamSpec(), "J")
    for verdict in (0.0, 1.0, 0.5):
        with pytest.raises(UserError, match="one verdict"):
            check(marks_of(np.full((50, 2), verdict), FAULTS_ASKED, ExamSpec(), "who"), ExamSpec(), "J")


def test_both_orders_agree_by_kappa():
    answers = probabilities(0.9, 0.1)
    assert marks_of(answers, FAULTS_ASKED, ExamSpec(), "w").agreement == 1.0
    answers[:, 1] = 1 - answers[:, 1]
    assert marks_of(answers, FAULTS_ASKED, ExamSpec(), "w").agreement < 0


@pytest.mark.parametrize(
    "answer",
    [
        WHOLE,
        f"Sure!\n```json\n{WHOLE}\n```",
        f"Here: {WHOLE} Done.",
        "Perception: A calm blue field.\n**Cognition**: The sea at dusk.\nEmotion:\nIt is serene.",
    ],
)
def test_texts_are_read_from_whatever_can_only_mean_them(answer):
    assert parse_texts(answer) == TEXTS


@pytest.mark.parametrize("answer", ["", "{", '{"perception": "a", "cognition": "b"}', WHOLE.replace("It is serene.", " "), "[1]"])
def test_texts_that_are_not_all_there_are_none(answer):
    assert parse_texts(answer) is None


def test_verdicts_are_read_as_json_or_in_words():
    assert parse_verdict(NO) == (False, "too kind") and parse_verdict("Yes.") == (True, "")
    assert parse_verdict("no, it sounds better than the score.") == (False, "it sounds better than the score.")
    assert parse_verdict('{"agrees": true}') == (True, "") and parse_verdict("```json\n" + YES + "```") == (True, "")
    assert parse_verdict("Nothing fits") is None and parse_verdict('{"agrees": 3}') is None
