"""One optimizer step of one worker, and what it leaves on the parameters."""

import numpy as np
import torch

from artquant.training.data import Task
from artquant.training.loop import Worker
from artquant.training.order import step_rows

CPU = torch.device("cpu")
UNCLIPPED = {"max_grad_norm": 1e9}


def worker_of(task: Task) -> Worker:
    return Worker(task, 0, 1, CPU)


def take_step(worker: Worker, step: int = 0) -> dict[str, float] | None:
    """Its losses by task."""
    fit = worker.spec.fit
    rows = step_rows(len(worker.rows), fit.seed, step, fit.batch_size, fit.gradient_accumulation_steps, 1)
    return worker._step(step, rows, list(worker.pictures.batches(rows[:, 0])))


def gradients(task: Task) -> dict[str, torch.Tensor]:
    """Of the first step, as the optimizer was given them: Adam's weights would not show their length."""
    worker = worker_of(task)
    take_step(worker)
    return {name: p.grad.clone() for name, p in worker.bare.named_parameters() if p.grad is not None}


def norm(parts: dict[str, torch.Tensor]) -> float:
    return float(torch.stack([part.norm() for part in parts.values()]).norm())


def assert_close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float = 1e-4) -> None:
    """All of them together: a single gradient may be zero but for rounding."""
    assert found.keys() == expected.keys()
    assert norm({name: found[name] - expected[name] for name in found}) < tolerance * norm(expected)
    assert np.isfinite(norm(found)) and norm(found) > 0
