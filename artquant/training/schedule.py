"""Learning-rate schedule and optimizer parameter groups."""

import math

import torch

from artquant.config import FitSpec
from artquant.training.training_model import TrainingModel

HEADS_LR_MULTIPLIER = 5.0  # heads that are thrown away learn faster than the features they read


def learning_rate(step: int, warmup_steps: int, num_steps: int, peak: float, warmup_ratio: float) -> float:
    """Return the learning rate at `step`: in each phase a linear warm-up, then a cosine.

    The vision warm-up's stops midway down: at half the peak for a `warmup_ratio` of 0, above it for any other. The text's ends at zero.
    """
    if step < warmup_steps:
        done, total, shown = step, 2 * warmup_steps, warmup_steps
    else:
        done = step - warmup_steps
        total = shown = num_steps - warmup_steps
    rising = warmup_ratio * shown
    if done < rising:
        return peak * (done + 1) / (math.ceil(rising) + 1)
    return peak * 0.5 * (1 + math.cos(math.pi * (done - rising) / max(1.0, total - rising)))


def optimizer_of(training_model: TrainingModel, fit: FitSpec) -> torch.optim.AdamW:
    """Make AdamW over all parameters that learn; only matrices decay."""
    heads = {id(p) for p in training_model.vision_warmup.parameters()} if training_model.vision_warmup is not None else set()
    learning = [p for p in training_model.parameters() if p.requires_grad and id(p) not in heads]
    groups = [
        {"params": [p for p in learning if p.ndim > 1], "weight_decay": fit.weight_decay, "lr_multiplier": 1.0},
        {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0.0, "lr_multiplier": 1.0},
    ]
    if training_model.vision_warmup is not None:
        groups.append(
            {"params": list(training_model.vision_warmup.parameters()), "weight_decay": 0.0, "lr_multiplier": HEADS_LR_MULTIPLIER}
        )
    optimizer = torch.optim.AdamW(groups, lr=fit.learning_rate, betas=(0.9, fit.beta2))
    for group in optimizer.param_groups:
        # Made at once for all: what has not learnt yet when a checkpoint is written must be found in it as it was.
        for p in group["params"]:
            optimizer.state[p] = {"step": torch.tensor(0.0), "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
    return optimizer
