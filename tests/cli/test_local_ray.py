"""How a local Ray ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from artquant.cli import local_ray


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
