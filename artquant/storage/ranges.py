"""An object as a file that is read by ranges."""

import io
from collections.abc import Callable
from typing import Any


class Ranges(io.RawIOBase):
    """A seekable view of one object of `size_bytes`; every read is one ranged request by `read_range(start, length)`."""

    def __init__(self, read_range: Callable[[int, int], bytes], size_bytes: int):
        self._read_range = read_range
        self._size_bytes = size_bytes
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size_bytes}[whence])
        return self._position

    def readinto(self, buffer: Any) -> int:
        length = min(len(buffer), self._size_bytes - self._position)
        if length <= 0:
            return 0
        buffer[:length] = self._read_range(self._position, length)
        self._position += length
        return length
