"""Any model that vLLM can run as a player in this process."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from artquant.config import PlayerSpec
from artquant.core.errors import Reject
from artquant.core.schema import RejectClass
from artquant.descriptions import Answer, Budget, Request
from artquant.descriptions.endpoint import data_url, reservation
from artquant.descriptions.parsing import TEXTS_SCHEMA, VERDICT_SCHEMA

_SCHEMAS = {"texts": TEXTS_SCHEMA, "verdict": VERDICT_SCHEMA}
_MIN_TEMPERATURE = 0.5  # of later rounds: the same question must get another answer
_YES, _NO = frozenset({"yes", "true"}), frozenset({"no", "false"})


class VllmPlayer:
    """A :class:`artquant.descriptions.Player`: vLLM makes its own batches of what it is given."""

    def __init__(self, spec: PlayerSpec, image_size: int, digest: str):
        from vllm import LLM

        self.spec, self.image_size, self.digest = spec, image_size, digest
        self.model: Any = LLM(model=str(spec.model), limit_mm_per_prompt={"image": 1})

    def ask(self, requests: Sequence[Request], budget: Budget, keep: Callable[[Request, Answer], None]) -> list[Answer | Reject]:
        reserved = [reservation(request, self.spec) for request in requests]
        granted = [budget.reserve(*each) for each in reserved]
        asked = [request for request, is_granted in zip(requests, granted, strict=True) if is_granted]
        written = iter(self.model.chat([_messages(one) for one in asked], [self._decoding(one) for one in asked], use_tqdm=False))
        answers: list[Answer | Reject] = []
        for request, is_granted, held in zip(requests, granted, reserved, strict=True):
            if not is_granted:
                answers.append(Reject(RejectClass.BUDGET, "the budget does not suffice for the next request"))
                continue
            made = next(written)
            output = made.outputs[0]
            share = _share(output.logprobs) if request.form == "verdict" else None
            is_cut = output.finish_reason == "length"
            answer = Answer(output.text, len(made.prompt_token_ids), len(output.token_ids), is_cut, probability=share)
            price = (answer.input_tokens * self.spec.input_price + answer.output_tokens * self.spec.output_price) / 1e6
            budget.settle(held, (answer.input_tokens + answer.output_tokens, price))
            keep(request, answer)
            answers.append(answer)
        return answers

    def _decoding(self, request: Request) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import StructuredOutputsParams

        is_verdict = request.form == "verdict"
        warm = max(self.spec.temperature, _MIN_TEMPERATURE) if request.seed else self.spec.temperature
        schema = _SCHEMAS.get(request.form)
        return SamplingParams(
            max_tokens=self.spec.max_tokens,
            temperature=0.0 if is_verdict else warm,
            seed=request.seed,
            logprobs=5 if is_verdict else None,
            structured_outputs=StructuredOutputsParams(json=schema) if schema else None,
        )


def _messages(request: Request) -> list[dict[str, Any]]:
    picture = {"type": "image_url", "image_url": {"url": data_url(request.pixels)}}
    return [{"role": "user", "content": [{"type": "text", "text": request.question}, picture]}]


def _share(places: Sequence[Any] | None) -> float | None:
    """Return p(yes) / (p(yes) + p(no)) at the first place where one of them is likeliest."""
    for place in places or ():
        words = [(one.decoded_token.strip().strip("\"'.,").lower(), one.logprob) for one in place.values() if one.decoded_token]
        if words and max(words, key=lambda each: each[1])[0] in _YES | _NO:
            yes = sum(math.exp(logprob) for word, logprob in words if word in _YES)
            no = sum(math.exp(logprob) for word, logprob in words if word in _NO)
            return yes / (yes + no)
    return None
