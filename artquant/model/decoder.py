"""The language model of ArtQuant's network, with the visual parts that it looks through, in torch alone.

Shapes: B images or sequences, T tokens, P = grid^2 + 1 vision tokens, Q + 1 image tokens, C the language model's width.
"""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import nn

from artquant.model.fields import MPLUGOwl2Fields
from artquant.model.recompute import Recomputed
from artquant.model.vision import VisionModel, VisualAbstractor

Rotary = tuple[torch.Tensor, torch.Tensor]
ImagePositions = tuple[int, int] | torch.Tensor | None
"""Where the image tokens are: a span [start, stop) common to all rows, or a bool mask (B, T), or None where all is text."""


class Cache(Protocol):
    """What the network asks of a cache of keys and values: ours, or any of transformers'."""

    def get_seq_length(self) -> int: ...
    def update(self, keys: torch.Tensor, values: torch.Tensor, layer: int, /) -> tuple[torch.Tensor, torch.Tensor]: ...


def _select(image: ImagePositions, text: torch.Tensor, visual: torch.Tensor) -> torch.Tensor:
    assert isinstance(image, torch.Tensor)
    return torch.where(image.unsqueeze(-1), visual, text)


class Multiway(nn.Module):
    """Two copies of a module: `multiway.0` for text positions, `multiway.1` for image positions."""

    def __init__(self, text: nn.Module, visual: nn.Module):
        super().__init__()
        self.multiway = nn.ModuleList([text, visual])

    def forward(self, x: torch.Tensor, image: ImagePositions) -> torch.Tensor:
        text, visual = self.multiway
        if image is None:
            return text(x)
        if isinstance(image, torch.Tensor):
            return _select(image, text(x), visual(x))
        start, stop = image
        pieces = [(text, x[:, :start]), (visual, x[:, start:stop]), (text, x[:, stop:])]
        return torch.cat([module(piece) for module, piece in pieces if piece.shape[1]], dim=1)


class RMSNorm(nn.Module):
    def __init__(self, hidden_size: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden_size))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalised in float32, scaled in x's dtype."""
        y = x.float()
        return self.weight * (y * torch.rsqrt(y.square().mean(-1, keepdim=True) + self.eps)).to(x.dtype)


class RotaryEmbedding:
    """Cosines and sines (B, 1, T, head_dim) of rotary positions, computed in float32, cast once for all layers."""

    def __init__(self, config: MPLUGOwl2Fields):
        self.head_dim, self.theta = config.head_dim, config.rope_theta

    def __call__(self, position_ids: torch.Tensor, dtype: torch.dtype) -> Rotary:
        steps = torch.arange(0, self.head_dim, 2, device=position_ids.device, dtype=torch.float32) / self.head_dim
        angles = position_ids[:, None, :, None].float() * (self.theta**-steps)
        angles = torch.cat([angles, angles], dim=-1)
        return angles.cos().to(dtype), angles.sin().to(dtype)


def _rotate(x: torch.Tensor, rotary: Rotary) -> torch.Tensor:
    cos, sin = rotary
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


class Attention(nn.Module):
    def __init__(self, config: MPLUGOwl2Fields, layer: int):
        super().__init__()
        self.config, self.layer, self.head_dim = config, layer, config.head_dim
        width, kv_width = config.hidden_size, config.num_key_value_heads * config.head_dim
        self.is_grouped = config.num_key_value_heads != config.num_attention_heads

        def linear(out: int) -> nn.Linear:
            return nn.Linear(width, out, bias=False)

        self.q_proj = linear(width)
        self.k_proj = Multiway(linear(kv_width), linear(kv_width))
        self.v_proj = Multiway(linear(kv_width), linear(kv_width))
        self.o_proj = linear(width)

    def forward(
        self, x: torch.Tensor, image: ImagePositions, rotary: Rotary, mask: torch.Tensor | None, is_causal: bool, cache: Cache | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return also the weights (B, heads, T, length) where transformers' `attn_implementation` is eager."""
        heads = (*x.shape[:2], -1, self.head_dim)
        q = _rotate(self.q_proj(x).view(heads).transpose(1, 2), rotary)
        k = _rotate(self.k_proj(x, image).view(heads).transpose(1, 2), rotary)
        v = self.v_proj(x, image).view(heads).transpose(1, 2)
        if cache is not None:
            k, v = cache.update(k, v, self.layer)
        weights = None
        if getattr(self.config, "_attn_implementation", None) == "eager":
            weights = _attention_weights(q, k, mask)
            y = weights @ v.repeat_interleave(q.shape[1] // v.shape[1], dim=1)
        else:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=is_causal, enable_gqa=self.is_grouped)
        return self.o_proj(y.transpose(1, 2).flatten(2)), weights


def _attention_weights(q: torch.Tensor, k: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """`mask` is added, as transformers' eager masks are; None: causal."""
    scores = q @ k.repeat_interleave(q.shape[1] // k.shape[1], dim=1).transpose(2, 3) * q.shape[-1] ** -0.5
    if mask is None:
        past = k.shape[2] - q.shape[2]
        later = torch.ones(scores.shape[2:], dtype=torch.bool, device=q.device).triu(past + 1)
        scores = scores.masked_fill(later, -torch.inf)
    else:
        scores = scores + mask
    return scores.softmax(-1, dtype=torch.float32).to(q.dtype)


class MLP(nn.Module):
    def __init__(self, config: MPLUGOwl2Fields):
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class DecoderLayer(Recomputed):
    def __init__(self, config: MPLUGOwl2Fields, layer: int):
        super().__init__()

        def norm() -> RMSNorm:
            return RMSNorm(config.hidden_size, config.rms_norm_eps)

        self.self_attn = Attention(config, layer)
        self.mlp = MLP(config)
        self.input_layernorm = Multiway(norm(), norm())
        self.post_attention_layernorm = Multiway(norm(), norm())

    def forward(
        self, x: torch.Tensor, image: ImagePositions, rotary: Rotary, mask: torch.Tensor | None, is_causal: bool, cache: Cache | None
    ) -> torch.Tensor:
        x = x + self.self_attn(self.input_layernorm(x, image), image, rotary, mask, is_causal, cache)[0]
        return x + self.mlp(self.post_attention_layernorm(x, image))


class Decoder:
    """The published `model`: what :class:`artquant.model.network.Network` and transformers' class have in common.

    Its parts are made by `build`, so that the constructor may be transformers'.
    """

    config: MPLUGOwl2Fields

    def build(self, config: MPLUGOwl2Fields) -> None:
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.layers = nn.ModuleList(DecoderLayer(config, i) for i in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.vision_model = VisionModel(config.visual_config.visual_model)
        self.visual_abstractor = VisualAbstractor(config.visual_config.visual_abstractor, config.hidden_size)
        self.rotary = RotaryEmbedding(config)

    def get_image_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) normalised pixels -> (B, Q + 1, C) embeddings."""
        return self.visual_abstractor(self.vision_model(pixel_values))

    def embed(self, input_ids: torch.Tensor, image_features: torch.Tensor | None) -> torch.Tensor:
        """Embed tokens (B, T, C), with the image features in place of the image tokens, in order.

        Raises ValueError if the number of image tokens is not the number of features.
        """
        return self.fill(input_ids, input_ids == self.config.image_token_index, image_features)

    def fill(self, input_ids: torch.Tensor, is_image: torch.Tensor, image_features: torch.Tensor | None) -> torch.Tensor:
        """Do as :meth:`embed`, with the image tokens where `is_image` (B, T) says. A graph that is traced is not held to their number."""
        embeds = self.embed_tokens(input_ids.masked_fill(is_image, 0))
        if not torch.compiler.is_compiling():
            num_images = 0 if image_features is None else len(image_features)
            if (num_found := int(is_image.sum())) != num_images * self.config.num_image_tokens:
                raise ValueError(f"{num_found} image tokens for {num_images} images of {self.config.num_image_tokens} tokens each")
        return embeds if image_features is None else embeds.masked_scatter(is_image.unsqueeze(-1), image_features.to(embeds.dtype))

    def hidden(
        self,
        inputs_embeds: torch.Tensor,
        image_positions: ImagePositions = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        cache: Cache | None = None,
    ) -> torch.Tensor:
        """(B, T, C) embeddings -> (B, T, C) hidden states behind the final norm.

        `attention_mask` (B, past + T) is true where there is a token; without it there is no padding.
        """
        length, device = inputs_embeds.shape[1], inputs_embeds.device
        past = cache.get_seq_length() if cache is not None else 0
        if position_ids is None:
            position_ids = torch.arange(past, past + length, device=device).unsqueeze(0)
        mask = None
        is_causal = past == 0 and attention_mask is None and length > 1
        if attention_mask is not None or (past and length > 1):
            mask = torch.ones(length, past + length, dtype=torch.bool, device=device).tril(past)
            if attention_mask is not None:
                # A padded position sees itself: a row that is masked whole would be NaN.
                itself = torch.eye(length, dtype=torch.bool, device=device)
                itself = F.pad(itself, (past, 0))
                mask = (mask & attention_mask[:, None, None, :].bool()) | itself
        return self.run(inputs_embeds, image_positions, position_ids, mask, is_causal, cache)

    def run(
        self,
        x: torch.Tensor,
        image_positions: ImagePositions,
        position_ids: torch.Tensor,
        mask: torch.Tensor | None,
        is_causal: bool,
        cache: Cache | None,
    ) -> torch.Tensor:
        """Do as :meth:`hidden`, with the mask as attention takes it; `is_causal` in its place where it is None."""
        rotary = self.rotary(position_ids, x.dtype)
        for layer in self.layers:
            x = layer(x, image_positions, rotary, mask, is_causal, cache)
        return self.norm(x)
