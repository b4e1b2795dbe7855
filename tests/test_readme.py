"""The README's Python runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.picture_files import encode, scene

README = Path(__file__).resolve().parents[1] / "README.md"


def test_the_snippet_runs_on_pictures_of_those_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    (tmp_path / "boat.jpg").write_bytes(encode(scene(), "JPEG"))
    (tmp_path / "cat.png").write_bytes(encode(scene(64, 96), "PNG"))
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, str(README), "exec"), {})  # noqa: S102
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("boat.jpg ") and second.startswith("1 ") and 1 <= float(first.split()[1]) <= 10
