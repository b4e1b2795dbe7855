"""The two training losses (ArtQuant, arXiv 2512.23413, section on training), as sums over a batch: a batch may be spread over workers and
forward passes, and each must divide by what all of them hold."""

from typing import NamedTuple

import torch
import torch.nn.functional as F

IGNORE = -100


class Answers(NamedTuple):
    """The M places in N sequences from which an answer's token is predicted, in the order of the sequences.

    rows, places (M,) int64: where the hidden state is read; tokens (M,) int64: what follows; is_score, is_level (M,) bool: whether the
    sequence is a score sample, and whether the token is its level.
    """

    rows: torch.Tensor
    places: torch.Tensor
    tokens: torch.Tensor
    is_score: torch.Tensor
    is_level: torch.Tensor


def answers(labels: torch.Tensor, level_positions: torch.Tensor) -> Answers:
    """Find where answers are predicted from labels (N, T) int64 and level_positions (N,) int64.

    Labels are `IGNORE` where there is nothing to learn; positions are -1 in a description sample.
    """
    rows, places = (labels[:, 1:] != IGNORE).nonzero(as_tuple=True)
    level = level_positions[rows]
    return Answers(rows, places, labels[rows, places + 1], level >= 0, places + 1 == level)


def loss_sums(logits: torch.Tensor, at: Answers, targets: torch.Tensor, level_ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """Float32 scalars, each with a gradient even where it is zero. logits (M, V); targets (score samples, 5); level_ids (5,).

    `description`: cross-entropy summed over the description samples' tokens. `answer`: the same of the score samples with the level's token
    taken out. `level`: KL(target || softmax over the whole vocabulary) at the level's position, summed over the score samples.
    """
    log_probabilities = logits.float().log_softmax(-1)
    nll = -log_probabilities.gather(1, at.tokens[:, None]).squeeze(1)
    predicted = log_probabilities[at.is_level][:, level_ids]
    return {
        "description": (nll * ~at.is_score).sum(),
        "answer": (nll * (at.is_score & ~at.is_level)).sum(),
        "level": F.kl_div(predicted, targets.float(), reduction="sum"),
    }
