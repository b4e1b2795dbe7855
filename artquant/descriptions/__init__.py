"""Generators and judges: what they are asked and what they answer. The models themselves are imported where they are used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from artquant.core.errors import Reject

Form = Literal["text", "texts", "verdict"]


@dataclass(frozen=True)
class Request:
    """A question about a picture. `pixels` (S, S, 3) uint8; `content` says by which bytes they are known; `form`: what is wanted, one text,
    the three as JSON, or a verdict; `seed`: another one asks for another answer."""

    artwork_id: str
    question: str
    pixels: np.ndarray
    content: str
    form: Form
    seed: int = 0


@dataclass(frozen=True)
class Answer:
    """`probability`: of yes against no, where the model gives it; tokens as the model counts them."""

    text: str
    input_tokens: int
    output_tokens: int
    is_cut_off: bool = False
    is_refused: bool = False
    probability: float | None = None


class Budget(Protocol):
    """What a request may spend, asked before it is sent."""

    def reserve(self, tokens: int, money: float) -> bool:
        """Set so much aside; False where it would pass what may be spent."""
        ...

    def settle(self, reserved: tuple[int, float], used: tuple[int, float]) -> None:
        """Put what was used in the place of what was set aside."""
        ...


class Player(Protocol):
    """A model that answers. Called by one thread."""

    digest: str  # of the weights, or of the endpoint and its model's name
    image_size: int

    def ask(self, requests: Sequence[Request], budget: Budget, keep: Callable[[Request, Answer], None]) -> list[Answer | Reject]:
        """Answer each, or say why not: UNANSWERED, BUDGET. `keep` gets an answer as soon as it is there, on any thread."""
        ...
