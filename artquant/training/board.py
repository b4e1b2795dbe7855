"""Where a person sees how far a training run is: an actor that the workers tell, and lines that the driver prints."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from artquant.report.words import duration, rate

EVERY_SECONDS = 5.0


class Board:
    """The latest of a run, as a Ray actor."""

    def __init__(self):
        self.now: dict[str, Any] = {}
        self.validations: list[tuple[int, dict[str, Any]]] = []
        self.refusal: str | None = None

    def trained(self, step: int, num_steps: int, examples_per_step: int, losses: dict[str, float], seconds: float) -> None:
        started = self.now.get("started") or (step - 1, seconds)
        self.now = dict(step=step, num_steps=num_steps, examples=examples_per_step, losses=losses, seconds=seconds, started=started)

    def validated(self, step: int, record: dict[str, Any]) -> None:
        self.validations.append((step, record))

    def refuse(self, why: str) -> None:
        """The run cannot go on, however often it is started again."""
        self.refusal = why

    def refused(self) -> str | None:
        return self.refusal

    def look(self) -> tuple[dict[str, Any], list[tuple[int, dict[str, Any]]]]:
        return self.now, self.validations


@contextmanager
def shown(board: Any) -> Iterator[None]:
    """While the block runs: a line every few seconds with losses, rate and time left, and one for each validation."""
    done = threading.Event()
    thread = threading.Thread(target=_print_lines, args=(board, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(timeout=10)


def _print_lines(board: Any, done: threading.Event) -> None:
    num_said, last = 0, -1
    while True:
        is_last = done.wait(EVERY_SECONDS)
        now, validations = ray.get(board.look.remote())
        for step, record in validations[num_said:]:
            print(f"  validation after step {step}: {' '.join(_figures(record))}", file=sys.stderr, flush=True)
        num_said = len(validations)
        if now and now["step"] != last:
            print(progress_line(now), file=sys.stderr, flush=True)
            last = now["step"]
        if is_last:
            return


def progress_line(now: dict[str, Any]) -> str:
    """`train 120/570  sight 1.23  198 artworks/s, 40 s left`."""
    first, began = now["started"]
    took = now["seconds"] - began
    steps = now["step"] - first - 1
    speed = (
        f"  {rate(steps * now['examples'] / took)} artworks/s, {duration((now['num_steps'] - now['step']) * took / steps)} left"
        if steps
        else ""
    )
    losses = "  ".join(f"{name} {value:.3f}" for name, value in now["losses"].items())
    return f"train {now['step']}/{now['num_steps']}  {losses}{speed}"


def _figures(record: dict[str, Any]) -> Iterator[str]:
    for name in ("srcc", "plcc"):
        yield f"{name.upper()} {record[name]:.3f}" if record[name] is not None else f"{name.upper()} none (all predictions are alike)"
