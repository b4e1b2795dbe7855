"""How a local Ray ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from artquant.cli import local_ray
from tests.processes import ROOT


def test_a_ray_that_does_not_end_is_killed_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.shutdown", lambda: time.sleep(5))
    wait = [sys.executable, "-c", "import time; time.sleep(60)"]
    with subprocess.Popen([*wait, f"--logs={tmp_path}/logs"]) as part, subprocess.Popen(wait) as other:
        try:
            local_ray.stop_ray(None, seconds=0.1)
            assert part.poll() is None, "a cluster's processes are not ours"
            local_ray.stop_ray(tmp_path, seconds=0.1)
            assert part.wait(10) == -signal.SIGKILL and other.poll() is None
        finally:
            part.kill()
            other.kill()


def test_a_shutdown_that_was_begun_is_waited_for_and_not_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr("ray.shutdown", lambda: calls.append("again"))
    closing = threading.Thread(target=lambda: (time.sleep(0.2), calls.append("first")))
    closing.start()
    local_ray.stop_ray(None, closing=closing)
    assert calls == ["first"]
    local_ray.stop_ray(None, closing=threading.Thread(target=lambda: calls.append("second")))
    assert calls == ["first", "second"]


def test_no_thread_of_a_job_joins_another_ray_on_the_machine_after_the_jobs_own_has_ended():
    asked = "__import__('ray._private.auto_init_hook', fromlist=['hook']).enable_auto_connect"
    code = f"from artquant.cli import main, score; score.main = lambda settings: 7 if {asked} is False else 1; exit(main.main(['score']))"
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ENABLE_AUTO_CONNECT"}
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, timeout=120).returncode == 7
