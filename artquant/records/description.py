"""What the page of a describe run is drawn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from artquant.agreement.drift import Check
from artquant.agreement.metrics import Interval


@dataclass(frozen=True)
class Shown:
    """An artwork with its description: what was refused on the way, and what was kept, if anything."""

    artwork_id: str
    level: str
    score: float
    thumbnail: bytes | None
    texts: Mapping[str, str]
    refused: Sequence[tuple[Mapping[str, str], str]] = ()  # the texts of a round, and what the judge objected to
    set_aside: str = ""  # the class
    probability: float | None = None


@dataclass(frozen=True)
class RoundMark:
    """What a reader of words alone makes of the texts as they were after a round: SRCC with people's scores, all words and masked."""

    round: int
    num_agreed: int
    num: int
    plain: Interval | None
    masked: Interval | None


@dataclass(frozen=True)
class LevelBias:
    """The score that a reader takes the texts for, minus people's, in one level."""

    level: str
    num: int
    bias: Interval


@dataclass(frozen=True)
class LevelClaims:
    """The share of sentences, in one level, that the judge does not find in the picture."""

    level: str
    num: int
    unsupported: Interval


@dataclass(frozen=True)
class ClaimMarks:
    """How a judge tells a painting's own sentences from those of another, and what it says of a run's; `levels` is empty where it cannot
    tell."""

    auc: float
    false_accepts: float
    false_refusals: float
    levels: Sequence[LevelClaims] = ()


@dataclass(frozen=True, kw_only=True)
class DescriptionReport:
    """A run. `exam`: the judge's marks by name; `is_one_family`: generator and judge; `aside`: class -> (count, first messages)."""

    run_id: str
    status: str
    started_at: datetime
    finished_at: datetime
    generator: str
    judge: str
    is_one_family: bool
    template_digest: str
    num_planned: int
    num_kept: int
    num_set_aside: int
    num_reused: int
    by_round: Mapping[int, int]
    aside: Mapping[str, tuple[int, Sequence[str]]]
    exam: Mapping[str, float]
    accepted_by_fault: Mapping[str, float]
    tokens: int
    money: float
    tokens_in_all: int
    money_in_all: float
    rounds: Sequence[RoundMark] = ()
    rounds_note: str = ""  # why there were no more
    bias: Sequence[LevelBias] = ()
    claims: ClaimMarks | None = None
    diversity: Mapping[str, float] = field(default_factory=dict)
    checks: Sequence[Check] = ()
    shown: Sequence[Shown] = ()
    message: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def diversity_figures(self) -> list[tuple[str, str]]:
        names = {
            "distinct_1": "different words",
            "distinct_2": "different pairs",
            "openings": "ten openings",
            "duplicates": "near-duplicates",
        }
        return [(name, f"{100 * self.diversity[key]:.0f} %") for key, name in names.items() if key in self.diversity]

    @property
    def seconds(self) -> float:
        return (self.finished_at - self.started_at).total_seconds()
