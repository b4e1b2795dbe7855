"""Single claims: is each sentence of a description to be seen in its picture? And how far can the judge tell that at all?"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from artquant.agreement.metrics import Interval
from artquant.agreement.wilson import wilson
from artquant.annotations.pairs import Fault
from artquant.config import ExamSpec
from artquant.core.scale import Scale
from artquant.core.schema import ARTWORK_ID, CRITIQUE_PARTS, LEVELS
from artquant.descriptions import Request
from artquant.descriptions.cache import Asker
from artquant.descriptions.exam import auc, probability_of, questions_of, threshold_of
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
    kept: tuple[Sequence[tuple[str, str, str, Mapping[str, str]]], np.ndarray],
    spec: ExamSpec,
) -> ClaimMarks:
    """Ask the judge for every sentence alone.

    exam: paintings with their texts, and pixels (N, S, S, 3) uint8; kept: (artwork_id, content, level, texts) of descriptions,
    and pixels; `content` says by which bytes the pixels are known. A judge that cannot tell the exam's is asked nothing of the run.
    """
    rows, pixels = exam
    asked = [one for one in questions_of(rows, Scale(), "English") if one.fault in (Fault.NONE, Fault.OTHER_PICTURE)]
    names = [str(row[ARTWORK_ID]) for row in rows]
    of_exam = [(names[one.row], names[one.row], sentence, pixels[one.row]) for one in asked for sentence in sentences_of(one.texts)]
    is_right = np.array([one.fault is Fault.NONE for one in asked for _ in sentences_of(one.texts)])
    said = _ask(judge, template, of_exam)
    right, wrong = (said[is_right == which] for which in (True, False))
    right, wrong = right[~np.isnan(right)], wrong[~np.isnan(wrong)]
    if not len(right) or not len(wrong):
        return ClaimMarks(float("nan"), float("nan"), float("nan"), ())
    threshold = threshold_of(right, wrong, spec.false_accepts)
    found = auc(right, wrong)
    marks = ClaimMarks(found, float((wrong >= threshold).mean()), float((right < threshold).mean()))
    if found < MIN_AUC:
        return marks
    of_run = [(one, pixels, text) for one, pixels in zip(*kept, strict=True) for text in sentences_of(one[3])]
    said = _ask(judge, template, [(one[0], one[1], text, pixels) for one, pixels, text in of_run])
    return replace(marks, levels=tuple(_levels([one[2] for one, _, _ in of_run], said, threshold)))


def _ask(judge: Asker, template: Template, claims: Sequence[tuple[str, str, str, np.ndarray]]) -> np.ndarray:
    """(artwork_id, content, sentence, pixels (S, S, 3)) -> the probability of yes (N,), nan without an answer."""
    requests = [Request(name, template.fill("claim", claim=text), pixels, content, "verdict") for name, content, text, pixels in claims]
    return np.array([probability_of(answer) for answer in judge.ask(requests)], np.float64)


def _levels(levels: Sequence[str], said: np.ndarray, threshold: float) -> list[LevelClaims]:
    made = []
    for level in LEVELS:
        own = said[[one == level for one in levels]] if len(levels) else said
        own = own[~np.isnan(own)]
        if len(own):
            num = int((own < threshold).sum())
            made.append(LevelClaims(level, len(own), Interval(num / len(own), *wilson(num, len(own)))))
    return made
