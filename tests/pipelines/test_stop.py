"""Ctrl-C in the middle of a run, as a terminal sends it: to the job and all processes of its group."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

from artquant.embedded_store import EmbeddedStore
from artquant.storage import open_store
from tests.checkpoints import save_random_checkpoint
from tests.pipelines.engines import red_picture
from tests.processes import command_of, eventually, start_job
from tests.stores import enter


def test_ctrl_c_publishes_nothing_and_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = save_random_checkpoint(tmp_path / "random", max_critique_tokens=12)
    collection = open_store(f"file:{tmp_path}/collection")
    for number in range(2_000):  # half a minute of work, or more
        collection.put(f"{number:04d}.png", red_picture(number % 256))
    settings = [f"input={collection.uri}", f"model={checkpoint}", "run_id=stopped", "engine.batch_size=1", "rows_per_file=1"]
    job = start_job("score", settings, tmp_path / "home")
    server, family = EmbeddedStore(tmp_path / "home" / "store"), []
    try:
        started = re.search(r"127\.0\.0\.1:(\d+)", said := job.stderr.readline())
        assert started, said
        server.port = int(started[1])
        results = enter(server, monkeypatch, "results")
        while not any(results.list("_staging")):
            assert job.poll() is None, job.stderr.read()
            time.sleep(0.1)
        family = job.children(recursive=True)
        assert all(any(part in command_of(process) for process in family) for part in ("raylet", "weed", "ray::MapWorker"))
        os.killpg(job.pid, signal.SIGINT)
        _, last_words = job.communicate(timeout=120)
        assert job.returncode == 130
        assert last_words.splitlines()[-1] == "artquant: Stopped. Nothing was published; what was published before is current still."
        ours = ("Starting a local Ray", "score and critique: ", "artquant: ")
        assert [line for line in last_words.splitlines() if not line.startswith(ours)] == []
        assert eventually(lambda: not any(map(command_of, family)))
    finally:
        for process in [*family, job]:
            if process.is_running():
                process.kill()
    with EmbeddedStore(server.directory) as again:
        results = enter(again, monkeypatch, "results")
        assert not results.exists("CURRENT") and not any(results.list("scores")) and not any(results.list("rejects"))
        assert {info.key for info in results.list("runs")} == {"runs/stopped/plan.parquet", "runs/stopped/spec.yaml"}
