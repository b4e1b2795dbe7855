"""How many requests a second a process may send: what a store that says "slow down" is given less of, and then slowly more again.

Additive increase, multiplicative decrease: processes that share a store and hear the same answers come to the same rate without a word to
each other. The limit of a whole run is divided among its processes when they start, so that together they never exceed it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_RECOVERY_SECONDS = 30.0  # without a complaint, until what the first halving took is back
_PAUSE_SECONDS = 1.0  # complaints closer together are about the same burst
_LEAST_RATE = 0.2  # requests a second
_BURST_SECONDS = 0.1  # that a process may be ahead of its rate


class Budget:
    """The requests of one process, from any number of its threads. Without a limit nothing is held back until the store complains."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep):
        self._clock, self._sleep, self._lock = clock, sleep, threading.Lock()
        self._limit: float | None = None
        self._rate: float | None = None  # None: as fast as it goes
        self._step = 0.0  # requests a second that each second adds: fixed by the first complaint, so that equals stay equal
        self._next = self._raised_at = 0.0
        self._complained_at: float | None = None
        self._counted_since, self._num_counted = clock(), 0
        self._throttled_seconds = 0.0

    @property
    def rate(self) -> float | None:
        """Requests a second that are allowed now; None where nothing is held back."""
        with self._lock:
            self._raise()
            return self._rate

    def limit(self, requests_per_second: float | None) -> None:
        """Never allow more than this from now on; None: no limit."""
        with self._lock:
            self._limit = requests_per_second
            if self._complained_at is None or (requests_per_second and self._rate and self._rate > requests_per_second):
                self._rate = requests_per_second

    def take(self) -> None:
        """Wait until one more request may be sent."""
        with self._lock:
            now = self._raise()
            self._num_counted += 1
            if now - self._counted_since > 10 * _PAUSE_SECONDS:  # the rate of the last seconds is what counts
                self._counted_since, self._num_counted = now - _PAUSE_SECONDS, max(1, round(self._measured(now)))
            if self._rate is None:
                return
            self._next = max(self._next, now - _BURST_SECONDS)
            pause = self._next - now
            self._next += 1 / self._rate
        self.wait(pause)

    def slow_down(self) -> None:
        """Halve the rate: the store has just complained. Of several complaints about one burst the first counts."""
        with self._lock:
            now = self._raise()
            if self._complained_at is not None and now - self._complained_at < _PAUSE_SECONDS:
                return
            rate = self._measured(now) if self._rate is None else self._rate
            self._rate = max(_LEAST_RATE, rate / 2)
            self._step = self._step or max(_LEAST_RATE, rate - self._rate) / _RECOVERY_SECONDS
            self._complained_at = self._raised_at = now

    def wait(self, seconds: float) -> None:
        """Wait for the store's sake, and count it."""
        if seconds <= 0:
            return
        with self._lock:
            self._throttled_seconds += seconds
        self._sleep(seconds)

    def drain(self) -> float:
        """Return the seconds that threads waited since the last call, summed over them."""
        with self._lock:
            seconds, self._throttled_seconds = self._throttled_seconds, 0.0
        return seconds

    def _raise(self) -> float:
        now = self._clock()
        if self._rate is not None and self._complained_at is not None:
            self._rate += self._step * (now - self._raised_at)
            self._raised_at = now
            if self._limit is not None:
                self._rate = min(self._rate, self._limit)
        return now

    def _measured(self, now: float) -> float:
        return self._num_counted / max(_PAUSE_SECONDS, now - self._counted_since)


BUDGET = Budget()  # of this process
