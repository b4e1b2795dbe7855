from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from artquant.cli.main import main

Refused = Callable[[list[str]], str]


@pytest.fixture
def refused(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Refused:
    """`refused(arguments)` is the one sentence with which `make submit` turns them away: exit code 2, and Ray was not started."""
    monkeypatch.setenv("ARTQUANT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")  # a Ray that would be reached for fails

    def refused(arguments: list[str]) -> str:
        assert main(arguments) == 2
        streams = capfd.readouterr()
        return the_sentence(streams.err.splitlines(), streams.out)

    return refused


def the_sentence(errors: list[str], output: str) -> str:
    assert "Traceback" not in "\n".join(errors) + output
    said = [line for line in errors if line.startswith("artquant: ")]
    assert said == errors[-1:] and said[0].endswith((".", "?")), errors
    assert "Starting" not in " ".join(errors), "something was started first"
    return said[0]
