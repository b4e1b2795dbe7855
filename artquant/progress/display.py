"""What a person sees during a long task: a display that runs beside the work, and lines about the items processed."""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from artquant.core.format import duration, rate

T = TypeVar("T")
_EVERY_SECONDS = 5.0


class RemoteMethod(Protocol):
    """A method of a Ray actor."""

    def remote(self, *arguments: Any) -> Any: ...


@contextmanager
def beside(draw: Callable[[threading.Event], None]) -> Iterator[None]:
    """Run `draw` in a thread for the block; it returns soon after its event is set."""
    done = threading.Event()
    thread = threading.Thread(target=draw, args=(done,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(timeout=10)


def watch(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Yield the same items; every five seconds, print a line with how many there were and how long `total` will take."""
    started = printed_at = time.monotonic()
    for number, item in enumerate(items, 1):
        if time.monotonic() - printed_at > _EVERY_SECONDS:
            printed_at = time.monotonic()
            speed = number / (printed_at - started)
            left = f" of {total:,}, {rate(speed)}/s, {duration((total - number) / speed)} left" if total else f", {rate(speed)}/s"
            print(f"{what} {number:,}{left}", file=sys.stderr, flush=True)
        yield item
