"""What a model learns that is to describe artworks with a known score, and to judge whether a description fits: questions and answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from artquant.annotations.pairs import FAULTS, Fault, pair_of
from artquant.core.prompts import IMAGE_PLACEHOLDER
from artquant.core.scale import Scale
from artquant.core.schema import CRITIQUE_PARTS, SCORE
from artquant.prompts import Templates, read_templates
from artquant.prompts.asking import Subject, generator_questions, judge_question
from artquant.training.examples import Example, ExampleBuilder

YES, NO = " yes", " no"
# The commonest fault to tell is that of the picture: it takes looking.
_KINDS = (Fault.OTHER_PICTURE, *FAULTS)
_REASONS = ("it describes another picture", "it sounds better than the score", "it sounds worse than the score", "it contradicts itself")


def add_dialogues(examples: Sequence[list[Example]], builder: ExampleBuilder, rows: Sequence[Mapping[str, Any]], seed: int) -> None:
    """Add to each row's examples those of both parts, in the demonstration model's own words."""
    asked = dialogues(rows, read_templates(None, is_tiny=True), builder.prompts.scale, seed)
    for made, said in zip(examples, asked, strict=True):
        made += [builder.answer(prompt, answer, is_verdict=number > 0) for number, (prompt, answer) in enumerate(said)]


def wrapped(question: str) -> str:
    """Return a question as the demonstration model is asked: in one line, with the picture behind it."""
    return f"USER: {' '.join(question.split())}\n{IMAGE_PLACEHOLDER} ASSISTANT:"


def dialogues(rows: Sequence[Mapping[str, Any]], templates: Templates, scale: Scale, seed: int) -> Iterator[list[tuple[str, str]]]:
    """Yield, for each row, (prompt, answer) of one text with the score given, and of two descriptions to judge, of which one fits; nothing
    for a row without a score or without all three texts. The same seed gives the same."""
    is_whole = [row.get(SCORE) is not None and all(row.get(part) for part in CRITIQUE_PARTS) for row in rows]
    known = [row for row, whole in zip(rows, is_whole, strict=True) if whole]
    place = 0
    for number, whole in enumerate(is_whole):
        if not whole:
            yield []
            continue
        rng = np.random.default_rng((seed, number))
        yield [_told(known[place], number, templates, scale, rng), *_judged(known, place, number, templates, scale, rng)]
        place += 1


def _told(row: Mapping[str, Any], number: int, templates: Templates, scale: Scale, rng: np.random.Generator) -> tuple[str, str]:
    part = CRITIQUE_PARTS[number % len(CRITIQUE_PARTS)]
    reason = _REASONS[int(rng.integers(len(_REASONS)))] if rng.random() < 0.3 else ""
    texts = {name: row[name] for name in CRITIQUE_PARTS}
    return wrapped(generator_questions(templates, Subject(row[SCORE], scale), reason, texts)[part]), f" {row[part].strip()}"


def _judged(
    rows: Sequence[Mapping[str, Any]], place: int, number: int, templates: Templates, scale: Scale, rng: np.random.Generator
) -> Iterator[tuple[str, str]]:
    for fault in (Fault.NONE, _KINDS[number % len(_KINDS)]):
        pair = pair_of(rows, place, fault, scale, rng)
        if pair is None:
            continue
        question = judge_question(templates.judge, Subject(pair.score, scale), pair.texts, is_swapped=rng.random() < 0.5)
        yield wrapped(question), f"{YES}." if fault is Fault.NONE else f"{NO}, {pair.reason}."
