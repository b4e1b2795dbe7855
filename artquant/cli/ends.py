"""How a command ends when something other than itself ends it: signals, and a silent death."""

import ctypes
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
_HELD = {signal.SIGINT, *_SIGNALS}  # from the fork on until both processes know what to do with them
_PR_SET_PDEATHSIG = 1


class Stopped(KeyboardInterrupt):
    """The process was told to end by a signal other than Ctrl-C's."""

    def __init__(self, number: int, message: str = ""):
        super().__init__(message)
        self.exit_code = 128 + number


@contextmanager
def heed_signals() -> Iterator[None]:
    """Make SIGTERM and SIGHUP end the block as Ctrl-C does; a second one ends the process at once."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    heed_signals_again()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def heed_signals_again() -> None:
    """Restore our handlers after a library has replaced them: Ray aborts with its stack on SIGTERM."""

    def stop(number: int, _: Any) -> None:
        for again in _SIGNALS:
            signal.signal(again, lambda number, _: os._exit(128 + number))
        raise Stopped(number)

    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)


def supervised(main: Callable[[list[str]], int], arguments: list[str]) -> int:
    """Run `main(arguments)` in a separate process and return its exit code.

    If it dies silently, as when Ray's native code ends the process because the raylet is gone, the message is printed here.
    """
    reader, writer = os.pipe()
    os.set_inheritable(writer, False)
    parent = os.getpid()
    signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    if (child := os.fork()) == 0:
        os.close(reader)
        if sys.platform == "linux":  # whoever kills this command kills the job
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(137)
        code = main(arguments)
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with suppress(BrokenPipeError):  # whoever read it has gone, as after `| head`
                stream.flush()
        os.write(writer, b".")
        os._exit(code)  # taking Ray, pandas and pyarrow to pieces would take half a second
    os.close(writer)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches the child too, which decides
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, _: os.kill(child, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if not os.read(reader, 1):
        how = f"by signal {-code}" if code < 0 else f"with code {code}"
        why = "Ray's processes on this machine died, or it was killed, perhaps for want of memory"
        print(
            f"artquant: The job's process ended {how} without a word: {why}; Ray's logs are in /tmp/ray/session_latest/logs. "
            "If the run was not published by then, nothing was.",
            file=sys.stderr,
            flush=True,
        )
        return 128 - code if code < 0 else code or 1
    return code


def whole_cause(error: Exception) -> str:
    """Describe an unexpected error in a few words, with where its traceback was written, for a report."""
    what = " ".join(f"{type(error).__name__}: {error}".split())[:300].rstrip(".")
    return f"{what}; please report it with {keep_traceback()}"


def keep_traceback() -> str:
    """Write the traceback of the current error to a file and return its path; if that fails, print the traceback."""
    text = traceback.format_exc()
    folder = Path(os.environ.get("ARTQUANT_HOME", ".artquant")) / "logs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"error-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.txt"
        path.write_text(text)
    except OSError:
        print(text, file=sys.stderr)
        return "the lines above"
    return str(path.absolute())
