"""Jobs as a person starts them, and processes as a test watches them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]


def start_job(job: str, settings: list[str], home: Path) -> psutil.Popen:
    """`artquant` at a terminal: a group of processes of its own, its stderr to be read, these tests' store and cluster unknown to it."""
    return start([sys.executable, "-m", "artquant", job, *settings], home)


def start_make(*arguments: str, home: Path) -> psutil.Popen:
    return start(make_command(home, *arguments), home)


def make_command(folder: Path, *arguments: str) -> list[str]:
    """`make` on this checkout with the interpreter that runs the tests in the place of the virtual environment that make sets up."""
    bin = folder / "venv" / "bin"
    bin.mkdir(parents=True, exist_ok=True)
    program = "import sys; sys.path.insert(0, sys.argv.pop(1)); from artquant.cli.main import command; command()"
    (bin / "artquant").write_text(f"#!/bin/sh\nexec {sys.executable} -c '{program}' {ROOT} \"$@\"\n")
    (bin / "artquant").chmod(0o755)
    (bin.parent / ".ready").touch()
    return ["make", f"VENV={bin.parent}", *arguments]


def start(command: list[str], home: Path) -> psutil.Popen:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RAY_"))}
    return psutil.Popen(
        command,
        cwd=ROOT,
        env=environment | {"ARTQUANT_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=heed_interrupts,
    )


def heed_interrupts() -> None:
    """A person's shell gives a job the default; what runs in a shell's background, as these tests may, has inherited that it is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def command_of(process: psutil.Process) -> str:
    """Its command line; empty where it has ended, also if nobody has reaped it yet."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def eventually(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Whether it comes true within a time that is ample for a slow machine."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
