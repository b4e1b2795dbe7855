"""The two training losses (ARTQUANT, arXiv 2512.23413, section on training) as plain functions of logits."""

import torch
import torch.nn.functional as F

IGNORE = -100


def description_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean next-token cross-entropy, a float32 scalar. logits (B, T, V); labels (B, T), `IGNORE` where nothing is to be learnt.

    Zero, with a gradient, where no label counts.
    """
    targets = labels[:, 1:].flatten()
    total = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), targets, ignore_index=IGNORE, reduction="sum")
    return total / (targets != IGNORE).sum().clamp(min=1)


def level_loss(logits: torch.Tensor, level_positions: torch.Tensor, targets: torch.Tensor, level_ids: torch.Tensor) -> torch.Tensor:
    """Batch mean of KL(target || softmax over the whole vocabulary) at the position that predicts the level.

    logits (B, T, V); level_positions (B,) int64, where the level token stands; targets (B, 5) probabilities; level_ids (5,).
    """
    rows = torch.arange(len(logits), device=logits.device)
    predicted = logits[rows, level_positions - 1].float().log_softmax(-1)[:, level_ids]
    return F.kl_div(predicted, targets.float(), reduction="batchmean")


def score_loss(
    logits: torch.Tensor, labels: torch.Tensor, level_positions: torch.Tensor, targets: torch.Tensor, level_ids: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy over the answer with the level token taken out, plus :func:`level_loss`."""
    rows = torch.arange(len(labels), device=labels.device)
    others = labels.clone()
    others[rows, level_positions] = IGNORE
    return description_loss(logits, others) + level_loss(logits, level_positions, targets, level_ids)
