"""What the workers of a stage have done so far, as plain numbers; whoever reads them needs no Ray."""

from bisect import bisect_left
from dataclasses import dataclass, field

BATCH_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)  # seconds; one list, so that all runs can be summed


def bucket_of(seconds: float) -> int:
    """Return the place in BATCH_BUCKETS of the first bound that holds the duration; behind the last, len(BATCH_BUCKETS)."""
    return bisect_left(BATCH_BUCKETS, seconds)


@dataclass
class StageCount:
    num_rows: int = 0
    num_rejected: int = 0
    busy_seconds: float = 0.0  # summed over the stage's workers
    throttled_seconds: float = 0.0  # of waiting for an overloaded store, summed over their threads
    num_shrunk: int = 0  # how often a worker made its batches smaller, for want of memory
    first_at: float = 0.0  # monotonic seconds of the counter's process
    last_at: float = 0.0
    peak_bytes: int = 0  # of the stage's largest process
    batches: dict[int, int] = field(default_factory=dict)  # by bucket_of
    refused: dict[str, int] = field(
        default_factory=dict
    )  # workers that were not let in, because they scored the golden set otherwise: node ->
    requests: dict[tuple[str, str], int] = field(default_factory=dict)  # to the store: (operation, outcome) -> how many
