"""The network with all that training adds to it, as one module: what DDP and FSDP wrap."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from artquant.model.vision import normalise
from artquant.training.examples import Batch, Example
from artquant.training.losses import Answers, answers, loss_sums, rank_loss_sum
from artquant.training.vision_warmup import VisionWarmup


class TrainingModel(nn.Module):
    """A network that learns. `level_ids` (5,) int64: the levels' tokens; `level_values` (5,): None for no loss between artworks.

    `num_groups`: into how many groups of like length the examples of a forward pass are put; the losses are the same.
    """

    num_groups = 8

    def __init__(self, model: Any, level_ids: list[int], vision_warmup: VisionWarmup | None, level_values: tuple[float, ...] | None = None):
        super().__init__()
        self.level_values = level_values
        self.model, self.vision_warmup, self.level_ids = model, vision_warmup, level_ids

    def forward(self, batch: Batch, with_text_loss: bool, return_probabilities: bool = False) -> dict[str, torch.Tensor]:
        """Return a batch's loss sums (see :func:`loss_sums`) and `vision_warmup`, the heads' mean loss; without `with_text_loss` only that.

        With `return_probabilities`, every example being a score, also `probabilities` (N, 5): closed-set, without a gradient.
        """
        vision_tokens = self.model.model.vision_model(normalise(batch.pixels))
        features = self.model.model.visual_abstractor(vision_tokens)
        sums = (
            {"vision_warmup": self.vision_warmup(vision_tokens, features, batch.rows)}
            if self.vision_warmup is not None and not return_probabilities
            else {}
        )
        if not with_text_loss:
            return sums
        if not len(batch.ids):  # nothing to say of these artworks; every worker's gradients must have the same parts all the same
            zero = features.float().sum() * 0 + self._zero_through_all(features)
            return sums | {"description": zero, "verdict": zero, "answer": zero, "level": zero}
        at = answers(batch.labels, batch.level_positions, batch.verdict_positions)
        logits, zero = self._logits_at(at, batch, features)
        sums |= self._sums(logits, at, batch.targets, return_probabilities)
        sums["description"] = sums["description"] + zero  # all is ignored where no picture was there
        return sums

    def _logits_at(self, at: Answers, batch: Batch, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits (M, vocabulary) at the answers' places, and a zero with a gradient.

        Padding costs as much as text, and a level's answer is much shorter than a description: the examples are taken by length.
        """
        lengths = batch.mask.sum(1)
        logits, found, zero = [], [], features.new_zeros((), dtype=torch.float32)
        for group in lengths.argsort(stable=True).tensor_split(min(self.num_groups, len(lengths))):
            longest = int(lengths[group].max())
            ids, mask = batch.ids[group, :longest], batch.mask[group, :longest]
            embeds = self.model.model.embed(ids, features[batch.artwork[group]])
            is_image = ids == self.model.config.image_token_index
            hidden = self.model.model(inputs_embeds=embeds, attention_mask=mask, image_positions=is_image).last_hidden_state
            place_in_group = torch.full_like(lengths, -1)
            place_in_group[group] = torch.arange(len(group), device=group.device)
            here = (place_in_group[at.rows] >= 0).nonzero().squeeze(1)
            logits.append(self.model.lm_head(hidden[place_in_group[at.rows[here]], at.places[here]]))
            found.append(here)
            zero = zero + hidden.float().sum() * 0
        return torch.cat(logits)[torch.cat(found).argsort()], zero

    def _sums(self, logits: torch.Tensor, at: Answers, targets: torch.Tensor, return_probabilities: bool) -> dict[str, torch.Tensor]:
        """Sum the losses of the logits (M, vocabulary) at the answers' places."""
        level_ids = torch.tensor(self.level_ids, device=logits.device)
        sums = loss_sums(logits, at, targets, level_ids)
        if self.level_values is not None:
            values = torch.tensor(self.level_values, device=logits.device)
            sums["rank"] = rank_loss_sum(logits[at.is_level][:, level_ids], targets, values)
        if return_probabilities:
            sums["probabilities"] = logits.detach()[at.is_level][:, level_ids].float().softmax(-1)
        return sums

    def _zero_through_all(self, features: torch.Tensor) -> torch.Tensor:
        """Return zero, through every parameter of the language model."""
        span = (0, features.shape[1])
        embeds = torch.cat(
            [features[:1], self.model.model.embed_tokens(torch.zeros(1, 1, dtype=torch.long, device=features.device))], dim=1
        )
        hidden = self.model.model(inputs_embeds=embeds, image_positions=span).last_hidden_state
        return self.model.lm_head(hidden[:, -1:]).float().sum() * 0


def total_loss(sums: dict[str, torch.Tensor], counts: dict[str, int], weights: dict[str, float]) -> torch.Tensor:
    """Return the weighted sum of the tasks' means; `counts` are those of the whole step: of all workers and forward passes.

    `counts`: description and answer tokens, verdicts, score samples (`level`), pairs of them (`rank`), forward passes (`vision_warmup`).
    The score task's loss is the sum of the means of `answer` and `level`.
    """
    parts = [weights[name] * sums[name] / max(1, counts[name]) for name in sums if name in weights]
    return torch.stack(parts).sum()


def example_counts(examples: Sequence[Sequence[Example]], rows: np.ndarray) -> dict[str, int]:
    """Count what the examples of `rows` (..., forward pass's artworks) hold: answer tokens by task, score samples and their pairs."""
    counts = {"description": 0, "verdict": 0, "answer": 0, "level": 0, "rank": 0}
    for forward_pass in rows.reshape(-1, rows.shape[-1]):
        before = counts["level"]
        for row in forward_pass:
            for example in examples[row]:
                counts["answer" if example.level_position >= 0 else "description"] += example.num_answer_tokens
                counts["level"] += example.level_position >= 0
                counts["verdict"] += example.verdict_position >= 0
        num = counts["level"] - before
        counts["rank"] += num * (num - 1) // 2
    return counts
