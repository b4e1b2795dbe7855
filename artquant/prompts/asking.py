"""From templates to questions: pure, the same for every model, for training and for the exam."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from artquant.core.scale import Scale
from artquant.core.schema import CRITIQUE_PARTS
from artquant.prompts import Template, Templates


@dataclass(frozen=True)
class Statistics:
    """Of a collection's scores: what 6 of 10 means there."""

    scores: tuple[float, ...]  # 101 quantiles
    mean: float
    std: float

    @classmethod
    def of(cls, scores: Sequence[float]) -> Statistics:
        values = np.asarray(scores, np.float64)
        return cls(tuple(np.quantile(values, np.linspace(0, 1, 101)).tolist()), float(values.mean()), float(values.std()))

    def fields(self, score: float) -> dict[str, str]:
        """Return what a template may say of them beside a score."""
        rank = int(np.searchsorted(self.scores, score, side="left"))
        quantiles = {f"q{share}": f"{self.scores[share]:.1f}" for share in (10, 50, 90)}
        return {"mean": f"{self.mean:.1f}", "std": f"{self.std:.1f}", "rank": str(min(rank, 100)), **quantiles}


@dataclass(frozen=True)
class Subject:
    """What is known of an artwork beside its picture. `score` on `scale`."""

    score: float
    scale: Scale = Scale()
    statistics: Statistics | None = None
    comment: str = ""
    language: str = "English"

    def fields(self) -> dict[str, str]:
        return {"score": f"{self.score:.1f}", "low": f"{self.scale.low:g}", "high": f"{self.scale.high:g}"}


def generator_questions(templates: Templates, subject: Subject, reason: str = "", draft: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return part -> question, or 'whole' -> the one question for all three texts as JSON."""
    template, levels = templates.generator, templates.levels
    common = {
        "score": template.fill("score", **subject.fields()),
        "statistics": _statistics(template, subject),
        "comment": template.fill("comment", comment=" ".join(subject.comment.split())) if subject.comment.strip() else "",
        "language": subject.language,
    }

    def again(texts: Mapping[str, str]) -> str:
        return template.fill("again", reason=reason.rstrip("."), draft=described(texts)) if reason else ""

    if "whole" in template.pieces:
        listed = "\n".join(f"{part}:\n{levels.pieces[part]}" for part in CRITIQUE_PARTS)
        return {"whole": template.fill("whole", levels=listed, again=again(draft or {}), **common)}
    return {
        part: template.fill(
            "part",
            part=part,
            aspects=levels.pieces[part].replace("\n", "; "),
            again=again({part: draft[part]} if draft and part in draft else {}),
            **common,
        )
        for part in CRITIQUE_PARTS
    }


def judge_question(template: Template, subject: Subject, texts: Mapping[str, str], is_swapped: bool = False) -> str:
    """Return whether a description fits, as a question; `is_swapped` asks in the other order."""
    piece = "swapped" if is_swapped else "ask"
    return template.fill(piece, description=described(texts), statistics=_statistics(template, subject), **subject.fields())


def described(texts: Mapping[str, str]) -> str:
    """Return the texts as one."""
    return " ".join(texts[part].strip() for part in CRITIQUE_PARTS if texts.get(part))


def _statistics(template: Template, subject: Subject) -> str:
    return template.fill("statistics", **subject.statistics.fields(subject.score)) if subject.statistics else ""
