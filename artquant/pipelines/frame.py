"""What every stage of a pipeline shares, so that a stage defines only `process`."""

import time
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

import numpy as np

from artquant.core.errors import Reject, UserError
from artquant.pipelines.in_hand import of_this_worker
from artquant.pipelines.suspicion import share
from artquant.progress.stages import Counter, StageReport
from artquant.storage.store import open_store

Batch = dict[str, np.ndarray]
InputT = TypeVar("InputT", contravariant=True)
OutputT = TypeVar("OutputT")


class WorkerSettings(Protocol):
    """What each stage's settings have."""

    @property
    def stall_seconds(self) -> float: ...
    @property
    def counter(self) -> Counter: ...
    @property
    def suspicions(self) -> str: ...  # where the workers of one piece of work tell each other what killed them; '': nowhere


class Stage(Generic[InputT, OutputT]):
    """A worker of one stage: it keeps the journal of what is in hand, and counts, times and reports what `process` returns."""

    def __init__(self, name: str, settings: WorkerSettings):
        self.in_hand = of_this_worker(settings.stall_seconds)
        if settings.suspicions:
            try:
                share(self.in_hand, open_store(settings.suspicions))
            except (UserError, Reject) as error:  # each worker finds it out by itself then
                settings.counter.note.remote(f"What killed other workers is not known to this one: {error}")
        while self.in_hand.news:  # what became of the worker before this one
            settings.counter.note.remote(self.in_hand.news.pop(0))
        self.report = StageReport(settings.counter, name)

    def process(self, batch: InputT) -> Iterator[OutputT]:
        """Process one batch of Ray Data into any number of blocks."""
        raise NotImplementedError

    def count(self, output: OutputT) -> tuple[int, int]:
        """Count the rows of a block, and how many of them this stage rejected."""
        raise NotImplementedError

    def news(self) -> tuple[float, int]:
        """Return, since the last call, the seconds of waiting for an overloaded store, and how often the batches were made smaller."""
        return 0.0, 0

    def __call__(self, batch: InputT) -> Iterator[OutputT]:
        outputs = self.process(batch)
        while True:
            started = time.monotonic()
            try:
                output = next(outputs)
            except StopIteration:
                break
            num_rows, num_rejected = self.count(output)
            self.report.add(num_rows, time.monotonic() - started, num_rejected, *self.news())
            yield output
        self.report.send()
