"""Vision warm-up of a new network: its visual parts learn to tell artworks apart before it learns to write.

Linear heads on the mean vision token and the mean image feature predict the score and other columns of the annotations; they are thrown
away.
"""

from typing import cast

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from torch import nn

from artquant.model.modeling import MPLUGOwl2LlamaForCausalLM
from artquant.model.vision import VisionLayer, normalise


class VisionWarmup(nn.Module):
    """The heads, and what they should predict for each row.

    Class numbers (rows, text columns) int64, -1 where nothing is known; and measures (rows, 1 + number columns) float32, standardised, nan
    where nothing is known.
    """

    def __init__(self, model: MPLUGOwl2LlamaForCausalLM, table: pa.Table, columns: tuple[str, ...]):
        super().__init__()
        kinds = [pa.types.is_string(table.schema.field(name).type) for name in columns]
        texts = {name: table.column(name).to_pylist() for name, is_text in zip(columns, kinds, strict=True) if is_text}
        numbers = ["score", *(name for name, is_text in zip(columns, kinds, strict=True) if not is_text)]
        values = {name: sorted({value for value in texts[name] if value is not None}) for name in texts}
        numbered = {name: {value: i for i, value in enumerate(options)} for name, options in values.items()}
        classes = torch.tensor([[numbered[name].get(value, -1) for value in texts[name]] for name in texts], dtype=torch.long)
        self.classes = classes.T if texts else torch.zeros(len(table), 0, dtype=torch.long)
        measures = np.array([table.column(name).cast(pa.float64()).to_numpy(zero_copy_only=False) for name in numbers]).T
        spread = np.nanstd(measures, 0)
        self.measures = torch.tensor((measures - np.nanmean(measures, 0)) / np.where(spread > 0, spread, 1), dtype=torch.float32)
        self.sizes = [len(options) for options in values.values()]
        num_outputs = sum(self.sizes) + len(numbers)
        vision = model.config.visual_config.visual_model
        # Standardised, so that what differs little between pictures, such as brushwork, counts as much as what differs greatly.
        self.of_vision = nn.Sequential(nn.BatchNorm1d(vision.hidden_size, affine=False), nn.Linear(vision.hidden_size, num_outputs))
        self.of_features = nn.Sequential(
            nn.BatchNorm1d(model.config.hidden_size, affine=False), nn.Linear(model.config.hidden_size, num_outputs)
        )

    def forward(self, vision_tokens: torch.Tensor, features: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Mean loss over the vision tokens (B, P, width) and image features (B, Q + 1, C) of the table's `rows` (B,); -1: not there."""
        return self._loss(self.of_vision(vision_tokens.mean(1)), rows) + self._loss(self.of_features(features.mean(1)), rows)

    def _loss(self, outputs: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        *logits, measured = outputs.float().split([*self.sizes, self.measures.shape[1]], dim=1)
        index, is_there = rows.cpu(), (rows >= 0)[:, None]
        classes = torch.where(is_there, self.classes[index].to(rows.device), -1)
        measures = torch.where(is_there, self.measures[index].to(rows.device), torch.nan)
        is_finite = measures.isfinite()
        total = torch.where(is_finite, measured - measures.nan_to_num(), 0).square().sum() / is_finite.sum().clamp(min=1)
        for i, part in enumerate(logits):
            count = (classes[:, i] >= 0).sum().clamp(min=1) * len(logits)
            total = total + F.cross_entropy(part, classes[:, i], ignore_index=-1, reduction="sum") / count
        return total


@torch.no_grad()
def initialise_patches(model: MPLUGOwl2LlamaForCausalLM, squares: np.ndarray, floor: float = 0.001) -> None:
    """Initialise the patch embedding from principal components of real patches, each with the same variance.

    Half of them are the leading ones (colour and shape), and half are finer ones (brushwork), every fourth. The first block's MLP starts at
    each component's positive and negative part: their sum is the energy that tells brushwork apart. Pictures have most of their variance in
    flat colour; under random weights brushwork, a hundredth of it, would be learnt last.
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
