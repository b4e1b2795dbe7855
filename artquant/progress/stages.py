"""What the workers have done so far, and the display that a person watches."""

import sys
import threading
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Protocol, cast

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from artquant.core.format import duration, rate
from artquant.core.memory import peak_bytes
from artquant.progress.counts import StageCount as StageCount
from artquant.progress.counts import bucket_of
from artquant.progress.display import RemoteMethod, beside
from artquant.progress.watch import WATCH
from artquant.storage.requests import REQUESTS


class ProgressCounter:
    """Counts rows by stage, as a Ray actor. Work that was lost and done again counts twice here: the written files are the truth."""

    def __init__(self) -> None:
        self.stages: dict[str, StageCount] = {}
        self.notes: list[str] = []
        self.furthest: dict[str, int] = {}

    def add(
        self,
        stage: str,
        num_rows: int,
        busy_seconds: float,
        num_rejected: int = 0,
        throttled_seconds: float = 0.0,
        num_shrunk: int = 0,
        peak_bytes: int = 0,
        batches: Mapping[int, int] | None = None,
        requests: Mapping[tuple[str, str], int] | None = None,
    ) -> None:
        count = self.stages.setdefault(stage, StageCount(first_at=time.monotonic() - busy_seconds))
        count.num_rows += num_rows
        count.num_rejected += num_rejected
        count.busy_seconds += busy_seconds
        count.throttled_seconds += throttled_seconds
        count.num_shrunk += num_shrunk
        count.last_at = time.monotonic()
        count.peak_bytes = max(count.peak_bytes, peak_bytes)
        for bucket, num in (batches or {}).items():
            count.batches[bucket] = count.batches.get(bucket, 0) + num
        for request, num in (requests or {}).items():
            count.requests[request] = count.requests.get(request, 0) + num

    def opens(self, stage: str, is_open: bool) -> None:
        """Note that an engine of the stage begins to open, or is open."""
        self.furthest[stage] = max(self.furthest.get(stage, 0), 1 + is_open)

    def doing(self, stage: str) -> str:
        """Return what is done until the first rows come."""
        return ("starting", "loading the model", "at the first batch")[self.furthest.get(stage, 0)]

    def note(self, text: str) -> None:
        """Note something that a person who watches should read."""
        self.notes.append(text)

    def refuse(self, stage: str, node: str) -> None:
        """Note that a worker on this node is not let in."""
        refused = self.stages.setdefault(stage, StageCount(first_at=time.monotonic())).refused
        refused[node] = refused.get(node, 0) + 1

    def take_notes(self) -> list[str]:
        """Return the notes since the last call."""
        notes, self.notes = self.notes, []
        return notes

    def snapshot(self) -> dict[str, StageCount]:
        return self.stages


class Counter(Protocol):
    """A handle of the actor that is a :class:`ProgressCounter`."""

    @property
    def add(self) -> RemoteMethod: ...
    @property
    def opens(self) -> RemoteMethod: ...
    @property
    def doing(self) -> RemoteMethod: ...
    @property
    def note(self) -> RemoteMethod: ...
    @property
    def refuse(self) -> RemoteMethod: ...
    @property
    def take_notes(self) -> RemoteMethod: ...
    @property
    def snapshot(self) -> RemoteMethod: ...


def start_counter() -> Counter:
    """Start the counter beside this process, whose end alone is its end; Ray must be running."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    return cast(Counter, ray.remote(num_cpus=0)(ProgressCounter).options(scheduling_strategy=here).remote())


def counts_of(counter: Counter) -> dict[str, StageCount]:
    """Return the counts, or nothing if the counter died with its node: a run does not fail over what is only shown."""
    try:
        return WATCH.see(ray.get(counter.snapshot.remote()))
    except ray.exceptions.RayError as error:
        print(f"The counts of this run are lost: {type(error).__name__}", file=sys.stderr, flush=True)
        return {}


class StageReport:
    """A worker's counts on their way to the counter, at most two calls a second: a call costs both sides half a millisecond.

    Several threads may report.
    """

    def __init__(self, counter: Counter, stage: str):
        self.counter, self.stage = counter, stage
        self.sent_at = time.monotonic()
        self.held = self.nothing = (0, 0.0, 0, 0.0, 0)
        self.batches: Tally[int] = Tally()
        self.lock = threading.Lock()

    def add(self, num_rows: int, busy_seconds: float, num_rejected: int, throttled_seconds: float = 0.0, num_shrunk: int = 0) -> None:
        with self.lock:
            self.batches[bucket_of(busy_seconds)] += 1
            rows, seconds, rejected, throttled, shrunk = self.held
            self.held = (
                rows + num_rows,
                seconds + busy_seconds,
                rejected + num_rejected,
                throttled + throttled_seconds,
                shrunk + num_shrunk,
            )
        if time.monotonic() - self.sent_at > 0.5:
            self.send()

    def send(self) -> None:
        with self.lock:
            held, self.held = self.held, self.nothing
            batches, self.batches = dict(self.batches), Tally()
            self.sent_at = time.monotonic()
        if held != self.nothing:
            self.counter.add.remote(self.stage, *held, peak_bytes(), batches, REQUESTS.drain())


@contextmanager
def show_progress(counter: Counter, total: int, stage: str) -> Iterator[None]:
    """Show, while the block runs, a bar with rate and time left on a terminal, else a line every ten seconds. It counts `stage`."""
    draw = _draw_bar if sys.stderr.isatty() else _print_lines
    with beside(partial(_draw_while_it_lives, draw, counter, total, stage)):
        yield


def _draw_while_it_lives(draw: Callable[..., None], counter: Counter, total: int, stage: str, done: threading.Event) -> None:
    try:
        draw(counter, total, stage, done)
    except ray.exceptions.RayError as error:  # it died with its node: a run does not fail over what is only shown
        print(f"No more progress is shown: {type(error).__name__}", file=sys.stderr, flush=True)


def _count(counter: Counter, stage: str) -> StageCount:
    return WATCH.see(ray.get(counter.snapshot.remote())).get(stage, StageCount())


def _speed(counter: Counter, stage: str, count: StageCount) -> str:
    """Return the rate, or what is done before there is one."""
    seconds = count.last_at - count.first_at
    return f"{rate(count.num_rows / seconds)}/s" if count.num_rows and seconds > 0 else str(ray.get(counter.doing.remote(stage)))


def _draw_bar(counter: Counter, total: int, stage: str, done: threading.Event) -> None:
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TextColumn("{task.fields[rejected]}", style="yellow"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as display:
        task = display.add_task(stage, total=total, speed="", rejected="")
        while True:
            is_last = done.wait(0.5)
            count = _count(counter, stage)
            rejected = f"{count.num_rejected} rejected" if count.num_rejected else ""
            display.update(task, completed=min(count.num_rows, total), speed=_speed(counter, stage, count), rejected=rejected)
            for note in ray.get(counter.take_notes.remote()):
                display.console.print(note, markup=False, highlight=False)
            if is_last:
                return


def _print_lines(counter: Counter, total: int, stage: str, done: threading.Event) -> None:
    printed_at, said = time.monotonic(), ""
    while True:
        is_last = done.wait(1.0)
        for note in ray.get(counter.take_notes.remote()):
            print(note, file=sys.stderr, flush=True)
        count = _count(counter, stage)
        if is_last:
            return
        speed, seconds = _speed(counter, stage, count), count.last_at - count.first_at
        is_news = not count.num_rows and speed != said
        if time.monotonic() - printed_at < 10.0 and not is_news:
            continue
        printed_at, said = time.monotonic(), speed
        num_done = min(count.num_rows, total)  # work that was lost with a worker counts twice
        left = f", about {duration(seconds / count.num_rows * (total - num_done))} left" if count.num_rows and seconds else ""
        print(f"{stage}: {num_done:,} of {total:,}, {speed}{left}", file=sys.stderr, flush=True)
