"""Single claims: is each sentence of a description to be seen in its picture? And how far can the judge tell that at all?"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from artquant.agreement.metrics import Interval
from artquant.agreement.wilson import wilson
from artquant.annotations.pairs import Fault
from artquant.config import ExamSpec
from artquant.core.errors import Reject
from artquant.core.scale import Scale
from artquant.core.schema import ARTWORK_ID, CRITIQUE_PARTS, LEVELS
from artquant.descriptions import Request
from artquant.descriptions.cache import Asker
from artquant.descriptions.exam import auc, questions_of, threshold_of
from artquant.descriptions.parsing import parse_verdict
from artquant.prompts import Template
from artquant.records.description import ClaimMarks, LevelClaims

MIN_AUC = 0.7  # below it a judge cannot tell single claims, and what it says of them is not told
_END = re.compile(r"(?<=[.!?])\s+")


def sentences_of(texts: Mapping[str, str]) -> list[str]:
    """Return the sentences of the three texts, in order."""
    return [sentence for part in CRITIQUE_PARTS for sentence in _END.split(texts.get(part, "").strip()) if sentence]


def measure(
    judge: Asker,
    template: Template,
    exam: tuple[Sequence[Mapping[str, object]], np.ndarray],
    kept: tuple[Sequence[tuple[str, str, Mapping[str, str]]], np.ndarray],
    spec: ExamSpec,
) -> ClaimMarks:
    """Ask the judge for every sentence alone.

    exam: paintings with their texts, and pixels (N, S, S, 3) uint8; kept: (artwork_id, level, texts) of descriptions, and pixels.
    """
    rows, pixels = exam
    asked = [one for one in questions_of(rows, Scale(), "English") if one.fault in (Fault.NONE, Fault.OTHER_PICTURE)]
    of_exam = [(str(rows[one.row][ARTWORK_ID]), sentence, pixels[one.row]) for one in asked for sentence in sentences_of(one.texts)]
    is_right = np.array([one.fault is Fault.NONE for one in asked for _ in sentences_of(one.texts)])
    of_run = [(name, level, sentence, kept[1][row]) for row, (name, level, texts) in enumerate(kept[0]) for sentence in sentences_of(texts)]
    said = _ask(judge, template, of_exam)
    right, wrong = (said[is_right == which] for which in (True, False))
    right, wrong = right[~np.isnan(right)], wrong[~np.isnan(wrong)]
    if not len(right) or not len(wrong):
        return ClaimMarks(float("nan"), float("nan"), float("nan"), ())
    threshold = threshold_of(right, wrong, spec.false_accepts)
    found = auc(right, wrong)
    levels = tuple(_levels([level for _, level, _, _ in of_run], _ask(judge, template, [(a, s, p) for a, _, s, p in of_run]), threshold))
    marks = ClaimMarks(found, float((wrong >= threshold).mean()), float((right < threshold).mean()), levels)
    return marks if found >= MIN_AUC else ClaimMarks(marks.auc, marks.false_accepts, marks.false_refusals, ())


def _ask(judge: Asker, template: Template, claims: Sequence[tuple[str, str, np.ndarray]]) -> np.ndarray:
    """(artwork_id, sentence, pixels (S, S, 3)) -> the probability of yes (N,), nan without an answer."""
    answers = judge.ask([Request(name, template.fill("claim", claim=text), pixels, name, "verdict") for name, text, pixels in claims])
    said = []
    for answer in answers:
        verdict = None if isinstance(answer, Reject) else parse_verdict(answer.text)
        probability = None if isinstance(answer, Reject) else answer.probability
        said.append(probability if probability is not None else float("nan") if verdict is None else float(verdict[0]))
    return np.array(said, np.float64)


def _levels(levels: Sequence[str], said: np.ndarray, threshold: float) -> list[LevelClaims]:
    made = []
    for level in LEVELS:
        own = said[[one == level for one in levels]] if len(levels) else said
        own = own[~np.isnan(own)]
        if len(own):
            num = int((own < threshold).sum())
            made.append(LevelClaims(level, len(own), Interval(num / len(own), *wilson(num, len(own)))))
    return made
