"""What a command says, as text for people or as JSON lines for machines, each with the run's id.

As JSON, whatever any library prints becomes a line too: a collector that parses the output meets nothing else.
"""

from __future__ import annotations

import io
import json
import os
import socket
import sys
import threading
from datetime import UTC, datetime
from typing import Any, TextIO

_LOCK = threading.Lock()
_fields: dict[str, Any] = {}
_plain: tuple[TextIO, TextIO] | None = None  # stdout and stderr before they were JSON


class _Lines(io.TextIOBase):
    """Turns each line that is written into a record."""

    def __init__(self, out: TextIO):
        self._out, self._rest = out, threading.local()

    def write(self, text: str) -> int:
        *lines, rest = (getattr(self._rest, "text", "") + text).split("\n")
        self._rest.text = rest.rpartition("\r")[2]  # a line that is drawn again and again: its last state
        for line in lines:
            if line.strip():
                _record(self._out, "said", "info", {"message": line.rpartition("\r")[2].rstrip()})
        return len(text)

    def flush(self) -> None:
        self._out.flush()

    def fileno(self) -> int:
        return self._out.fileno()

    def isatty(self) -> bool:
        return False


def is_json() -> bool:
    return _plain is not None


def as_json(**fields: Any) -> None:
    """Write all that this process says as JSON lines from now on; `fields` are in each."""
    global _plain
    if _plain is None:
        _plain = sys.stdout, sys.stderr
        _fields.clear()
        sys.stdout, sys.stderr = _Lines(sys.stdout), _Lines(sys.stderr)
    add_fields(host=socket.gethostname(), pid=os.getpid(), **fields)


def as_text() -> None:
    """Undo `as_json`."""
    global _plain
    if _plain is not None:
        (sys.stdout, sys.stderr), _plain = _plain, None
    _fields.clear()


def add_fields(**fields: Any) -> None:
    """Put these into every line that follows."""
    _fields.update(fields)


def tell(event: str, message: str = "", level: str = "info", **fields: Any) -> None:
    """Write one record; as text, its message on stderr, if it has one."""
    if _plain:
        _record(_plain[1], event, level, ({"message": message} if message else {}) | fields)
    elif message:
        print(message, file=sys.stderr, flush=True)


def _record(out: TextIO, event: str, level: str, fields: dict[str, Any]) -> None:
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = json.dumps({"time": at, "level": level, "event": event, **_fields, **fields}, default=str)
    with _LOCK:
        out.write(line + "\n")
        out.flush()
