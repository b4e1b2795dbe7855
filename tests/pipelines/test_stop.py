"""A run that is stopped midway: by Ctrl-C, which goes to the whole group, by and by SIGTERM, which goes to make."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from artquant.storage.store import Store, open_store
from tests.checkpoints import save_random_checkpoint
from tests.pipelines.engines import red_picture
from tests.processes import command_of, eventually, start_job, start_make

OURS = ("Starting a local Ray", "Ray did not start", "score: ", "artquant: ", "make")


@pytest.mark.parametrize("by", ["Ctrl-C", "SIGTERM to make"])
def test_a_stopped_run_publishes_nothing_and_leaves_no_process(by: str, tmp_path: Path) -> None:
    checkpoint = save_random_checkpoint(tmp_path / "random", max_critique_tokens=12)
    collection, results = open_store(f"file:{tmp_path}/collection"), open_store(f"file:{tmp_path}/results")
    for number in range(1_500):  # half of them are scored before the first shard is there
        collection.put(f"{number:04d}.png", red_picture(number % 256))
    settings = [f"input={collection.uri}", f"output={results.uri}", f"model={checkpoint}", "run_id=stopped"]
    settings += ["engine.batch_size=1", "engine.critique=false"]
    if by == "SIGTERM to make":
        job = start_make("submit", "JOB=score", f"ARGS={' '.join(settings)}", home=tmp_path / "home")
    else:
        job = start_job("score", settings, tmp_path / "home")
    family: list[psutil.Process] = []
    try:
        while not any("/shards/" in info.key for info in results.list("_artquant/runs")):
            assert job.poll() is None, job.stderr.read()
            time.sleep(0.1)
        family = job.children(recursive=True)
        assert all(any(part in command_of(process) for process in family) for part in ("raylet", "ray::MapWorker"))
        stop(by, job)
        _, last_words = job.communicate(timeout=120)
        said = [line for line in last_words.splitlines() if line.startswith("artquant: ")]
        assert job.returncode in ((130,) if by == "Ctrl-C" else (2, -signal.SIGTERM)), last_words  # make folds 143, or ends by the signal
        assert said == ["artquant: Stopped. Nothing was published; the same command goes on where this one stopped."]
        assert [line for line in last_words.splitlines() if not line.startswith(OURS)] == []
        assert eventually(lambda: not any(map(command_of, family)))
        published_nothing(results)
    finally:
        for process in [*family, job]:
            if process.is_running():
                process.kill()


def stop(by: str, job: psutil.Popen) -> None:
    if by == "Ctrl-C":
        os.killpg(job.pid, signal.SIGINT)
    else:
        job.terminate()


def published_nothing(results: Store) -> None:
    assert not results.exists("CURRENT") and not any(results.list("scores")) and not any(results.list("rejects"))
    assert {info.key for info in results.list("runs")} == {"runs/stopped/spec.yaml"}
