"""Answers that are kept: the same request to the same model costs nothing again, and another model never gets it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field

from artquant.core.errors import Reject, UserError
from artquant.core.schema import RejectClass
from artquant.descriptions import Answer, Budget, Player, Request
from artquant.results import layout
from artquant.storage.store import FetchError, Store

_THREADS = 16


@dataclass(frozen=True)
class Decoding:
    """How answers are drawn."""

    max_tokens: int
    temperature: float
    picture_size: int


def answer_key(request: Request, model_digest: str, decoding: Decoding, template_digest: str) -> str:
    """Return where the answer lies: below a folder for its artwork."""
    asked = [request.question, request.content, request.form, request.seed, model_digest, asdict(decoding), template_digest]
    key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:40]
    return f"{layout.answers_prefix(request.artwork_id)}/{key}.json"


@dataclass
class Asker:
    """A player with its cache and its share of the budget. `input_price`, `output_price`: of a million tokens."""

    player: Player
    store: Store
    budget: Budget
    decoding: Decoding
    template_digest: str
    input_price: float = 0.0
    output_price: float = 0.0
    num_cached: int = 0
    num_asked: int = 0
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(_THREADS))

    def cost_of(self, answer: Answer) -> float:
        return (answer.input_tokens * self.input_price + answer.output_tokens * self.output_price) / 1e6

    def ask(self, requests: Sequence[Request]) -> list[Answer | Reject]:
        """Answer each from the cache, or by the player; what is answered is kept before this returns."""
        keys = [answer_key(request, self.player.digest, self.decoding, self.template_digest) for request in requests]
        kept = list(self.pool.map(self._read, keys))
        lacking = list({key: number for number, (key, answer) in enumerate(zip(keys, kept, strict=True)) if answer is None}.values())
        places = {id(requests[number]): keys[number] for number in lacking}

        def keep(request: Request, answer: Answer) -> None:
            self.store.put(places[id(request)], json.dumps(asdict(answer)).encode())

        fresh = self.player.ask([requests[number] for number in lacking], self.budget, keep) if lacking else []
        answers: dict[str, Answer | Reject] = {key: answer for key, answer in zip(keys, kept, strict=True) if answer is not None}
        self.num_cached += len(answers)
        self.num_asked += len(lacking)
        answers |= {keys[number]: answer for number, answer in zip(lacking, fresh, strict=True)}
        return [answers[key] for key in keys]

    def _read(self, key: str) -> Answer | None:
        try:
            return Answer(**json.loads(self.store.get(key)))
        except FetchError as error:
            if error.reject_class is RejectClass.MISSING:
                return None
            raise UserError(f"The answers below {self.store.uri} cannot be read: {error.message}.") from error
        except (ValueError, TypeError):  # half an object of a store that broke off: it is asked again
            return None
