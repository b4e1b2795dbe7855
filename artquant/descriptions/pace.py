"""How fast an endpoint may be asked: requests and tokens a minute, and the pauses that it asks for itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from random import Random

_LONGEST_PAUSE = 120.0


class Pace:
    """Shared by the threads of a process. `wait` returns when a request may go: both rates are kept from the first request on."""

    def __init__(
        self,
        requests_per_minute: float | None,
        tokens_per_minute: float | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ):
        self.seconds_of_one = 60 / requests_per_minute if requests_per_minute else 0.0
        self.seconds_of_token = 60 / tokens_per_minute if tokens_per_minute else 0.0
        self.clock, self.sleep, self.lock = clock, sleep, threading.Lock()
        self.next_at = self.paused_until = clock()
        self.waited = 0.0

    def wait(self, tokens: int) -> None:
        """Return when a request of so many tokens may be sent."""
        with self.lock:
            at = max(self.clock(), self.next_at, self.paused_until)
            self.next_at = at + max(self.seconds_of_one, tokens * self.seconds_of_token)
            seconds = at - self.clock()
            self.waited += max(0.0, seconds)
        if seconds > 0:
            self.sleep(seconds)

    def pause(self, seconds: float) -> None:
        """Let nobody send for so long: the endpoint asked for it."""
        with self.lock:
            self.paused_until = max(self.paused_until, self.clock() + seconds)


def pause_of(retry_after: str | None, attempt: int, random: Random) -> float:
    """Return the seconds before the next attempt (the first is 1): as a Retry-After header says, in seconds or as a date, else full jitter
    below a bound that doubles."""
    if retry_after:
        try:
            return min(_LONGEST_PAUSE, max(0.0, float(retry_after)))
        except ValueError:
            try:
                return min(_LONGEST_PAUSE, max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time()))
            except (ValueError, TypeError):
                pass
    return random.uniform(0, min(30.0, 2.0**attempt / 2))
