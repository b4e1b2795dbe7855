"""The network with all that training adds to it, as one module: what DDP and FSDP wrap."""

from typing import Any

import torch
from torch import nn

from artquant.model.processing import normalise
from artquant.training.lessons import Batch
from artquant.training.losses import Answers, answers, loss_sums
from artquant.training.sight import Sight


class Student(nn.Module):
    """A network that learns. `level_ids` (5,) int64: the levels' tokens."""

    def __init__(self, model: Any, level_ids: list[int], sight: Sight | None):
        super().__init__()
        self.model, self.sight, self.level_ids = model, sight, level_ids

    def forward(self, batch: Batch, speaks: bool, judges: bool = False) -> dict[str, torch.Tensor]:
        """Loss sums of a batch (see :func:`loss_sums`) and `sight`, the heads' mean loss; without `speaks` only that.

        With `judges`, every lesson being a score, also `probabilities` (N, 5): closed-set, without a gradient.
        """
        vision_tokens = self.model.model.vision_model(normalise(batch.pixels))
        features = self.model.model.visual_abstractor(vision_tokens)
        sums = {"sight": self.sight(vision_tokens, features, batch.rows)} if self.sight is not None and not judges else {}
        if not speaks:
            return sums
        if not len(batch.ids):  # nothing to say of these artworks; every worker's gradients must have the same parts all the same
            nought = features.float().sum() * 0 + self._whole_nought(features)
            return sums | {"description": nought, "answer": nought, "level": nought}
        embeds = self.model.model.embed(batch.ids, features[batch.artwork])
        is_image = batch.ids == self.model.config.image_token_index
        hidden = self.model.model(inputs_embeds=embeds, attention_mask=batch.mask, image_positions=is_image).last_hidden_state
        at = answers(batch.labels, batch.level_positions)
        sums |= self._sums(self.model.lm_head(hidden[at.rows, at.places]), at, batch.targets, judges)
        sums["description"] = sums["description"] + hidden.float().sum() * 0  # all is ignored where no picture was there
        return sums

    def _sums(self, logits: torch.Tensor, at: Answers, targets: torch.Tensor, judges: bool) -> dict[str, torch.Tensor]:
        """Of the logits (M, vocabulary) at the answers' places."""
        level_ids = torch.tensor(self.level_ids, device=logits.device)
        sums = loss_sums(logits, at, targets, level_ids)
        if judges:
            sums["probabilities"] = logits.detach()[at.is_level][:, level_ids].float().softmax(-1)
        return sums

    def _whole_nought(self, features: torch.Tensor) -> torch.Tensor:
        """Nought, through every parameter of the language model."""
        span = (0, features.shape[1])
        embeds = torch.cat(
            [features[:1], self.model.model.embed_tokens(torch.zeros(1, 1, dtype=torch.long, device=features.device))], dim=1
        )
        hidden = self.model.model(inputs_embeds=embeds, image_positions=span).last_hidden_state
        return self.model.lm_head(hidden[:, -1:]).float().sum() * 0


def total_loss(sums: dict[str, torch.Tensor], counts: dict[str, int], weights: dict[str, float]) -> torch.Tensor:
    """The weighted sum of the tasks' means; `counts` are those of the whole step: of all workers and forward passes.

    `counts`: description and answer tokens, score samples (`level`), forward passes (`sight`). The score task's loss is the sum of the
    means of `answer` and `level`.
    """
    parts = [weights[name] * sums[name] / max(1, counts[name]) for name in sums if name in weights]
    return torch.stack(parts).sum()


def lesson_counts(lessons: list, rows) -> dict[str, int]:
    """What the lessons of `rows` hold: answer tokens by task, and score samples."""
    counts = {"description": 0, "answer": 0, "level": 0}
    for row in rows.flat:
        for lesson in lessons[row]:
            counts["answer" if lesson.level_position >= 0 else "description"] += lesson.num_answer_tokens
            counts["level"] += lesson.level_position >= 0
    return counts
