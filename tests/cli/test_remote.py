"""The same command on a cluster elsewhere, through the Ray Jobs API: a head with a dashboard of its own, as another machine would have."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pyarrow.dataset
import pytest

from tests.picture_files import make_picture_files
from tests.processes import ROOT, heed_interrupts

START_SECONDS = 90


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a person who has a cluster: its address and the token that it asks for."""
    folder, dashboard = tmp_path_factory.mktemp("cluster"), free_port()
    (folder / "token").write_text(secrets.token_hex(32))
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(folder / "token"), "RAY_USAGE_STATS_ENABLED": "0"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    environment.pop("RAY_ADDRESS", None)
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=4", f"--port={free_port()}"]
    command += ["--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={free_port()}"]
    with (folder / "log").open("wb") as log:
        head = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(f"http://127.0.0.1:{dashboard}/api/version", head)
        yield {**environment, "RAY_ADDRESS": f"http://127.0.0.1:{dashboard}", "ARTQUANT_HOME": str(folder / "home")}
    finally:
        for process in [*psutil.Process(head.pid).children(recursive=True), head]:  # an ordered end takes half a minute
            with suppress(psutil.NoSuchProcess):
                process.kill()
        head.wait(60)


def wait_for(url: str, head: subprocess.Popen) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and head.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=2)
            return
        except urllib.error.HTTPError:  # it asks for the token: it is there
            return
        except OSError:
            time.sleep(0.3)
    raise AssertionError("the cluster's head did not come up")


def command(cluster: dict[str, str], *arguments: str, **changes: str) -> subprocess.CompletedProcess:
    line = [sys.executable, "-m", "artquant", *arguments]
    return subprocess.run(line, cwd=ROOT, env={**cluster, **changes}, capture_output=True, text=True, timeout=180)


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("collection")
    good = [(name, data) for name, (data, expected) in make_picture_files().items() if expected is None][:12]
    for name, data in good:
        (folder / name).write_bytes(data)
    return folder


def settings_for(collection: Path, output: Path, *more: str) -> list[str]:
    """A file system that every node mounts, as it were."""
    return ["score", f"input=file://{collection}", f"output=file://{output}", "model=tiny", "engine.critique=false", *more]


def started(cluster: dict[str, str], *arguments: str) -> tuple[subprocess.Popen, str]:
    """A submission that goes on, and its first line."""
    line = [sys.executable, "-m", "artquant", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(line, cwd=ROOT, env=cluster, **pipes, start_new_session=True, preexec_fn=heed_interrupts)
    assert process.stdout
    return process, process.stdout.readline()


def test_a_job_is_left_and_stopped_and_goes_on_and_a_second_submission_follows_the_first(cluster, collection, tmp_path):
    settings = settings_for(collection, tmp_path / "results", "max_rejected_fraction=0")
    first, said = started(cluster, *settings, "fetch.max_requests_per_second=0.1")
    name = re.findall(r"artquant-score-[0-9a-f]{8}-1", said)[0]
    assert said.startswith(f"Submitted {name} at ") and f"make stop ID={name}" in said
    os.killpg(first.pid, signal.SIGINT)
    _, errors = first.communicate(timeout=60)
    assert first.returncode == 130 and f"You left, and {name} goes on" in errors
    stopped = command(cluster, "stop")
    assert stopped.returncode == 0 and f"{name} is stopped" in stopped.stdout, stopped.stdout + stopped.stderr
    assert command(cluster, "logs", name).returncode == 143
    assert command(cluster, "stop").returncode == 2, "nothing is at work"

    name = f"{name[:-1]}2"
    second, said = started(cluster, *settings)
    assert said.startswith(f"Submitted {name} at ")
    third = command(cluster, *settings, "engine.num_cpus=0.25", "run_id=another-label")  # other workers, another label: the same rows
    output, errors = second.communicate(timeout=180)
    assert (second.returncode, third.returncode) == (0, 0), output + errors + third.stdout + third.stderr
    assert f"this follows {name}" in third.stdout
    assert all("12 artworks scored" in each for each in (output, third.stdout, command(cluster, "logs").stdout))
    rows = pyarrow.dataset.dataset(str(tmp_path / "results" / "scores"), partitioning="hive").to_table()
    assert sorted(rows.column("artwork_id").to_pylist()) == sorted(path.name for path in collection.iterdir())
    listed = command(cluster, "status")
    assert re.search(rf"{name} +succeeded .* exit 0", listed.stdout), listed.stdout + listed.stderr


def test_nodes_with_other_versions_than_the_lock_are_refused_with_the_jobs_own_exit_code(cluster, collection, tmp_path):
    package = tmp_path / "checkout"
    shutil.copytree(ROOT / "artquant", package / "artquant", ignore=shutil.ignore_patterns("__pycache__"))
    (package / "constraints.txt").write_text("ray==2.60.0\ntorch==2.12.7\n")
    settings = settings_for(collection, tmp_path / "results")
    refused = subprocess.run(
        [sys.executable, "-m", "artquant", *settings],
        cwd=package,
        env={**cluster, "PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert refused.returncode == 2, refused.stdout + refused.stderr
    assert "torch 2.13.0 instead of 2.12.7" in refused.stdout and "constraints.txt" in refused.stdout
    assert not (tmp_path / "results" / "scores").exists()


def test_without_the_token_nobody_is_let_in_and_the_sentence_says_how(cluster, tmp_path):
    (tmp_path / "wrong").write_text("f" * 64)
    for changes in ({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "wrong")}, {"RAY_AUTH_MODE": "disabled"}):
        refused = command(cluster, "status", **changes)
        assert refused.returncode == 2 and refused.stderr.count("\n") == 1, refused.stderr
        assert "RAY_AUTH_MODE=token" in refused.stderr and "RAY_AUTH_TOKEN_PATH" in refused.stderr


def test_a_cluster_that_does_not_answer_is_named(cluster):
    refused = command({**cluster, "RAY_ADDRESS": f"http://127.0.0.1:{free_port()}"}, *settings_for(Path("/a"), Path("/b")))
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1 and "did not take it" in refused.stderr
