"""Any OpenAI-compatible endpoint as a player, by the official client: its retries are ours, because each attempt may cost."""

from __future__ import annotations

import base64
import hashlib
import math
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import openai

from artquant.config import PlayerSpec
from artquant.core.errors import Reject, UserError
from artquant.core.schema import RejectClass
from artquant.descriptions import Answer, Budget, Request
from artquant.descriptions.pace import Pace, pause_of
from artquant.descriptions.parsing import TEXTS_SCHEMA, VERDICT_SCHEMA

_SCHEMAS: Mapping[str, dict[str, Any]] = {"texts": TEXTS_SCHEMA, "verdict": VERDICT_SCHEMA}
_YES, _NO = frozenset({"yes", "true"}), frozenset({"no", "false"})
_FRAME_TOKENS = 64  # of the chat's own marks around a question
_MIN_TEMPERATURE = 0.5  # of later rounds: the same question must get another answer
_PASSES = (openai.RateLimitError, openai.APIConnectionError, openai.InternalServerError, openai.ConflictError)


def is_external(base_url: str) -> bool:
    """Whether requests leave this machine."""
    return urlsplit(base_url).hostname not in ("localhost", "127.0.0.1", "::1")


def endpoint_digest(base_url: str, model: str) -> str:
    return hashlib.sha256(f"{base_url.rstrip('/')} {model}".encode()).hexdigest()[:16]


def reservation(request: Request, spec: PlayerSpec) -> tuple[int, float]:
    """(tokens, money) that a request takes at the most: no tokenizer makes more tokens than bytes."""
    asked = len(request.question.encode()) + spec.picture_tokens + _FRAME_TOKENS
    return asked + spec.max_tokens, (asked * spec.input_price + spec.max_tokens * spec.output_price) / 1e6


class Endpoint:
    """A :class:`artquant.descriptions.Player`. `share`: this process's part of the rates.

    Raises UserError where no key is set, and from `ask` where the endpoint refuses the key or the model.
    """

    def __init__(self, spec: PlayerSpec, image_size: int, share: float = 1.0):
        assert spec.base_url and spec.model
        key = os.environ.get(spec.environment_variable)
        if not key and is_external(spec.base_url):
            raise UserError(
                f"There is no key for {spec.base_url}: set {spec.environment_variable}, or name its variable in environment_variable."
            )
        self.spec, self.image_size = spec, image_size
        self.digest = endpoint_digest(spec.base_url, spec.model)
        self.client = openai.OpenAI(base_url=spec.base_url, api_key=key or "none", timeout=spec.timeout_seconds, max_retries=0)
        requests, tokens = (rate * share if rate else None for rate in (spec.requests_per_minute, spec.tokens_per_minute))
        self.pace = Pace(requests, tokens)
        self.pool = ThreadPoolExecutor(spec.concurrency)
        self.random = Random()
        self.has_schemas = self.has_logprobs = True

    def ask(self, requests: Sequence[Request], budget: Budget, keep: Callable[[Request, Answer], None]) -> list[Answer | Reject]:
        return list(self.pool.map(lambda request: self._ask(request, budget, keep), requests))

    def _ask(self, request: Request, budget: Budget, keep: Callable[[Request, Answer], None]) -> Answer | Reject:
        reserved, why = reservation(request, self.spec), ""
        for attempt in range(1, self.spec.attempts + 1):
            self.pace.wait(reserved[0])
            if not budget.reserve(*reserved):
                return Reject(RejectClass.BUDGET, "the budget does not suffice for the next request")
            used = reserved  # of an attempt whose answer did not come: it may have been computed
            try:
                answer = self._send(request)
                used = answer.input_tokens, self._cost(answer)
                used = (answer.input_tokens + answer.output_tokens, used[1])
                keep(request, answer)
                return answer
            except _PASSES as error:
                why = _why(error)
                response = getattr(error, "response", None)
                if response is not None:
                    used = (0, 0.0)
                pause = pause_of(response.headers.get("retry-after") if response is not None else None, attempt, self.random)
                if attempt < self.spec.attempts:
                    self.pace.pause(pause)
            except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
                used = (0, 0.0)
                raise UserError(
                    f"{self.spec.base_url} refuses {self.spec.model}: {_why(error)}. Check the key, base_url and model."
                ) from error
            except openai.APIStatusError as error:
                used = (0, 0.0)
                if self._asks_too_much(str(error)):
                    continue
                return Reject(RejectClass.REFUSED, _why(error))
            except (openai.APIError, ValueError) as error:  # an answer that is no answer
                why = _why(error)
            finally:
                budget.settle(reserved, used)
        return Reject(RejectClass.UNANSWERED, f"{self.spec.attempts} attempts: {why}")

    def _asks_too_much(self, why: str) -> bool:
        """Do without what this server does not know; True where something was left out."""
        if self.has_logprobs and "logprobs" in why:
            self.has_logprobs = False
            return True
        if self.has_schemas and any(name in why for name in ("response_format", "json_schema", "schema")):
            self.has_schemas = False
            return True
        return False

    def _send(self, request: Request) -> Answer:
        options: dict[str, Any] = {}
        if self.has_schemas and request.form in _SCHEMAS:
            schema = {"name": request.form, "schema": _SCHEMAS[request.form], "strict": True}
            options["response_format"] = {"type": "json_schema", "json_schema": schema}
        if self.has_logprobs and request.form == "verdict":
            options |= {"logprobs": True, "top_logprobs": 5}
        temperature = max(self.spec.temperature, _MIN_TEMPERATURE) if request.seed and request.form != "verdict" else self.spec.temperature
        content = [
            {"type": "text", "text": request.question},
            {"type": "image_url", "image_url": {"url": data_url(request.pixels)}},
        ]
        completion = self.client.chat.completions.create(
            model=str(self.spec.model),
            messages=[{"role": "user", "content": content}],  # type: ignore[list-item,misc]
            max_tokens=self.spec.max_tokens,
            temperature=temperature,
            seed=request.seed,
            **options,
        )
        if not completion.choices:
            raise ValueError("the answer has no choices")
        choice, usage = completion.choices[0], completion.usage
        refusal = getattr(choice.message, "refusal", None)
        text = choice.message.content or refusal or ""
        tokens = reservation(request, self.spec)[0]
        return Answer(
            text,
            usage.prompt_tokens if usage else tokens - self.spec.max_tokens,
            usage.completion_tokens if usage else self.spec.max_tokens,
            is_cut_off=choice.finish_reason == "length",
            is_refused=bool(refusal) or choice.finish_reason == "content_filter",
            probability=probability_of(choice.logprobs.content if choice.logprobs else None) if request.form == "verdict" else None,
        )

    def _cost(self, answer: Answer) -> float:
        return (answer.input_tokens * self.spec.input_price + answer.output_tokens * self.spec.output_price) / 1e6


def probability_of(tokens: Sequence[Any] | None) -> float | None:
    """Return p(yes) / (p(yes) + p(no)) at the first token that is one of them, from the likeliest tokens there."""
    for token in tokens or ():
        if _word(token.token) in _YES | _NO:
            seen = {True: 0.0, False: 0.0}
            for other in token.top_logprobs or [token]:
                if (word := _word(other.token)) in _YES | _NO:
                    seen[word in _YES] += math.exp(other.logprob)
            return seen[True] / (seen[True] + seen[False]) if any(seen.values()) else None
    return None


def _word(token: str) -> str:
    return token.strip().strip("\"'.,").lower()


def data_url(pixels: np.ndarray) -> str:
    """Return pixels (S, S, 3) uint8 as a JPEG of nothing but themselves: what the file said beside them stays here."""
    import simplejpeg

    data = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=90, colorspace="RGB")
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"


def _why(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300].rstrip(".")
