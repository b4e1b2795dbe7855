"""Which rows a step trains on: a pure function of the seed and the step, so that a run that goes on sees what an unbroken one would."""

from functools import lru_cache

import numpy as np


@lru_cache(maxsize=4)
def _epoch(num_rows: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(num_rows)


def drawn(num_rows: int, seed: int, start: int, stop: int) -> np.ndarray:
    """Return the rows at positions start .. stop of the endless sequence of permuted epochs, (stop - start,) int64."""
    epochs = range(start // num_rows, -(-stop // num_rows))
    sequence = np.concatenate([_epoch(num_rows, seed, epoch) for epoch in epochs]) if epochs else np.empty(0, np.int64)
    first = start - epochs.start * num_rows
    return sequence[first : first + stop - start]


def step_rows(num_rows: int, seed: int, step: int, batch_size: int, gradient_accumulation_steps: int, world_size: int) -> np.ndarray:
    """Return an optimizer step's rows, (accumulation steps, world_size, batch_size) int64: each forward pass of each worker has its own."""
    size = batch_size * gradient_accumulation_steps * world_size
    return drawn(num_rows, seed, step * size, (step + 1) * size).reshape(gradient_accumulation_steps, world_size, batch_size)
