"""First school of a small network that starts from nothing: its visual parts learn to tell paintings apart, before it learns to speak.

Linear heads on the mean vision token and the mean image feature predict a painting's attributes, qualities and score; they are thrown away.
"""

from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from artquant.model.modeling import MPLUGOwl2LlamaForCausalLM
from artquant.model.processing import normalise
from artquant.model.vision import VisionLayer
from artquant.paintings import Painting, attributes_of
from artquant.paintings.latents import QUALITIES


class Sight(nn.Module):
    """The heads, and what they should say: class numbers (N, attributes) int64, standardised score and qualities (N, 6) float32."""

    def __init__(self, model: MPLUGOwl2LlamaForCausalLM, paintings: list[Painting]):
        super().__init__()
        attributes = [attributes_of(painting.latents) for painting in paintings]
        values = {name: sorted({row[name] for row in attributes}) for name in attributes[0]}
        self.classes = torch.tensor([[values[name].index(row[name]) for name in values] for row in attributes])
        measures = torch.tensor([[p.score, *(getattr(p.latents, name) for name in QUALITIES)] for p in paintings], dtype=torch.float32)
        self.measures = (measures - measures.mean(0)) / measures.std(0)
        self.sizes = [len(options) for options in values.values()]
        num_outputs = sum(self.sizes) + measures.shape[1]
        visual = model.config.visual_config.visual_model
        self.names = list(values)
        self.shares = torch.zeros(len(values))  # of the attributes that the heads name rightly, running mean
        # Standardised: what differs little from picture to picture, as the trace of a brush, is heard as well as what differs much.
        self.of_vision = nn.Sequential(nn.BatchNorm1d(visual.hidden_size, affine=False), nn.Linear(visual.hidden_size, num_outputs))
        self.of_features = nn.Sequential(
            nn.BatchNorm1d(model.config.hidden_size, affine=False), nn.Linear(model.config.hidden_size, num_outputs)
        )

    def loss(self, vision_tokens: torch.Tensor, features: torch.Tensor, rows: np.ndarray) -> torch.Tensor:
        """Of the vision tokens (B, P, width) and image features (B, Q + 1, C) of the paintings `rows` (B,)."""
        return self._loss(self.of_vision(vision_tokens.mean(1)), rows) + self._loss(self.of_features(features.mean(1)), rows)

    def _loss(self, outputs: torch.Tensor, rows: np.ndarray) -> torch.Tensor:
        *classes, measures = outputs.float().split([*self.sizes, self.measures.shape[1]], dim=1)
        right = torch.stack([(logits.argmax(1) == self.classes[rows, i]).float().mean() for i, logits in enumerate(classes)])
        self.shares = 0.98 * self.shares + 0.02 * right
        named = [F.cross_entropy(logits, self.classes[rows, i]) for i, logits in enumerate(classes)]
        return torch.stack(named).mean() + F.mse_loss(measures, self.measures[rows])


@torch.no_grad()
def start_seeing(model: MPLUGOwl2LlamaForCausalLM, squares: np.ndarray, floor: float = 0.001) -> None:
    """Starts the patch embedding at principal components of real patches, each with the same variance: half of them the leading ones
    (colour and shape), half of them finer ones (brushwork), every fourth.

    The first block's MLP starts at each component's positive and negative part: their sum is the energy that tells brushwork apart.
    Pictures have most of their variance in flat colour; under random weights brushwork, a hundredth of it, would be learnt last.
    """
    weight = model.model.vision_model.embeddings.patch_embed.weight
    pixels = normalise(torch.from_numpy(np.array(squares)))
    patches = F.unfold(pixels, weight.shape[-1], stride=weight.shape[-1]).transpose(1, 2).flatten(0, 1)
    patches = patches - patches.mean(0)
    variances, components = torch.linalg.eigh(patches.T @ patches / len(patches))
    half = weight.shape[0] // 2
    chosen = len(variances) - 1 - torch.cat([torch.arange(half), torch.arange(half, 5 * half, 4)])  # eigh's order is rising
    weight.copy_((components[:, chosen] / (variances[chosen] + floor).sqrt()).T.reshape(weight.shape) / 2)
    mlp, width = cast(VisionLayer, model.model.vision_model.encoder.layers[0]).mlp, weight.shape[0]
    identity, mixing = torch.eye(width), torch.linalg.qr(torch.randn(width, width)).Q / 2
    mlp.fc1.weight[: 2 * width] = torch.cat([identity, -identity])
    mlp.fc2.weight[:, : 2 * width] = torch.cat([mixing, mixing], dim=1)
