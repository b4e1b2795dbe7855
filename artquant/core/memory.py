"""How a worker's process keeps its memory."""

import ctypes
import resource
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # malloc.h


def peak_bytes() -> int:
    """Return the most memory that this process ever held at a time (resident)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10  # Linux counts KiB


def keep_freed_memory() -> None:
    """Tell glibc's allocator to keep large blocks for the next batch: memory given back to the system is faulted in anew, page by page.

    This saves a sixth of the time of a forward pass on small machines. All threads share one arena, since memory of other arenas is given
    back regardless; threads that already have one keep it. Other C libraries are left as they are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_M_ARENA_MAX, 1)


class ByteBudget:
    """Bytes that the threads of a process may hold together. Requests are served in order, so a large share waits, but not for ever;
    one that is larger than the budget gets all of it."""

    def __init__(self, num_bytes: int):
        self.num_bytes = self.free = num_bytes
        self._changed = threading.Condition()
        self._line: deque[object] = deque()

    @contextmanager
    def holding(self, num_bytes: int) -> Iterator[None]:
        share, ticket = min(num_bytes, self.num_bytes), object()
        with self._changed:
            self._line.append(ticket)
            self._changed.wait_for(lambda: self._line[0] is ticket and self.free >= share)
            self._line.popleft()
            self.free -= share
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self.free += share
                self._changed.notify_all()


@cache
def decode_budget(megabytes: int) -> ByteBudget:
    """Return the process's budget for decoding."""
    return ByteBudget(megabytes << 20)
