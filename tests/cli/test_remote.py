"""The same command on a cluster elsewhere, through the Ray Jobs API: a head with a dashboard of its own, as another machine would have."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pyarrow.dataset
import pytest

from tests.checkpoints import save_random_checkpoint
from tests.picture_files import make_picture_files
from tests.processes import ROOT

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
    command += ["--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"]
    with (folder / "log").open("wb") as log:
        head = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(f"http://127.0.0.1:{dashboard}/api/version", head)
        yield {**environment, "RAY_ADDRESS": f"http://127.0.0.1:{dashboard}", "ARTQUANT_HOME": str(folder / "home")}
    finally:
        os.killpg(head.pid, signal.SIGTERM)
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


def submit(cluster: dict[str, str], *overrides: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "artquant", "score", *overrides]
    return subprocess.run(command, cwd=ROOT, env=cluster, capture_output=True, text=True, timeout=180)


def test_a_cluster_runs_the_job_and_its_output_and_exit_code_come_back(cluster, tmp_path):
    pictures, output = tmp_path / "pictures", tmp_path / "results"
    pictures.mkdir()
    good = [(name, data) for name, (data, expected) in make_picture_files().items() if expected is None][:12]
    for name, data in good:
        (pictures / name).write_bytes(data)
    model = save_random_checkpoint(tmp_path / "model", max_critique_tokens=8)
    done = submit(cluster, f"input={pictures}", f"output={output}", f"model={model}", "max_rejected_fraction=0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(good)} artworks scored" in done.stdout
    rows = pyarrow.dataset.dataset(str(output / "scores"), partitioning="hive").to_table()
    assert sorted(rows.column("artwork_id").to_pylist()) == sorted(name for name, _ in good)

    refused = submit(cluster, f"input={tmp_path}/nowhere", f"output={output}", f"model={model}")
    assert refused.returncode == 2
    assert "artquant: " in refused.stdout + refused.stderr and "Traceback" not in refused.stdout + refused.stderr


def test_places_of_this_machine_alone_are_refused_before_anything_is_sent(cluster):
    refused = submit(cluster)
    assert refused.returncode == 2
    assert refused.stderr.startswith("artquant: input is needed")
    assert "Submitted" not in refused.stdout


def test_a_cluster_that_does_not_answer_is_named(cluster):
    refused = submit({**cluster, "RAY_ADDRESS": f"http://127.0.0.1:{free_port()}"}, "input=/a", "output=/b", "model=tiny")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1 and "did not take the job" in refused.stderr
