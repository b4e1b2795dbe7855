"""What is known of one artwork's score: its rows, its history, a second scoring, and what the model looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Look:
    """What counted for the score or for a text: JPEGs of the picture with its patches marked. `text`: what was written, or ''."""

    name: str
    text: str
    attention: bytes
    gradient: bytes


@dataclass(frozen=True)
class Second:
    """The artwork scored once more on this machine. `largest`: the largest difference of the five probabilities; `has_same_texts`: None
    where there were none; `is_same_content`: whether the object is still the one that was scored; None where the store does not say."""

    score: float
    difference: float
    largest: float
    has_same_texts: bool | None
    is_same_content: bool | None
    model_digest: str
    dtype: str


@dataclass(frozen=True)
class Explanation:
    """`row`: the last row of `scores`; `history`: ledger rows, oldest first, each with the `run_id` and `created_at` of its snapshot;
    `picture`: a JPEG of the square that the model sees."""

    artwork_id: str
    output_uri: str
    made_at: datetime
    row: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    second: Second
    picture: bytes
    looks: Sequence[Look]

    @property
    def run_id(self) -> str:
        return str(self.row["run_id"])

    @property
    def started_at(self) -> datetime:
        return self.made_at
