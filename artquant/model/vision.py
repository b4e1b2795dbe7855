"""The visual parts of ArtQuant's network: vision transformer and abstractor (a resampler to a fixed number of tokens)."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import nn

from artquant.model.fields import VisualAbstractorFields, VisualModelFields
from artquant.model.normalisation import CLIP_MEAN, CLIP_STD
from artquant.model.recompute import Recomputed


def normalise(pixels: torch.Tensor) -> torch.Tensor:
    """(B, S, S, 3) uint8 -> (B, 3, S, S) float32 with CLIP's mean and standard deviation, on the tensor's device."""
    mean = torch.tensor(CLIP_MEAN, device=pixels.device) * 255
    std = torch.tensor(CLIP_STD, device=pixels.device) * 255
    return ((pixels.float() - mean) / std).permute(0, 3, 1, 2)


def _sincos(positions: torch.Tensor, dim: int) -> torch.Tensor:
    """(N,) positions -> (N, dim): sines of all frequencies, then cosines."""
    frequencies = 10000.0 ** -(torch.arange(dim // 2, dtype=torch.float64) / (dim / 2))
    angles = positions.double()[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def position_tables(num_queries: int, grid_size: int, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the abstractor's fixed tables, float32.

    Queries (Q, dim) over their index; keys (1 + grid^2, dim) over column and row, zero for the class token.
    """
    rows, columns = torch.meshgrid(torch.arange(grid_size), torch.arange(grid_size), indexing="ij")
    keys = torch.cat([_sincos(columns.flatten(), dim // 2), _sincos(rows.flatten(), dim // 2)], dim=1)
    return _sincos(torch.arange(num_queries), dim).float(), F.pad(keys, (0, 0, 1, 0)).float()


_TILE_ROWS = 256


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Attend from all to all: (B, heads, T, dim) each -> (B, heads, T, dim).

    On a CPU in bfloat16, torch's fused kernel does not use the processor's bfloat16 products: tiles of plain ones take 0.6 of its time.
    """
    if q.device.type != "cpu" or q.dtype != torch.bfloat16 or torch.is_grad_enabled():
        return F.scaled_dot_product_attention(q, k, v)
    out = torch.empty_like(q)
    for image in range(len(q)):  # one image's scores stay in the cache
        queries, keys, values = q[image] * q.shape[-1] ** -0.5, k[image].transpose(-1, -2).contiguous(), v[image].contiguous()
        for top in range(0, q.shape[2], _TILE_ROWS):
            rows = slice(top, top + _TILE_ROWS)
            out[image, :, rows] = (queries[:, rows] @ keys).softmax(-1) @ values
    return out


class VisionEmbeddings(nn.Module):
    def __init__(self, config: VisualModelFields):
        super().__init__()
        width, self.patch_size = config.hidden_size, config.patch_size
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.patch_embed = nn.Conv2d(3, width, config.patch_size, config.patch_size, bias=False)
        self.position_embedding = nn.Parameter(torch.zeros(1, config.grid_size**2 + 1, width))
        self.pre_layernorm = nn.LayerNorm(width, config.layer_norm_eps)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        patches = self.patch_embed(pixel_values.to(self.patch_embed.weight.dtype)).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(patches), -1, -1).to(patches.dtype), patches], dim=1)
        return self.pre_layernorm(x + self.position_embedding)


class VisionAttention(nn.Module):
    def __init__(self, config: VisualModelFields):
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.query_key_value = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        # Laid out per head as [q | k | v].
        q, k, v = self.query_key_value(x).view(batch, length, self.num_heads, 3, width // self.num_heads).permute(3, 0, 2, 1, 4)
        return self.dense(attend(q, k, v).transpose(1, 2).flatten(2))


class VisionMLP(nn.Module):
    def __init__(self, config: VisualModelFields):
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.fc1(x)
        return self.fc2(y * torch.sigmoid(1.702 * y))  # QuickGELU


class VisionLayer(Recomputed):
    def __init__(self, config: VisualModelFields):
        super().__init__()
        self.self_attn = VisionAttention(config)
        self.mlp = VisionMLP(config)
        self.input_layernorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.post_attention_layernorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.self_attn(self.input_layernorm(x))
        return x + self.mlp(self.post_attention_layernorm(x))


class Layers(nn.Module):
    """The `encoder.layers` of the published names."""

    def __init__(self, layers: Iterable[nn.Module]):
        super().__init__()
        self.layers = nn.ModuleList(layers)


class VisionModel(nn.Module):
    def __init__(self, config: VisualModelFields):
        super().__init__()
        self.embeddings = VisionEmbeddings(config)
        self.encoder = Layers(VisionLayer(config) for _ in range(config.num_hidden_layers))
        self.post_layernorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) -> (B, P, width); the final norm is over all tokens."""
        x = self.embeddings(pixel_values)
        for layer in self.encoder.layers:
            x = layer(x)
        return self.post_layernorm(x)


class VisualCrossAttention(nn.Module):
    """Queries look at themselves and the vision tokens; positions enter the inputs of the query and key projections, not the value's."""

    def __init__(self, config: VisualAbstractorFields):
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.encoder_hidden_size, config.hidden_size)
        self.value = nn.Linear(config.encoder_hidden_size, config.hidden_size)
        self.q_pos_embed = nn.Parameter(torch.zeros(config.num_learnable_queries, config.hidden_size), requires_grad=False)
        self.k_pos_embed = nn.Parameter(torch.zeros(config.grid_size**2 + 1, config.hidden_size), requires_grad=False)

    def forward(self, queries: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """(B, Q, C), (B, Q + P, C) -> (B, Q, C)."""

        def split(x: torch.Tensor) -> torch.Tensor:
            return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

        positions = torch.cat([self.q_pos_embed, self.k_pos_embed])
        q, k, v = split(self.query(queries + self.q_pos_embed)), split(self.key(context + positions)), split(self.value(context))
        return attend(q, k, v).transpose(1, 2).flatten(2)


class AbstractorMLP(nn.Module):
    def __init__(self, config: VisualAbstractorFields):
        super().__init__()
        self.w1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.w2 = nn.Linear(config.intermediate_size, config.hidden_size)
        self.w3 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.ffn_ln = nn.LayerNorm(config.intermediate_size, config.layer_norm_eps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.w2(self.ffn_ln(F.silu(self.w1(x)) * self.w3(x)))


class AbstractorOutput(nn.Module):
    def __init__(self, config: VisualAbstractorFields):
        super().__init__()
        self.norm2 = nn.LayerNorm(config.hidden_size)
        self.out_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.mlp = AbstractorMLP(config)

    def forward(self, attended: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        x = residual + self.out_proj(attended)
        return x + self.mlp(self.norm2(x))


class AbstractorCrossAttention(nn.Module):
    def __init__(self, config: VisualAbstractorFields):
        super().__init__()
        self.norm1 = nn.LayerNorm(config.hidden_size)
        self.normk = nn.LayerNorm(config.encoder_hidden_size)
        self.attention = VisualCrossAttention(config)
        self.output = AbstractorOutput(config)

    def forward(self, x: torch.Tensor, vision_tokens: torch.Tensor) -> torch.Tensor:
        queries = self.norm1(x)
        context = torch.cat([queries, self.normk(vision_tokens)], dim=1)
        return self.output(self.attention(queries, context), residual=queries)  # the residual is the normed input


class AbstractorLayer(Recomputed):
    def __init__(self, config: VisualAbstractorFields):
        super().__init__()
        self.crossattention = AbstractorCrossAttention(config)

    def forward(self, x: torch.Tensor, vision_tokens: torch.Tensor) -> torch.Tensor:
        return self.crossattention(x, vision_tokens)


class VisualAbstractor(nn.Module):
    def __init__(self, config: VisualAbstractorFields, language_width: int):
        super().__init__()
        self.query_embeds = nn.Parameter(torch.zeros(1, config.num_learnable_queries, config.hidden_size))
        self.encoder = Layers(AbstractorLayer(config) for _ in range(config.num_hidden_layers))
        self.visual_fc = nn.Linear(config.hidden_size, language_width)
        self.vit_eos = nn.Parameter(torch.zeros(1, 1, language_width))

    def forward(self, vision_tokens: torch.Tensor) -> torch.Tensor:
        """(B, P, width) -> (B, Q + 1, C)."""
        x = self.query_embeds.expand(len(vision_tokens), -1, -1)
        for layer in self.encoder.layers:
            x = layer(x, vision_tokens)
        x = self.visual_fc(x)
        return torch.cat([x, self.vit_eos.expand(len(x), -1, -1).to(x.dtype)], dim=1)
