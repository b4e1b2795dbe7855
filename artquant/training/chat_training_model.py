"""The training model of every backbone but mPLUG-Owl2: transformers' own forward pass over pixels and text."""

from typing import Any

import torch

from artquant.model.chat import ChatProcessor, can_take
from artquant.training.examples import Batch
from artquant.training.losses import answers
from artquant.training.network import Network
from artquant.training.training_model import TrainingModel
from artquant.training.vision_warmup import VisionWarmup


class ChatTrainingModel(TrainingModel):
    """Each example is a sequence with a picture of its own, however many an artwork has."""

    def __init__(self, model: Any, processor: ChatProcessor, prompt: str, level_values: tuple[float, ...] | None = None):
        super().__init__(model, processor.level_token_ids(prompt), None, level_values)
        self.processor, self.asked = processor, processor.encode_prompt(prompt)

    def forward(self, batch: Batch, with_text_loss: bool, return_probabilities: bool = False) -> dict[str, torch.Tensor]:
        """Do as a :class:`TrainingModel` does."""
        assert with_text_loss
        if not len(batch.ids):  # nothing to say of these artworks; every worker's gradients must have the same parts all the same
            ids = torch.tensor([self.asked], device=batch.ids.device)
            zero = self._logits(ids, torch.ones_like(ids, dtype=torch.bool), batch.pixels[:1], ids.new_zeros(1)).float().sum() * 0
            return {"description": zero, "verdict": zero, "answer": zero, "level": zero}
        at = answers(batch.labels, batch.level_positions, batch.verdict_positions)
        places = torch.cat([at.places, at.places.new_zeros(1)]).unique()  # one at least: all is ignored where no picture was there
        logits = self._logits(batch.ids, batch.mask, batch.pixels[batch.artwork], places)
        sums = self._sums(logits[at.rows, torch.searchsorted(places, at.places)], at, batch.targets, return_probabilities)
        sums["description"] = sums["description"] + logits.float().sum() * 0
        return sums

    def _logits(self, ids: torch.Tensor, mask: torch.Tensor, pixels: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, number of places, vocabulary) of N sequences."""
        ids = torch.where(mask, ids, self.processor.tokenizer.eos_token_id)  # the padding must not be taken for an image
        pictures = self.processor.pictures(pixels.cpu().numpy())
        seen = {name: value.to(ids.device) if isinstance(value, torch.Tensor) else value for name, value in pictures.items()}
        inputs = self.processor.tokens(ids, mask) | seen
        if can_take(self.model, "logits_to_keep"):
            return self.model(**inputs, logits_to_keep=places, use_cache=False).logits
        return self.model(**inputs, use_cache=False).logits[:, places]


def make_training_model(network: Network, vision_warmup: VisionWarmup | None, ranks: bool = False) -> TrainingModel:
    """Make the training model; with `ranks` it has the loss between artworks too."""
    prompt, processor = network.prompts.score, network.processor
    level_values = tuple(network.prompts.level_values) if ranks else None
    if isinstance(processor, ChatProcessor):
        return ChatTrainingModel(network.model, processor, prompt, level_values)
    return TrainingModel(network.model, processor.level_token_ids(prompt), vision_warmup, level_values)
