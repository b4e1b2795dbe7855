"""The plain records that the page is drawn from: no behaviour beyond sums, no import beyond the schema and the measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal, NamedTuple

from artquant.agreement.drift import Check

GROUPS = ("best", "middling", "worst", "most uncertain")  # the gallery's rooms, in the order in which they are shown
THUMBNAIL_SIZE = 256  # pixels of the long side: 33 pictures of pure noise, the worst there is, leave the page below 1.5 MB


@dataclass(frozen=True)
class Artwork:
    """One scored artwork, as its row in `scores` has it, with a picture where one was made."""

    artwork_id: str
    uri: str
    width: int
    height: int
    score: float
    score_std: float
    level: str
    probabilities: tuple[float, ...]  # five, best level first
    open_set_mass: float
    entropy: float
    needs_review: bool
    domain_distance: float | None = None
    perception: str | None = None
    cognition: str | None = None
    emotion: str | None = None
    thumbnail: bytes | None = None  # JPEG


class RejectExample(NamedTuple):
    artwork_id: str
    reject_class: str
    message: str


class StageTime(NamedTuple):
    name: str
    seconds: float
    num_rows: int
    rows_per_second: float
    throttled_seconds: float = 0.0  # of waiting for an overloaded store, summed over the threads
    num_shrunk: int = 0  # how often a worker made its batches smaller, for want of memory


class OutputFile(NamedTuple):
    path: str
    num_rows: int
    num_bytes: int


@dataclass(frozen=True)
class Findings:
    """What the rows say, whoever counted them: the result of `artquant.results.summary.Summary`."""

    level_values: tuple[float, ...]  # five, best level first
    num_scored: int
    num_rejected: int
    num_needs_review: int
    mean_score: float | None  # None where nothing was scored
    score_spread: float | None  # the scores' standard deviation about their mean
    histogram_edges: tuple[float, ...]  # B + 1, ascending
    histogram: Mapping[str, tuple[int, ...]]  # level -> B counts; a bin holds its lower edge, the last bin both
    critiques_by_status: Mapping[str, int]  # the most frequent first
    rejects_by_class: Mapping[str, int]
    reject_examples: Sequence[RejectExample]
    gallery: Mapping[str, Sequence[Artwork]]  # by GROUPS

    @property
    def level_counts(self) -> dict[str, int]:
        return {level: sum(counts) for level, counts in self.histogram.items()}


@dataclass(frozen=True)
class RunReport:
    """Everything that the page says about one run. Datetimes carry a time zone; `config` is the spec, which holds no secret."""

    run_id: str
    run_date: date
    status: Literal["published", "held", "failed"]
    started_at: datetime
    finished_at: datetime
    input_uri: str
    output_uri: str
    model_id: str
    model_digest: str
    prompt_digest: str
    engine: str  # "torch on cpu, float32"
    num_planned: int
    num_scored: int
    num_rejected: int
    num_reused: int
    reasons: Mapping[str, int]  # why artworks were due -> how many
    images_per_second: float
    stages: Sequence[StageTime]
    files: Sequence[OutputFile]
    config: Mapping[str, object]
    findings: Findings
    message: str | None = None  # why the run failed, or is held
    checks: Sequence[Check] = ()  # how it compares with the last run
    notice: str | None = None  # what a reader must know before believing a score
    is_model_checked: bool | None = None  # whether engines scored the model's golden set; None: unknown, none was opened to the end
    num_queued: int = 0  # due, and left for another run
    throttled_seconds: float = 0.0  # of all stages, and of planning and publishing

    @property
    def num_accounted(self) -> int:
        return self.num_scored + self.num_rejected

    @property
    def seconds(self) -> float:
        return (self.finished_at - self.started_at).total_seconds()
