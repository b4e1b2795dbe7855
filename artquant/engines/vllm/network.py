"""ArtQuant's network (mPLUG-Owl2) inside vLLM: its tensor-parallel layers and paged attention round our vision model and abstractor.

A step's tokens, of any number of requests, come as one row of T; those of images are told by their ids (`requires_raw_input_tokens`).
"""

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import nn
from vllm.config import VllmConfig
from vllm.distributed import get_tensor_model_parallel_world_size
from vllm.model_executor.layers.attention import Attention
from vllm.model_executor.layers.linear import MergedColumnParallelLinear, QKVParallelLinear, RowParallelLinear
from vllm.model_executor.layers.logits_processor import LogitsProcessor
from vllm.model_executor.layers.rotary_embedding import get_rope
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, VocabParallelEmbedding
from vllm.model_executor.model_loader.weight_utils import default_weight_loader
from vllm.model_executor.models.interfaces import SupportsMultiModal, SupportsQuant
from vllm.model_executor.models.llama import LlamaMLP
from vllm.model_executor.models.utils import maybe_prefix
from vllm.multimodal import MULTIMODAL_REGISTRY

from artquant.core.prompts import IMAGE_PLACEHOLDER
from artquant.engines.vllm.processor import DummyInputs, MultiModalProcessor, ProcessingInfo
from artquant.model.configuration import MPLUGOwl2Config
from artquant.model.location import is_adapter
from artquant.model.modeling import MPLUGOwl2LlamaForCausalLM
from artquant.model.vision import VisionModel, VisualAbstractor, normalise

_STACKED = (  # part of a published name, the layer that holds it here, and its place in that layer
    (".k_proj.multiway.1.", ".image_kv_proj.", 0),
    (".v_proj.multiway.1.", ".image_kv_proj.", 1),
    (".q_proj.", ".qkv_proj.", "q"),
    (".k_proj.multiway.0.", ".qkv_proj.", "k"),
    (".v_proj.multiway.0.", ".qkv_proj.", "v"),
    (".gate_proj.", ".gate_up_proj.", 0),
    (".up_proj.", ".gate_up_proj.", 1),
)


class ImageTokens:
    """Where a step's image tokens are: a mask (T, 1), and their rows (N,), or none where shapes may not depend on data (CUDA graphs)."""

    def __init__(self, mask: torch.Tensor, is_static: bool):
        self.mask = mask.unsqueeze(-1)
        self.rows = None if is_static else mask.nonzero().squeeze(1)

    @classmethod
    def find(cls, mask: torch.Tensor, is_static: bool) -> "ImageTokens | None":
        """Find the image tokens; None if it is known that there are none, as while answers are written."""
        found = cls(mask, is_static)
        return None if found.rows is not None and not len(found.rows) else found


class Scale(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))


class MultiwayRMSNorm(nn.Module):
    """Normalised in float32, then scaled by the weight of each token's modality."""

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.multiway = nn.ModuleList([Scale(width), Scale(width)])
        self.eps = eps

    def forward(self, x: torch.Tensor, image: ImageTokens | None) -> torch.Tensor:
        text, visual = (cast(Scale, scale).weight for scale in self.multiway)
        y = x.float()
        y = (y * torch.rsqrt(y.square().mean(-1, keepdim=True) + self.eps)).to(x.dtype)
        return y * (text if image is None else torch.where(image.mask, visual, text))


class MultiwayAttention(nn.Module):
    """q, k and v of all tokens as if they were text in one product; k and v of image tokens in a second, over theirs alone."""

    def __init__(self, vllm_config: VllmConfig, config: MPLUGOwl2Config, prefix: str):
        super().__init__()
        world, quant_config = get_tensor_model_parallel_world_size(), vllm_config.quant_config
        if config.num_key_value_heads % world:
            raise ValueError(f"tensor_parallel_size={world} does not divide the model's {config.num_key_value_heads} key and value heads")
        dim, width, kv_width = config.head_dim, config.hidden_size, config.num_key_value_heads * config.head_dim
        self.q_size, self.kv_size = config.num_attention_heads // world * dim, kv_width // world
        heads = (config.num_attention_heads, config.num_key_value_heads)
        self.qkv_proj = QKVParallelLinear(width, dim, *heads, bias=False, quant_config=quant_config, prefix=f"{prefix}.qkv_proj")
        self.image_kv_proj = MergedColumnParallelLinear(
            width, [kv_width, kv_width], bias=False, quant_config=quant_config, prefix=f"{prefix}.image_kv_proj"
        )
        self.o_proj = RowParallelLinear(width, width, bias=False, quant_config=quant_config, prefix=f"{prefix}.o_proj")
        self.rotary = get_rope(
            dim, config.max_position_embeddings, rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta}
        )
        self.attn = Attention(
            heads[0] // world,
            dim,
            dim**-0.5,
            num_kv_heads=heads[1] // world,
            cache_config=vllm_config.cache_config,
            quant_config=quant_config,
            prefix=f"{prefix}.attn",
        )

    def forward(self, positions: torch.Tensor, x: torch.Tensor, image: ImageTokens | None) -> torch.Tensor:
        qkv, _ = self.qkv_proj(x)
        q, kv = qkv.split([self.q_size, 2 * self.kv_size], dim=-1)
        if image is not None and image.rows is not None:
            kv = kv.index_copy(0, image.rows, self.image_kv_proj(x[image.rows])[0])
        elif image is not None:
            kv = torch.where(image.mask, self.image_kv_proj(x)[0], kv)
        k, v = kv.split([self.kv_size, self.kv_size], dim=-1)
        q, k = self.rotary(positions, q.contiguous(), k.contiguous())
        y, _ = self.o_proj(self.attn(q, k, v.contiguous()))
        return y


class DecoderLayer(nn.Module):
    def __init__(self, vllm_config: VllmConfig, config: MPLUGOwl2Config, prefix: str):
        super().__init__()
        width, eps = config.hidden_size, config.rms_norm_eps
        self.self_attn = MultiwayAttention(vllm_config, config, f"{prefix}.self_attn")
        self.mlp = LlamaMLP(width, config.intermediate_size, config.hidden_act, vllm_config.quant_config, prefix=f"{prefix}.mlp")
        self.input_layernorm = MultiwayRMSNorm(width, eps)
        self.post_attention_layernorm = MultiwayRMSNorm(width, eps)

    def forward(self, positions: torch.Tensor, x: torch.Tensor, image: ImageTokens | None) -> torch.Tensor:
        x = x + self.self_attn(positions, self.input_layernorm(x, image), image)
        return x + self.mlp(self.post_attention_layernorm(x, image))


class LanguageModel(nn.Module):
    def __init__(self, *, vllm_config: VllmConfig, prefix: str = ""):
        super().__init__()
        config = vllm_config.model_config.hf_config
        self.embed_tokens = VocabParallelEmbedding(config.vocab_size, config.hidden_size, quant_config=vllm_config.quant_config)
        layers = range(config.num_hidden_layers)
        self.layers = nn.ModuleList(DecoderLayer(vllm_config, config, maybe_prefix(prefix, f"layers.{i}")) for i in layers)
        self.norm = Scale(config.hidden_size)
        self.eps, self.placeholder_id = config.rms_norm_eps, config.placeholder_id
        self.is_static = not vllm_config.model_config.enforce_eager

    def embed_input_ids(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.embed_tokens(input_ids)

    def forward(
        self, input_ids: torch.Tensor, positions: torch.Tensor, intermediate_tensors: Any = None, inputs_embeds: torch.Tensor | None = None
    ) -> torch.Tensor:
        x = self.embed_input_ids(input_ids) if inputs_embeds is None else inputs_embeds
        image = ImageTokens.find(input_ids == self.placeholder_id, self.is_static)
        for layer in self.layers:
            x = layer(positions, x, image)
        y = x.float()
        return self.norm.weight * (y * torch.rsqrt(y.square().mean(-1, keepdim=True) + self.eps)).to(x.dtype)


@MULTIMODAL_REGISTRY.register_processor(MultiModalProcessor, info=ProcessingInfo, dummy_inputs=DummyInputs)
class VllmMPLUGOwl2(nn.Module, SupportsMultiModal, SupportsQuant):
    """The published checkpoints' class as vLLM runs it: weights by their published names, or an adapter over its base."""

    requires_raw_input_tokens = True
    packed_modules_mapping = {"qkv_proj": ["q_proj", "k_proj", "v_proj"], "gate_up_proj": ["gate_proj", "up_proj"]}

    @classmethod
    def get_placeholder_str(cls, modality: str, i: int) -> str | None:
        if modality != "image":
            raise ValueError(f"ArtQuant looks at images, not at {modality}")
        return IMAGE_PLACEHOLDER

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = ""):
        super().__init__()
        self.config: MPLUGOwl2Config = vllm_config.model_config.hf_config
        self.folder = vllm_config.model_config.model
        visual, marks = self.config.visual_config, cast(Any, self)
        with marks._mark_tower_model(vllm_config, "image"):
            self.vision_model = VisionModel(visual.visual_model)
            self.visual_abstractor = VisualAbstractor(visual.visual_abstractor, self.config.hidden_size)
        with marks._mark_language_model(vllm_config):
            self.language_model = LanguageModel(vllm_config=vllm_config, prefix=maybe_prefix(prefix, "language_model"))
        self.lm_head = ParallelLMHead(
            self.config.vocab_size, self.config.hidden_size, quant_config=vllm_config.quant_config, prefix=maybe_prefix(prefix, "lm_head")
        )
        if self.config.tie_word_embeddings:
            self.lm_head = self.lm_head.tie_weights(self.language_model.embed_tokens)
        self.logits_processor = LogitsProcessor(self.config.vocab_size)

    def embed_multimodal(self, **kwargs: object) -> torch.Tensor | list[torch.Tensor]:
        """`pixel_values` (N, S, S, 3) uint8 -> (N, Q + 1, C)."""
        pixels = kwargs.get("pixel_values")
        if pixels is None:
            return []
        assert isinstance(pixels, torch.Tensor)
        return self.visual_abstractor(self.vision_model(normalise(pixels)))

    def forward(
        self, input_ids: torch.Tensor, positions: torch.Tensor, intermediate_tensors: Any = None, inputs_embeds: Any = None, **kwargs: Any
    ) -> torch.Tensor:
        return self.language_model(input_ids, positions, intermediate_tensors, inputs_embeds)

    def compute_logits(self, hidden_states: torch.Tensor) -> torch.Tensor | None:
        return self.logits_processor(self.lm_head, hidden_states)

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
        if is_adapter(self.folder):
            base = getattr(self.config, "base_checkpoint", None)
            weights = MPLUGOwl2LlamaForCausalLM.from_pretrained(self.folder, base=base, dtype="auto").state_dict().items()
        parameters, loaded = dict(self.named_parameters()), set()
        for published, tensor in weights:
            name, shard = _place(published)
            if self.config.tie_word_embeddings and name.startswith("lm_head."):
                continue
            parameter = parameters[name]
            load: Any = getattr(parameter, "weight_loader", default_weight_loader)
            load(parameter, tensor) if shard is None else load(parameter, tensor, shard)
            loaded.add(name)
        return loaded


def _place(published: str) -> tuple[str, str | int | None]:
    """Return the name that the parameter of a published name has here, and its shard of a fused layer."""
    name = published.removeprefix("model.")
    if name.startswith(("layers.", "embed_tokens.", "norm.")):
        name = f"language_model.{name}"
    for part, layer, shard in _STACKED:
        if part in name:
            return name.replace(part, layer), shard
    return name, None
