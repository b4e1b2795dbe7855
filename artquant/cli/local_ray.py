"""The Ray that a job runs on: a cluster's, or a local one that ends with the job."""

import logging
import os
import shutil
import socket
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from artquant.cli.ends import heed_signals_again
from artquant.cli.nodes import check_nodes
from artquant.cli.terminal import say
from artquant.core.errors import RunFailed, UserError

_OURS = "artquant-job"  # a file in Ray's session folder: the process that started it
_KEPT_SESSIONS = 3
STOP_SECONDS = 30.0


@contextmanager
def running_ray() -> Iterator[Callable[[], None]]:
    """Run Ray for the block: the cluster of RAY_ADDRESS, else a local one that ends with the block. Yields what tells it, before the
    block's end, that nobody needs it any more, and returns at once. Raises UserError and RunFailed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray

    import artquant.pipelines.score  # noqa: F401  # and with it Ray Data, whose logger is quietened too

    quieten_ray()
    address = os.environ.get("RAY_ADDRESS")
    if address:
        check_answers(address)
        try:
            with held_stderr(shown=False):
                ray.init(log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UserError(f"RAY_ADDRESS={address} cannot be reached, or does not let us in: {first_line(error)}") from error
    else:
        say("Starting a local Ray")
        start_local_ray()
    heed_signals_again()
    context = ray.get_runtime_context()
    session = Path(context.get_temp_dir()) / context.get_session_name()
    closing = threading.Thread(target=ray.shutdown, name="ray shutdown", daemon=True)
    is_over = False
    try:
        if address:
            check_nodes()
        yield closing.start
        is_over = True
    finally:
        stop_ray(None if address else session, closing=closing)
        if is_over and not address:
            shutil.rmtree(session, ignore_errors=True)
        elif not address:
            forget_sessions(session.parent)


def stop_ray(session: Path | None, seconds: float = STOP_SECONDS, closing: threading.Thread | None = None) -> None:
    """Shut Ray down, which `closing` may have begun. Now and then that waits for ever for a last answer: then kill the processes of a
    local Ray, those of `session`."""
    import psutil
    import ray

    closing = closing or threading.Thread(target=ray.shutdown, name="ray shutdown", daemon=True)
    if closing.ident is None:
        closing.start()
    closing.join(seconds)
    if closing.is_alive() and session:
        for child in psutil.Process().children():
            with suppress(psutil.Error):  # it ended meanwhile
                if str(session) in " ".join(child.cmdline()):
                    for process in (*child.children(recursive=True), child):
                        with suppress(psutil.Error):
                            process.kill()


def check_answers(address: str) -> None:
    """Raise UserError within seconds if nobody answers at host:port; Ray itself tries for a minute."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return  # auto, local and the like: Ray resolves them itself
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except OSError as error:
        raise UserError(
            f"RAY_ADDRESS={address} cannot be reached ({error.strerror or error}): correct it, or unset it to run on this machine."
        ) from error


def start_local_ray() -> None:
    """Start Ray, with a second attempt because a busy machine may exceed Ray's own time limit for starting. Raises RunFailed."""
    import ray

    # Workers are what the machine is asked for; by default Ray lets its own helpers, some of them slow to start, go before them.
    os.environ.setdefault("RAY_worker_niceness", "0")
    # Two more CPUs than there are, for the scheduler's accounting: our workers reserve halves and quarters, Ray's own tasks whole ones.
    options: dict[str, Any] = {"num_cpus": (os.cpu_count() or 1) + 2, "include_dashboard": False, "log_to_driver": False}
    for is_last in (False, True):
        try:
            with held_stderr(shown=False):
                ray.init(address="local", logging_level=logging.ERROR, **options)
            context = ray.get_runtime_context()
            (Path(context.get_temp_dir()) / context.get_session_name() / _OURS).write_text(str(os.getpid()))
            return
        except Exception as error:  # Ray raises Exception itself when a process of its own does not come up
            ray.shutdown()
            if is_last:
                raise RunFailed(
                    f"Ray did not start, twice: {first_line(error)} Look at its logs in /tmp/ray/session_latest/logs; "
                    "a machine that is busy or short of memory or disk is the usual cause."
                ) from error
            say(f"Ray did not start ({first_line(error)}), trying once more")


def first_line(error: Exception) -> str:
    """Return the first sentence of an error's text."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text.partition(". ")[0].rstrip(".")[:300] + "."


def forget_sessions(folder: Path) -> None:
    """Remove what Ray left of our older failed jobs, except the last few, whose logs a person may want to read."""
    ours = sorted(path.parent for path in folder.glob(f"session_*/{_OURS}") if not path.parent.is_symlink())
    for session in ours[:-_KEPT_SESSIONS]:
        if not os.path.exists(f"/proc/{(session / _OURS).read_text()}"):
            shutil.rmtree(session, ignore_errors=True)


def quieten_ray() -> None:
    """Keep Ray's own remarks off the terminal: errors end in a sentence of ours, and the details are in Ray's session folder."""
    warnings.filterwarnings("ignore", module="ray")
    warnings.filterwarnings("ignore", message="`ray_remote_args")  # of max_concurrency, which has no other place yet
    logging.getLogger("ray").setLevel(logging.ERROR)
    for handler in logging.getLogger("ray.data").handlers:  # the other handlers write the session folder's ray-data.log
        if handler.name == "console":
            handler.setLevel(logging.CRITICAL)


@contextmanager
def held_stderr(shown: bool = True) -> Iterator[None]:
    """Hold back what native code writes on stderr in the block, and show it only if the block fails and `shown` is true.

    Ray's native code even reports that it was told to be quiet.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read() if shown else b"")
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
