"""Who is told that a run has ended: a webhook and a command. Neither can fail the run."""

import json
import os
import signal
import subprocess
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from typing import Any

from artquant.cli.terminal import say
from artquant.config import HookSpec
from artquant.core.errors import AnotherRun, Held
from artquant.progress.watch import cause, resolved_address


@contextmanager
def told(spec: HookSpec, job: str) -> Iterator[dict[str, Any]]:
    """Tell at the end of the block how it ended. The block adds to the summary that is yielded what it knows, `status` at its good end."""
    summary: dict[str, Any] = {"status": "failed", "job": job, "run_id": None, "output": None}
    try:
        yield summary
    except BaseException as error:
        summary |= {"status": status_of(error), "message": str(error)}
        raise
    finally:
        tell_end(spec, summary)


def status_of(error: BaseException) -> str:
    """Say in a word how a run ended that raised this."""
    if isinstance(error, KeyboardInterrupt):
        return "stopped"
    return "held" if isinstance(error, Held) else "refused" if isinstance(error, AnotherRun) else "failed"


def tell_end(spec: HookSpec, summary: Mapping[str, Any]) -> None:
    """Send the summary, which names at least the `status`, `run_id` and `output`; what does not work is a line on stderr."""
    if spec.webhook:
        _heeding("The webhook was not told of the end of the run", lambda: _post(str(spec.webhook), summary, spec.hook_seconds))
    if spec.command:
        _heeding("The command at the end of the run failed", lambda: _run(str(spec.command), summary, spec.hook_seconds))


def _heeding(what: str, call: Callable[[], None]) -> None:
    try:
        call()
    except (OSError, ValueError, KeyError, HTTPException) as error:  # urllib's own errors are OSErrors
        say(f"artquant: {what}: {cause(error)}.")


def _post(webhook: str, summary: Mapping[str, Any], seconds: float) -> None:
    body = json.dumps(summary, default=str).encode()
    request = urllib.request.Request(resolved_address(webhook), body, {"Content-Type": "application/json"}, method="POST")
    if request.type not in ("http", "https"):
        raise ValueError("its address is not http:// or https://")
    with urllib.request.urlopen(request, timeout=seconds):
        pass


def _run(command: str, summary: Mapping[str, Any], seconds: float) -> None:
    environment = {f"ARTQUANT_{name.upper()}": str(summary.get(name, "")) for name in ("status", "run_id", "output")}
    process = subprocess.Popen(
        command, shell=True, stdin=subprocess.PIPE, env={**os.environ, **environment}, start_new_session=True, text=True
    )
    try:
        process.communicate(json.dumps(summary, default=str), timeout=seconds)
    except subprocess.TimeoutExpired as error:
        os.killpg(process.pid, signal.SIGKILL)  # what it started too
        process.wait()
        raise OSError(f"it took more than {seconds:g} s and was ended") from error
    if process.returncode:
        raise OSError(f"it ended with exit code {process.returncode}")
