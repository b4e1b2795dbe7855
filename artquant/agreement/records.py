"""The plain records that the evaluation page is drawn from. A figure that could not be computed is nan or None."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from artquant.agreement.evaluation import CalibrationBin, Subgroup
from artquant.agreement.held_out import ErrorInterval, Pit
from artquant.agreement.information import Information
from artquant.agreement.metrics import Interval


@dataclass(frozen=True)
class Theory:
    """Usable information in nats an artwork, of `num` artworks with descriptions: of the model's picture and of people's texts about the
    score, of the texts without level words and numbers, and of the picture about its texts; that one also a token."""

    num: int
    picture: Information
    texts: Information
    masked_texts: Information
    generation: Information
    generation_per_token: Interval


class Miss(NamedTuple):
    artwork_id: str
    human: float
    predicted: float
    thumbnail: bytes | None  # JPEG


@dataclass(frozen=True)
class EvaluationReport:
    """Everything that the page says about one evaluation. Datetimes carry a time zone; `config` holds no secret.

    `human`, `predicted`, `fitted` (predicted, after the logistic fit) and `open_set_mass` have one value per artwork, in the same order.
    """

    run_id: str
    model_id: str
    model_digest: str
    engine: str
    split: str
    started_at: datetime
    finished_at: datetime
    num_artworks: int
    num_rejected: int
    metrics: Mapping[str, Interval]
    human: Sequence[float]
    predicted: Sequence[float]
    fitted: Sequence[float]
    calibration: Sequence[CalibrationBin]
    errors: Sequence[ErrorInterval]  # intervals about a predicted score for people's mean
    pit: Pit | None  # of single ratings; None where they are not known
    spread: Sequence[tuple[float, float]]  # predicted score_std, raters' std, of the artworks where both are known
    open_set_mass: Sequence[float]
    subgroups: Sequence[Subgroup]
    theory: Theory | None
    misses: Sequence[Miss]  # the worst first
    config: Mapping[str, object]

    @property
    def seconds(self) -> float:
        return (self.finished_at - self.started_at).total_seconds()
