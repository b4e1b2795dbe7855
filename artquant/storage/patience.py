"""How temporary failures are waited for: a store that is away or overloaded, or leaves a request without an answer."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from artquant.core.schema import RejectClass
from artquant.storage.budget import BUDGET
from artquant.storage.errors import NO_CONNECTION, Changed, classify, is_conflict, store_errors, write_errors
from artquant.storage.requests import CONFLICT, OK, REQUESTS

T = TypeVar("T")
PATIENCE_SECONDS = 120.0
_MAX_WAIT_SECONDS = 5.0
_PROBE_PATIENCE_SECONDS = 8.0
_MEMORY_SECONDS = 60.0  # failures further apart are two outages


class Outage:
    """Since when nothing got through to a store, as all threads of a process that share its clients see it."""

    def __init__(self) -> None:
        self._since = self._last = 0.0

    def failed(self) -> None:
        now = time.monotonic()
        if not self._since or now - self._last > _MEMORY_SECONDS:
            self._since = now
        self._last = now

    def ended(self) -> None:
        self._since = 0.0

    @property
    def seconds(self) -> float:
        since = self._since
        return time.monotonic() - since if since else 0.0


class Exhausted(Exception):
    """The failure did not pass, or is of a kind that does not; the cause is the last attempt's error."""

    def __init__(self, cause: Exception, attempts: int):
        super().__init__(cause, attempts)
        self.cause, self.attempts = cause, attempts


def patiently(
    call: Callable[[int], T],
    outage: Outage,
    *,
    attempts: int = 1,
    patience_seconds: float,
    is_repeatable: bool = True,
    operation: str = "probe",
) -> tuple[T, int]:
    """Return the result of `call(attempt)` and the attempts it took (1, 2, ...). Each is counted under `operation`.

    THROTTLED and TIMEOUT are tried again until both `attempts` and `patience_seconds` are used up, or the store has been away for that
    long; DENIED once (some stores say so under load). Between two tries lie 0 to 0.2 * 2^attempt seconds, at most 5. What is not
    repeatable is tried again only if the store did not take it. Raises Exhausted.
    """
    start, num_denied, attempt = time.monotonic(), 0, 0
    while True:
        attempt += 1
        BUDGET.take()
        try:
            result = call(attempt)
        except store_errors() as error:
            reject_class, message = classify(error)
            REQUESTS.add(operation, CONFLICT if is_conflict(error) else reject_class.value)
            if reject_class is RejectClass.DENIED:
                num_denied += 1
                is_final = num_denied > 1 or not is_repeatable or attempts == 1 and patience_seconds == 0
            elif reject_class in (RejectClass.THROTTLED, RejectClass.TIMEOUT):
                outage.failed()
                if reject_class is RejectClass.THROTTLED:
                    BUDGET.slow_down()
                is_away = 0 < patience_seconds <= outage.seconds
                is_over = attempt >= attempts and time.monotonic() - start >= patience_seconds
                is_taken = not is_repeatable and reject_class is RejectClass.TIMEOUT and message != NO_CONNECTION
                is_final = is_away or is_over or is_taken
            else:
                outage.ended()
                is_final = True
            if is_final:
                raise Exhausted(error, attempt) from error
        else:
            outage.ended()
            REQUESTS.add(operation, OK)
            return result, attempt
        pause = random.uniform(0, min(_MAX_WAIT_SECONDS, 0.2 * 2 ** min(attempt, 10)))  # full jitter: no two come back together
        if reject_class is RejectClass.THROTTLED:
            BUDGET.wait(pause)
        else:
            time.sleep(pause)


def briefly(call: Callable[[], T]) -> T:
    """Return `call()`, after a few more tries where the store is overloaded; that nobody is there is told at once. Raises Exhausted."""

    def attempt_it(attempt: int) -> T:
        try:
            return call()
        except store_errors() as error:
            raise Exhausted(error, attempt) if classify(error)[1] == NO_CONNECTION else error from error

    return patiently(attempt_it, Outage(), patience_seconds=_PROBE_PATIENCE_SECONDS)[0]


class Creator(Protocol):
    def create(self, path: str, data: bytes, attempt: int) -> str: ...
    def get(self, path: str, attempt: int, timeout_seconds: float) -> tuple[bytes, str]: ...


def sure_creation(backend: Creator, path: str, data: bytes) -> Callable[[int], str]:
    """Return a call for `patiently` that creates an object and returns its etag. Raises Changed where it is another's.

    After an attempt without an answer, an object that has these very bytes is this call's own.
    """
    is_open = False

    def create(attempt: int) -> str:
        nonlocal is_open
        try:
            return backend.create(path, data, attempt)
        except write_errors() as error:
            if not is_conflict(error):
                is_open = True
                raise
            if is_open:
                found, etag = backend.get(path, attempt, PATIENCE_SECONDS)
                if found == data:
                    return etag
            raise Changed(path) from error

    return create
