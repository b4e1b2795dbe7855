"""How fast what learns."""

import math

import torch

from artquant.config import FitSpec
from artquant.training.student import Student

_HEADS_HASTE = 5.0  # throw-away heads learn faster than what they look at


def learning_rate(step: int, sight_steps: int, num_steps: int, peak: float, warm_up: float) -> float:
    """Linear warm-up, then a cosine to nought, for sight and for speech; sight ends at half its rate, for speech goes on from there."""
    if step < sight_steps:
        done, total, shown = step, 2 * sight_steps, sight_steps
    else:
        done = step - sight_steps
        total = shown = num_steps - sight_steps
    rising = warm_up * shown
    if done < rising:
        return peak * (done + 1) / (math.ceil(rising) + 1)
    return peak * 0.5 * (1 + math.cos(math.pi * (done - rising) / max(1.0, total - rising)))


def optimizer_of(student: Student, fit: FitSpec) -> torch.optim.AdamW:
    """AdamW over all that learns; only matrices decay."""
    heads = {id(p) for p in student.sight.parameters()} if student.sight is not None else set()
    learning = [p for p in student.parameters() if p.requires_grad and id(p) not in heads]
    groups = [
        {"params": [p for p in learning if p.ndim > 1], "weight_decay": fit.weight_decay, "haste": 1.0},
        {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0.0, "haste": 1.0},
    ]
    if student.sight is not None:
        groups.append({"params": list(student.sight.parameters()), "weight_decay": 0.0, "haste": _HEADS_HASTE})
    optimizer = torch.optim.AdamW(groups, lr=fit.learning_rate, betas=(0.9, fit.beta2))
    for group in optimizer.param_groups:
        # Made at once for all: what has not learnt yet when a checkpoint is written must be found in it as it was.
        for p in group["params"]:
            optimizer.state[p] = {"step": torch.tensor(0.0), "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
    return optimizer
