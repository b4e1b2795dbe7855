"""How far a training run is: an actor that the workers report to, and lines that the driver prints."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol, cast

import ray

from artquant.core.format import duration, rate
from artquant.progress.display import RemoteMethod, beside

EVERY_SECONDS = 5.0


class TrainingMonitor:
    """The latest figures of a training run, as a Ray actor."""

    def __init__(self) -> None:
        self.now: dict[str, Any] = {}
        self.validations: list[tuple[int, dict[str, Any]]] = []
        self.abort_reason: str | None = None

    def trained(
        self, step: int, warmup_steps: int, num_steps: int, examples_per_step: int, losses: dict[str, float], seconds: float
    ) -> None:
        """Note a step. The rate is counted anew after the vision warm-up, whose steps are much shorter."""
        began = self.now.get("started")
        started = (step - 1, seconds) if began is None or began[0] < warmup_steps < step else began
        self.now = dict(step=step, warmup_steps=warmup_steps, num_steps=num_steps, examples=examples_per_step, losses=losses)
        self.now |= dict(seconds=seconds, started=started)

    def validated(self, step: int, record: dict[str, Any]) -> None:
        self.validations.append((step, record))

    def abort(self, why: str) -> None:
        """Record that the run cannot continue, however often it is restarted."""
        self.abort_reason = why

    def aborted(self) -> str | None:
        return self.abort_reason

    def snapshot(self) -> tuple[dict[str, Any], list[tuple[int, dict[str, Any]]]]:
        return self.now, self.validations


class Monitor(Protocol):
    """A handle of the actor that is a :class:`TrainingMonitor`."""

    @property
    def trained(self) -> RemoteMethod: ...
    @property
    def validated(self) -> RemoteMethod: ...
    @property
    def abort(self) -> RemoteMethod: ...
    @property
    def aborted(self) -> RemoteMethod: ...
    @property
    def snapshot(self) -> RemoteMethod: ...


def start_monitor() -> Monitor:
    """Start the monitor; Ray must be running."""
    return cast(Monitor, ray.remote(num_cpus=0)(TrainingMonitor).remote())


@contextmanager
def show_training(monitor: Monitor) -> Iterator[None]:
    """Print, while the block runs, a line every few seconds with losses, rate and time left, and one for each validation."""
    with beside(partial(_print_lines, monitor)):
        yield


def _print_lines(monitor: Monitor, done: threading.Event) -> None:
    num_said, last = 0, -1
    while True:
        is_last = done.wait(EVERY_SECONDS)
        now, validations = ray.get(monitor.snapshot.remote())
        for step, record in validations[num_said:]:
            print(f"  validation after step {step}: {' '.join(_figures(record))}", file=sys.stderr, flush=True)
        num_said = len(validations)
        if now and now["step"] != last:
            print(progress_line(now), file=sys.stderr, flush=True)
            last = now["step"]
        if is_last:
            return


def progress_line(now: dict[str, Any]) -> str:
    """Format progress: `train 120/570  description 1.23  198 artworks/s, 40 s left`; in the vision warm-up what is left of that."""
    first, began = now["started"]
    took = now["seconds"] - began
    steps = now["step"] - first - 1
    is_warmup = now["step"] <= now["warmup_steps"]
    end, what = (now["warmup_steps"], "left of the vision warm-up") if is_warmup else (now["num_steps"], "left")
    speed = f"  {rate(steps * now['examples'] / took)} artworks/s, {duration((end - now['step']) * took / steps)} {what}" if steps else ""
    losses = "  ".join(f"{name} {value:.3f}" for name, value in now["losses"].items())
    return f"train {now['step']}/{now['num_steps']}  {losses}{speed}"


def _figures(record: dict[str, Any]) -> Iterator[str]:
    for name in ("srcc", "plcc"):
        yield f"{name.upper()} {record[name]:.3f}" if record[name] is not None else f"{name.upper()} none (all predictions are alike)"
