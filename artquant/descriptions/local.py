"""A checkpoint in this process as a player: mPLUG-Owl2 or a chat model, on torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isnan

import numpy as np

from artquant.config import PlayerSpec
from artquant.core.errors import Reject, UserError
from artquant.core.prompts import IMAGE_PLACEHOLDER
from artquant.core.schema import RejectClass
from artquant.descriptions import Answer, Budget, Request
from artquant.engines.answering import open_answering
from artquant.model.checkpoint import Checkpoint

_BEGINNING = '{"agrees": "'  # of a verdict as JSON: what follows is yes or no, and its probability can be read
_BATCH = 16
_MIN_TEMPERATURE = 0.5  # of later rounds: the same question must get another answer


def prompt_of(request: Request) -> str:
    """Return the question in the form that checkpoints are asked in, with the beginning of an answer as JSON where that is wanted."""
    begun = f" {_BEGINNING}" if _begins(request) else ""
    return f"USER: {' '.join(request.question.split())}\n{IMAGE_PLACEHOLDER} ASSISTANT:{begun}"


def _begins(request: Request) -> bool:
    return request.form == "verdict" and '"agrees"' in request.question


class LocalPlayer:
    """A :class:`artquant.descriptions.Player`."""

    def __init__(self, spec: PlayerSpec, checkpoint: Checkpoint, device: str, dtype: str):
        self.spec, self.digest = spec, checkpoint.model_digest
        self.engine = open_answering(checkpoint, device, dtype)
        self.image_size = self.engine.image_size
        # The network's own: longer answers than it learnt only loop.
        self.max_tokens = min(spec.max_tokens, checkpoint.prompts.max_critique_tokens)

    def ask(self, requests: Sequence[Request], budget: Budget, keep: Callable[[Request, Answer], None]) -> list[Answer | Reject]:
        """Answer batches of one form and one temperature."""
        answers: dict[int, Answer | Reject] = {}
        groups: dict[tuple[bool, float], list[int]] = {}
        for number, request in enumerate(requests):
            warm = max(self.spec.temperature, _MIN_TEMPERATURE) if request.seed else self.spec.temperature
            groups.setdefault((_begins(request), 0.0 if request.form == "verdict" else warm), []).append(number)
        for (_, temperature), numbers in groups.items():
            for start in range(0, len(numbers), _BATCH):
                self._batch(requests, numbers[start : start + _BATCH], temperature, budget, keep, answers)
        return [answers[number] for number in range(len(requests))]

    def _batch(
        self,
        requests: Sequence[Request],
        numbers: Sequence[int],
        temperature: float,
        budget: Budget,
        keep: Callable[[Request, Answer], None],
        answers: dict[int, Answer | Reject],
    ) -> None:
        reserved = {number: self._reservation(requests[number]) for number in numbers}
        granted = [number for number in numbers if budget.reserve(*reserved[number])]
        for number in set(numbers) - set(granted):
            answers[number] = Reject(RejectClass.BUDGET, "the budget does not suffice for the next request")
        if not granted:
            return
        asked = [requests[number] for number in granted]
        pixels = np.stack([request.pixels for request in asked])
        seeds = [request.seed for request in asked]
        written = self.engine.answer([prompt_of(request) for request in asked], pixels, self.max_tokens, temperature, seeds)
        for number, request, one in zip(granted, asked, written, strict=True):
            begun = _BEGINNING if _begins(request) else ""
            share = one.probability if request.form == "verdict" else None
            if share is not None and isnan(share):
                raise UserError("The judge's tokenizer begins yes and no alike, so it cannot judge: name another model in judge.model.")
            answer = Answer(begun + one.text, one.num_prompt_tokens, one.num_tokens, one.is_cut_off, probability=share)
            budget.settle(reserved[number], (answer.input_tokens + answer.output_tokens, self._price(answer)))
            keep(request, answer)
            answers[number] = answer

    def _reservation(self, request: Request) -> tuple[int, float]:
        asked = len(request.question.encode()) + self.spec.picture_tokens
        return asked + self.max_tokens, (asked * self.spec.input_price + self.max_tokens * self.spec.output_price) / 1e6

    def _price(self, answer: Answer) -> float:
        return (answer.input_tokens * self.spec.input_price + answer.output_tokens * self.spec.output_price) / 1e6
