"""What a run may take before it is begun: from the questions themselves, and from what earlier runs took."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from artquant.config import DescribeSpec, PlayerSpec
from artquant.core.scale import Scale
from artquant.core.schema import CRITIQUE_PARTS
from artquant.prompts import Templates
from artquant.prompts.asking import Statistics, Subject, generator_questions, judge_question

_BYTES_A_TOKEN = 4  # of English, about; a reservation counts every byte
_EXAM_QUESTIONS = 8  # for each artwork of the exam
_CLAIMS = 3  # of a description, about


@dataclass(frozen=True)
class Price:
    """(tokens, money) of one round of one artwork, of the exam, and of single claims; `most`: what is reserved for a round, where every
    answer has all its tokens."""

    round: tuple[float, float]
    most: tuple[float, float]
    exam: tuple[float, float]
    claims: tuple[float, float]


def price_of(spec: DescribeSpec, templates: Templates, givens: Sequence[str], statistics: Statistics | None, scale: Scale) -> Price:
    """Reckon with the questions of some artworks, `givens` as in a plan. An answer is taken to have half the tokens that it may have."""
    subjects = [Subject(given["score"], scale, statistics, given["comment"], spec.language) for given in map(json.loads, givens)]
    asked = [len(text) for subject in subjects for text in generator_questions(templates, subject).values()]
    num_questions = len(asked) / max(1, len(subjects))
    texts = dict.fromkeys(CRITIQUE_PARTS, "x" * (spec.generator.max_tokens * _BYTES_A_TOKEN // 6))
    judged = [len(judge_question(templates.judge, subject, texts)) for subject in subjects]
    writing = _of(spec.generator, sum(asked) / max(1, len(asked)), 0.5)
    judging = _of(spec.judge, sum(judged) / max(1, len(judged)), 0.5)
    most = [_of(spec.generator, _BYTES_A_TOKEN * max(asked, default=0), 1.0), _of(spec.judge, _BYTES_A_TOKEN * max(judged, default=0), 1.0)]
    exam, claims = _EXAM_QUESTIONS * spec.exam.size, _CLAIMS * (2 * spec.exam.size + spec.claims) if spec.claims else 0
    return Price(
        (num_questions * writing[0] + judging[0], num_questions * writing[1] + judging[1]),
        (num_questions * most[0][0] + most[1][0], num_questions * most[0][1] + most[1][1]),
        (exam * judging[0], exam * judging[1]),
        (claims * judging[0], claims * judging[1]),
    )


def _of(spec: PlayerSpec, num_bytes: float, share: float) -> tuple[float, float]:
    asked, answered = num_bytes / _BYTES_A_TOKEN + spec.picture_tokens, share * spec.max_tokens
    return asked + answered, (asked * spec.input_price + answered * spec.output_price) / 1e6
