"""What a person reads while a job starts and works, where there is no terminal to draw a bar on."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from artquant.progress import stages
from artquant.progress.stages import ProgressCounter, StageCount


class Here:
    """A counter in this process: `here.method.remote(...)` is the call itself."""

    def __init__(self) -> None:
        self.counter = ProgressCounter()

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=getattr(self.counter, name))


class Script:
    """An event that is waited for: each wait is the next step, and after the last one it is set."""

    def __init__(self, *steps: Callable[[], None]):
        self.steps = iter(steps)

    def wait(self, seconds: float) -> bool:
        step = next(self.steps, None)
        if step:
            step()
        return step is None


def test_the_words_tell_what_is_done_until_the_first_rows_and_then_how_fast(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    now = [100.0]
    monkeypatch.setattr(stages, "ray", SimpleNamespace(get=lambda value: value))
    monkeypatch.setattr(stages, "time", SimpleNamespace(monotonic=lambda: now[0]))
    here = Here()

    def nothing() -> None:
        now[0] += 1

    def loads() -> None:
        here.counter.opens("score", is_open=False)
        now[0] += 1

    def is_open() -> None:
        here.counter.opens("score", is_open=True)
        here.counter.opens("score", is_open=False)  # another engine is later
        now[0] += 1

    def scored() -> None:
        now[0] += 10
        here.counter.stages["score"] = StageCount(first_at=now[0] - 20, num_rows=3_000, last_at=now[0])

    stages._print_lines(here, 12_000, "score", Script(nothing, nothing, loads, nothing, is_open, scored))  # type: ignore[arg-type]
    assert capsys.readouterr().err.splitlines() == [
        "score: 0 of 12,000, starting",
        "score: 0 of 12,000, loading the model",
        "score: 0 of 12,000, at the first batch",
        "score: 3,000 of 12,000, 150/s, about 1 min 00 s left",
    ]


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_counter_that_died_with_its_node_is_a_line_and_no_traceback(
    is_terminal: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def dead(_: object) -> None:
        raise ray.exceptions.ActorUnavailableError("gone", None)

    monkeypatch.setattr(ray, "get", dead)
    monkeypatch.setattr("sys.stderr.isatty", lambda: is_terminal, raising=False)
    with stages.show_progress(Here(), 10, "score"):  # type: ignore[arg-type]
        pass
    said = capfd.readouterr().err
    assert "No more progress is shown: ActorUnavailableError" in said and "Traceback" not in said
