"""The plain records that the training page and the shadow page are drawn from. A figure that could not be computed is nan or None."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple

from artquant.agreement.metrics import Interval


class Validation(NamedTuple):
    """How well the model agreed with people on held-out artworks after `step` optimizer steps, and its losses there by task."""

    step: int
    srcc: float | None
    plcc: float | None
    losses: Mapping[str, float]


class LossPoint(NamedTuple):
    step: int
    losses: Mapping[str, float]  # task -> mean loss of the steps since the last point


@dataclass(frozen=True)
class Verdict:
    """The candidate against the model that is used without it, by SRCC on the same held-out artworks.

    `difference` is candidate minus current, `low` to `high` its paired interval of `confidence`.
    """

    candidate: str
    current: str  # a model's name; artquant-tiny where no model was current
    candidate_value: float
    current_value: float
    difference: float
    low: float
    high: float
    margin: float
    promoted: bool
    why: str  # a sentence
    shadow_uri: str
    look: int = 1  # which comparison on this test set it was
    confidence: float = 0.95  # of the interval: higher with each look
    detectable: float | None = None  # the difference that this test set shows four times of five


@dataclass(frozen=True)
class TrainingReport:
    """Everything that the page says about one training run. Datetimes carry a time zone; `config` holds no secret."""

    run_id: str
    status: Literal["trained", "failed"]
    started_at: datetime
    finished_at: datetime
    model_id: str | None
    model_uri: str | None
    parent: str | None  # the model that training went on from
    num_train: int
    num_validation: int
    num_test: int
    rejected: Mapping[str, int]  # reason -> annotation rows
    reject_examples: Sequence[tuple[str, int, str]]  # file, row (1-based), reason
    num_clamped: int  # artworks whose score lay beyond the levels' values
    num_vanished: int  # annotated artworks that were not among the pictures
    num_steps: int
    num_epochs: float
    examples_per_second: float
    curve: Sequence[LossPoint]
    validations: Sequence[Validation]
    test: Mapping[str, Interval]  # metric -> its 95 % interval
    verdict: Verdict | None
    config: Mapping[str, object]
    message: str | None = None  # why the run failed
    lessons: Mapping[str, int] = field(default_factory=dict)  # kind -> how many there were to learn
    num_seen: int = 0  # held-out artworks that nothing was judged on: the parent or the current model has seen them

    @property
    def num_rejected(self) -> int:
        return sum(self.rejected.values())

    @property
    def seconds(self) -> float:
        return (self.finished_at - self.started_at).total_seconds()


class Flip(NamedTuple):
    """An artwork that the two models score far apart."""

    artwork_id: str
    human: float
    candidate: float
    current: float
    thumbnail: bytes | None  # JPEG


@dataclass(frozen=True)
class ShadowReport:
    """Both models on the same N held-out artworks: three scores for each, in the same order."""

    run_id: str
    candidate: str
    current: str
    num_artworks: int
    human: Sequence[float]
    candidate_scores: Sequence[float]
    current_scores: Sequence[float]
    rank_correlation: float  # between the two models' scores
    verdict: Verdict
    flips: Sequence[Flip]  # the largest first
