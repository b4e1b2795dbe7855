"""How many requests a process sent to its stores, by operation and outcome."""

from __future__ import annotations

import threading
from collections import Counter

OK, CONFLICT = "ok", "conflict"  # beside the reject classes of what failed


class Requests:
    """Counts for any number of threads; what was drained is not counted again."""

    def __init__(self) -> None:
        self._lock, self._counts = threading.Lock(), Counter[tuple[str, str]]()

    def add(self, operation: str, outcome: str) -> None:
        with self._lock:
            self._counts[operation, outcome] += 1

    def drain(self) -> dict[tuple[str, str], int]:
        """Return the counts since the last call: (operation, outcome) -> requests."""
        with self._lock:
            counts, self._counts = dict(self._counts), Counter()
        return counts


REQUESTS = Requests()  # of this process
