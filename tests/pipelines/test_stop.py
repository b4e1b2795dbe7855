"""Ctrl-C in the middle of a run, as a terminal sends it: to the job and all processes of its group."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil
import pytest

from artquant.embedded_store import EmbeddedStore
from artquant.storage import Store, open_store
from tests.checkpoints import save_random_checkpoint
from tests.pipelines.conftest import ROOT
from tests.pipelines.engines import red_picture


@pytest.mark.timeout(120)
def test_ctrl_c_publishes_nothing_and_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = save_random_checkpoint(tmp_path / "random", max_critique_tokens=12)
    collection = open_store(f"file:{tmp_path}/collection")
    for number in range(2_000):  # half a minute of work, or more
        collection.put(f"{number:04d}.png", red_picture(number % 256))
    settings = [f"input={collection.uri}", f"model={checkpoint}", "run_id=stopped", "engine.batch_size=1", "rows_per_file=1"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RAY_"))}
    job = psutil.Popen(
        [sys.executable, "-m", "jobs.submit", "score", *settings],
        cwd=ROOT,
        env=environment | {"ARTQUANT_HOME": str(tmp_path / "home")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=heed_interrupts,
    )
    server, family = EmbeddedStore(tmp_path / "home" / "store"), []
    try:
        started = re.search(r"127\.0\.0\.1:(\d+)", said := job.stderr.readline())
        assert started, said
        server.port = int(started[1])
        results = enter(server, monkeypatch)
        while not any(results.list("_staging")):
            assert job.poll() is None, job.stderr.read()
            time.sleep(0.1)
        family = job.children(recursive=True)
        commands = " ".join(commands_of(family))
        assert all(part in commands for part in ("raylet", "weed", "ray::MapWorker"))
        os.killpg(job.pid, signal.SIGINT)
        _, last_words = job.communicate(timeout=30)
        assert job.returncode == 130
        assert last_words.splitlines()[-1] == "artquant: Stopped. Nothing was published; what was published before is current still."
        ours = ("Starting a local Ray", "score and critique: ", "artquant: ")
        assert [line for line in last_words.splitlines() if not line.startswith(ours)] == []
        deadline = time.monotonic() + 20
        while (left := list(commands_of(family))) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not left
    finally:
        for process in [*family, job]:
            if process.is_running():
                process.kill()
    with EmbeddedStore(server.directory) as again:
        results = enter(again, monkeypatch)
        assert not results.exists("CURRENT") and not any(results.list("scores")) and not any(results.list("rejects"))
        assert {info.key for info in results.list("runs")} == {"runs/stopped/plan.parquet", "runs/stopped/spec.yaml"}


def heed_interrupts() -> None:
    """A person's shell gives a job the default; what runs in a shell's background, as these tests may, has inherited that it is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def enter(server: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> Store:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return open_store("s3://artquant/results")


def commands_of(processes: Iterable[psutil.Process]) -> Iterator[str]:
    """The command lines of those that live: one that nobody has reaped yet has none."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if command := " ".join(process.cmdline()):
                yield command
