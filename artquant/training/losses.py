"""The two training losses (ArtQuant, arXiv 2512.23413, section on training), as sums over a batch: a batch may be spread over workers and
forward passes, and each must divide by what all of them hold."""

from typing import NamedTuple

import torch
import torch.nn.functional as F

IGNORE = -100
RANK_FLOOR = 0.1  # gaps between levels: added to both spreads of a comparison, so that a prediction without any has a gradient


class Answers(NamedTuple):
    """The M places in N sequences from which an answer's token is predicted, in the order of the sequences.

    rows, places (M,) int64: where the hidden state is read; tokens (M,) int64: what follows; is_score, is_level, is_verdict (M,) bool:
    whether the sequence is a score sample, and whether the token is its level, or a verdict.
    """

    rows: torch.Tensor
    places: torch.Tensor
    tokens: torch.Tensor
    is_score: torch.Tensor
    is_level: torch.Tensor
    is_verdict: torch.Tensor


def answers(labels: torch.Tensor, level_positions: torch.Tensor, verdict_positions: torch.Tensor) -> Answers:
    """Find where answers are predicted from labels (N, T) int64, and level_positions and verdict_positions (N,) int64.

    Labels are `IGNORE` where there is nothing to learn; positions are -1 in other samples.
    """
    rows, places = (labels[:, 1:] != IGNORE).nonzero(as_tuple=True)
    level = level_positions[rows]
    return Answers(rows, places, labels[rows, places + 1], level >= 0, places + 1 == level, places + 1 == verdict_positions[rows])


def loss_sums(logits: torch.Tensor, at: Answers, targets: torch.Tensor, level_ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """Float32 scalars, each with a gradient even where it is zero. logits (M, V); targets (score samples, 5); level_ids (5,).

    `description`: cross-entropy summed over the description samples' tokens; `verdict`: over the verdicts among them. `answer`: the same of
    the score samples with the level's token taken out. `level`: KL(target || softmax over the whole vocabulary) at the level's position,
    summed over the score samples.
    """
    log_probabilities = logits.float().log_softmax(-1)
    nll = -log_probabilities.gather(1, at.tokens[:, None]).squeeze(1)
    predicted = log_probabilities[at.is_level][:, level_ids]
    return {
        "description": (nll * ~(at.is_score | at.is_verdict)).sum(),
        "verdict": (nll * at.is_verdict).sum(),
        "answer": (nll * (at.is_score & ~at.is_level)).sum(),
        "level": F.kl_div(predicted, targets.float(), reduction="sum"),
    }


def rank_loss_sum(logits: torch.Tensor, targets: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Sum the fidelity loss over all pairs of score samples (DeQA-Score, arXiv 2501.11561, after Thurstone's model of comparison).

    logits, targets (N, 5); values (5,): of the levels, best first. The probability that one artwork is liked better than another is
    `Phi((m1 - m2) / sqrt(s1^2 + s2^2))` with mean and spread of five probabilities, of the closed-set softmax and of the target alike; a
    pair of these probabilities p and g costs `1 - sqrt(p g) - sqrt((1 - p)(1 - g))`, which is 0 where they are equal.
    """
    first, second = torch.triu_indices(len(logits), len(logits), 1, device=logits.device)
    floor = (RANK_FLOOR * (values.max() - values.min()) / (len(values) - 1)) ** 2

    def preferred(p: torch.Tensor) -> torch.Tensor:
        mean = p @ values
        variance = (p * (values - mean[:, None]) ** 2).sum(1) + floor
        z = (mean[first] - mean[second]) / (variance[first] + variance[second]).sqrt()
        liked: torch.Tensor = torch.special.ndtr(z).clamp(1e-6, 1 - 1e-6)
        return liked

    p, g = preferred(logits.float().softmax(-1)), preferred(targets.float())
    total: torch.Tensor = (1 - (p * g).sqrt() - ((1 - p) * (1 - g)).sqrt()).sum()
    return total
