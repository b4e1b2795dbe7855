"""A budget by reservation: before a request its most tokens are set aside, and afterwards what it used takes their place.

What is spent can be read from the store at any moment by whoever goes on after a kill: a mark there is raised before anything beyond it is
granted, so it is never below what was used or is on its way.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass

from artquant.core.schema import RejectClass
from artquant.results import layout
from artquant.storage.store import FetchError, Store

KEY = f"{layout.ROOT}/purse.json"
_STEP = 0.01  # of the budget, by which the mark rises: at the most so much is lost by a kill


@dataclass(frozen=True)
class Spent:
    tokens: int = 0
    money: float = 0.0


@dataclass(frozen=True)
class Limit:
    """None: no limit."""

    tokens: int | None = None
    money: float | None = None


def read_spent(store: Store) -> Spent:
    """Return what was spent for this output until now. Raises FetchError where the store does not say."""
    try:
        return Spent(**json.loads(store.get(KEY)))
    except FetchError as error:
        if error.reject_class is RejectClass.MISSING:
            return Spent()
        raise


class Purse:
    """A :class:`artquant.descriptions.Budget` over a store; may be called from many threads. One at a time writes to an output."""

    def __init__(self, store: Store, limit: Limit):
        self.store, self.limit, self.lock = store, limit, threading.Lock()
        self.mark = read_spent(store)
        self.tokens, self.money = self.mark.tokens, self.mark.money  # used, and set aside
        self.began = self.mark
        self.num_refused = 0

    def reserve(self, tokens: int, money: float) -> bool:
        with self.lock:
            wanted = Spent(self.tokens + tokens, self.money + money)
            if _is_beyond(wanted, self.limit):
                self.num_refused += 1
                return False
            if wanted.tokens > self.mark.tokens or wanted.money > self.mark.money:
                self._raise_mark(wanted)
            self.tokens, self.money = wanted.tokens, wanted.money
            return True

    def settle(self, reserved: tuple[int, float], used: tuple[int, float]) -> None:
        with self.lock:
            self.tokens += used[0] - reserved[0]
            self.money += used[1] - reserved[1]

    def close(self) -> Spent:
        """Write down what was used, when nothing is on its way; return what this run used."""
        with self.lock:
            self._write(Spent(self.tokens, max(0.0, self.money)))
            return Spent(self.tokens - self.began.tokens, self.money - self.began.money)

    def _raise_mark(self, wanted: Spent) -> None:
        tokens = max(wanted.tokens, self.mark.tokens, wanted.tokens + int(_STEP * (self.limit.tokens or 1_000_000)))
        money = max(wanted.money + _STEP * (self.limit.money or 1.0), self.mark.money)
        if self.limit.tokens is not None:
            tokens = min(tokens, self.limit.tokens)
        if self.limit.money is not None:
            money = min(money, self.limit.money)
        self._write(Spent(tokens, money))

    def _write(self, spent: Spent) -> None:
        self.store.put(KEY, json.dumps(vars(spent)).encode())
        self.mark = spent


def _is_beyond(spent: Spent, limit: Limit) -> bool:
    return (limit.tokens is not None and spent.tokens > limit.tokens) or (limit.money is not None and spent.money > limit.money + 1e-12)
