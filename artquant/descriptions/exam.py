"""The judge's exam: right descriptions, and those of another picture, of another score, with contradicting words, in both orders."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from artquant.annotations.pairs import FAULTS, Fault, pair_of
from artquant.config import ExamSpec
from artquant.core.errors import Reject, UserError
from artquant.core.scale import Scale
from artquant.core.schema import ARTWORK_ID, CRITIQUE_PARTS, SCORE
from artquant.descriptions import Answer, Request
from artquant.descriptions.cache import Asker
from artquant.descriptions.parsing import parse_verdict
from artquant.prompts import Template
from artquant.prompts.asking import Subject, judge_question

_POOL = 200  # paintings whose texts are those of other pictures
_CONSTANT = 1e-6  # probabilities that span less are one verdict


@dataclass(frozen=True)
class Question:
    """One description to judge, in both orders. `row`: of the pictures."""

    row: int
    subject: Subject
    texts: Mapping[str, str]
    fault: Fault


@dataclass(frozen=True)
class Marks:
    """`threshold`: the probability from which a description is accepted; shares of the wrong ones that are then accepted, and of the right
    ones that are then refused; `auc`: of right against wrong; `agreement`: Cohen's kappa between the two orders."""

    threshold: float
    false_accepts: float
    false_refusals: float
    auc: float
    agreement: float
    num_right: int
    num_wrong: int
    by_fault: Mapping[str, float]  # the share that is accepted
    digest: str
    is_constant: bool = False


def painted_rows(size: int, first: int = 20_000) -> list[dict[str, Any]]:
    """Return held-out paintings with their scores and texts: nothing that a judge accepted, and nothing that a model learnt."""
    from artquant.paintings import paint
    from artquant.paintings.seeds import HELD_OUT

    rows = []
    for seed in HELD_OUT[first : first + size]:
        painting = paint(seed)
        texts = {part: getattr(painting, part) for part in CRITIQUE_PARTS}
        rows.append({ARTWORK_ID: f"exam/{seed}", "seed": seed, SCORE: round(painting.score, 1), **texts})
    return rows


def questions_of(rows: Sequence[Mapping[str, Any]], scale: Scale, language: str) -> list[Question]:
    """Return a right description of each row, and one with each fault."""
    rng = np.random.default_rng(7)
    pool = [*rows, *painted_rows(_POOL, first=30_000)]  # other texts, of which no picture is needed
    made = []
    for number in range(len(rows)):
        for fault in (Fault.NONE, *FAULTS):
            if pair := pair_of(pool, number, fault, scale, rng):
                made.append(Question(number, Subject(pair.score, scale, language=language), pair.texts, fault))
    return made


def sit(judge: Asker, template: Template, rows: Sequence[Mapping[str, Any]], pixels: np.ndarray, spec: ExamSpec) -> Marks:
    """Ask everything in both orders and mark the answers. pixels (N, S, S, 3) of the rows. Raises UserError where most get no answer."""
    questions = questions_of(rows, Scale(), "English")
    requests = list(_requests(questions, template, rows, pixels))
    said: list[float] = []
    lost: list[str] = []
    for answer in judge.ask(requests):
        if isinstance(answer, Reject):
            lost.append(answer.message)
        said.append(probability_of(answer))
    answers = np.array(said).reshape(-1, 2)
    is_there = ~np.isnan(answers).any(1)
    if is_there.mean() < 0.5:
        why = f": {lost[0]}" if lost else ", or none that can be read"
        raise UserError(f"The judge gave no answer to {np.mean(~is_there):.0%} of its exam{why}. Nothing was described.")
    kept = [question for question, there in zip(questions, is_there, strict=True) if there]
    return marks_of(answers[is_there], [question.fault for question in kept], spec, f"{judge.player.digest} {template.digest}")


def probability_of(answer: Answer | Reject) -> float:
    """Return that of yes, 0 or 1 where the judge tells its word alone; nan where there is no answer, or none that can be read."""
    if isinstance(answer, Reject):
        return float("nan")
    verdict = parse_verdict(answer.text)
    return answer.probability if answer.probability is not None else float("nan") if verdict is None else float(verdict[0])


def _requests(
    questions: Sequence[Question], template: Template, rows: Sequence[Mapping[str, Any]], pixels: np.ndarray
) -> Iterator[Request]:
    for question in questions:
        row = rows[question.row]
        for is_swapped in (False, True):
            text = judge_question(template, question.subject, question.texts, is_swapped)
            yield Request(row[ARTWORK_ID], text, pixels[question.row], row[ARTWORK_ID], "verdict")


def marks_of(answers: np.ndarray, faults: Sequence[Fault], spec: ExamSpec, who: str) -> Marks:
    """Mark probabilities (N, 2), one a question and order. See `threshold_of`."""
    is_right = np.array([fault is Fault.NONE for fault in faults])
    first = answers[:, 0]
    right, wrong = first[is_right], first[~is_right]
    threshold = threshold_of(right, wrong, spec.false_accepts)
    accepted = answers >= threshold
    by_fault = {fault.value: float(accepted[[one is fault for one in faults], 0].mean()) for fault in dict.fromkeys(faults)}
    numbers = {
        "threshold": threshold,
        "false_accepts": float((wrong >= threshold).mean()),
        "false_refusals": float((right < threshold).mean()),
        "auc": auc(right, wrong),
        "agreement": _kappa(accepted[:, 0], accepted[:, 1]),
        "num_right": len(right),
        "num_wrong": len(wrong),
        "by_fault": by_fault,
    }
    digest = hashlib.sha256(json.dumps([who, numbers, asdict_of(spec)], sort_keys=True).encode()).hexdigest()[:12]
    return Marks(**numbers, digest=digest, is_constant=float(np.ptp(answers)) < _CONSTANT)  # type: ignore[arg-type]


def threshold_of(right: np.ndarray, wrong: np.ndarray, false_accepts: float) -> float:
    """Return where the fewest are judged wrongly, both kinds weighed alike, of the thresholds that accept no more of the wrong ones than
    that: halfway between two answers, the widest gap first."""
    values = np.unique(np.concatenate([right, wrong]))
    candidates = [*((values[1:] + values[:-1]) / 2), np.nextafter(values[-1], np.inf)]
    gaps = [*np.diff(values), 0.0]
    ranked = [
        ((wrong >= at).mean() + (right < at).mean(), -gap, float(at))
        for at, gap in zip(candidates, gaps, strict=True)
        if (wrong >= at).mean() <= false_accepts
    ]
    return min(ranked)[2]


def check(marks: Marks, spec: ExamSpec, name: str) -> None:
    """Raise UserError where the judge did not pass."""
    if marks.is_constant:
        raise UserError(f"{name} gives one verdict whatever it is shown, so it cannot judge: name another model in judge.model.")
    if marks.false_refusals > spec.false_refusals:
        raise UserError(
            f"{name} did not pass the judge's exam: where it accepts {marks.false_accepts:.0%} of wrong descriptions, it refuses "
            f"{marks.false_refusals:.0%} of right ones (AUC {marks.auc:.2f}), and {spec.false_refusals:.0%} are allowed: name another "
            "model in judge.model, or raise exam.false_refusals."
        )


def asdict_of(spec: ExamSpec) -> dict[str, Any]:
    return spec.model_dump(mode="json")


def document_of(marks: Marks) -> dict[str, Any]:
    return asdict(marks)


def auc(right: np.ndarray, wrong: np.ndarray) -> float:
    """Return the chance that a right one has more than a wrong one; equal ones count half."""
    above = (right[:, None] > wrong).sum() + 0.5 * (right[:, None] == wrong).sum()
    return float(above / (len(right) * len(wrong))) if len(right) and len(wrong) else float("nan")


def _kappa(one: np.ndarray, other: np.ndarray) -> float:
    agreed, by_chance = (one == other).mean(), one.mean() * other.mean() + (1 - one.mean()) * (1 - other.mean())
    return float((agreed - by_chance) / (1 - by_chance)) if by_chance < 1 else 1.0
