"""ArtQuant's network: mPLUG-Owl2 (arXiv 2311.04257) as ArtQuant uses it (arXiv 2512.23413), in the transformers idiom.

Its parts and passes are those of :mod:`artquant.model.decoder`, where the shapes are explained.
"""

import os
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, PreTrainedModel
from transformers import initialization as init
from transformers.cache_utils import Cache, DynamicCache
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from artquant.model.adapter import merge_adapter
from artquant.model.configuration import MPLUGOwl2Config
from artquant.model.decoder import Decoder, ImagePositions, RMSNorm
from artquant.model.location import base_of, is_adapter, local_folder
from artquant.model.vision import VisualCrossAttention, position_tables


class MPLUGOwl2PreTrainedModel(PreTrainedModel):
    config_class = MPLUGOwl2Config
    base_model_prefix = "model"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = ["DecoderLayer", "VisionLayer", "AbstractorLayer"]
    _skip_keys_device_placement = ["past_key_values"]

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], *args: Any, base: str | os.PathLike[str] | None = None, **kwargs: Any
    ) -> Self:
        """As in transformers, and also: an `s3://` prefix, and the published adapter layout (a folder with `adapter_config.json`), which is
        merged over `base` (by default the base that it names)."""
        folder = local_folder(pretrained_model_name_or_path)
        if not is_adapter(folder):
            return super().from_pretrained(folder, *args, **kwargs)
        base = base or base_of(folder)
        return merge_adapter(super().from_pretrained(local_folder(base), *args, **kwargs), folder)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        std = self.config.initializer_range
        if isinstance(module, nn.Linear | nn.Conv2d):
            init.normal_(module.weight, std=std)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=std)
        elif isinstance(module, RMSNorm | nn.LayerNorm):
            init.ones_(module.weight)
            if getattr(module, "bias", None) is not None:
                init.zeros_(module.bias)
        elif isinstance(module, VisualCrossAttention):
            abstractor = self.config.visual_config.visual_abstractor
            queries, keys = position_tables(abstractor.num_learnable_queries, abstractor.grid_size, abstractor.hidden_size)
            init.copy_(module.q_pos_embed, queries)
            init.copy_(module.k_pos_embed, keys)
        for name in ("cls_token", "position_embedding", "query_embeds", "vit_eos"):
            if isinstance(parameter := getattr(module, name, None), nn.Parameter):
                init.normal_(parameter, std=std)


class MPLUGOwl2Model(MPLUGOwl2PreTrainedModel, Decoder):
    def __init__(self, config: MPLUGOwl2Config):
        super().__init__(config)
        self.build(config)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        image_positions: ImagePositions = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """`input_ids` (B, T) has `image_token_index` Q + 1 times an image; with `inputs_embeds` (B, T, C), `image_positions` says where.

        The rest is as in :meth:`Decoder.hidden`.
        """
        if inputs_embeds is None:
            assert input_ids is not None
            features = self.get_image_features(pixel_values) if pixel_values is not None else None
            inputs_embeds = self.embed(input_ids, features)
            if image_positions is None and (input_ids == self.config.image_token_index).any():
                image_positions = input_ids == self.config.image_token_index
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache()
        hidden = self.hidden(inputs_embeds, image_positions, attention_mask, position_ids, past_key_values)
        return BaseModelOutputWithPast(last_hidden_state=hidden, past_key_values=past_key_values)


class MPLUGOwl2LlamaForCausalLM(MPLUGOwl2PreTrainedModel, GenerationMixin):
    """The published checkpoints' class: language model head over :class:`MPLUGOwl2Model`."""

    def __init__(self, config: MPLUGOwl2Config):
        super().__init__(config)
        self.model = MPLUGOwl2Model(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_image_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.model.get_image_features(pixel_values)

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """As :class:`MPLUGOwl2Model`, then logits (B, T or `logits_to_keep`, vocabulary).

        With `labels` (B, T), the loss is the mean next-token cross-entropy over the labels that are not -100.
        """
        outputs = self.model(input_ids=input_ids, attention_mask=attention_mask, pixel_values=pixel_values, **kwargs)
        keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, keep])
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), ignore_index=-100)
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=outputs.past_key_values)

    def prepare_inputs_for_generation(
        self, input_ids: torch.Tensor, is_first_iteration: bool = False, pixel_values: torch.Tensor | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        inputs = super().prepare_inputs_for_generation(input_ids, is_first_iteration=is_first_iteration, **kwargs)
        # The image's embeddings are in the cache after the first step.
        inputs["pixel_values"] = pixel_values if is_first_iteration or not kwargs.get("use_cache", True) else None
        return inputs


AutoModelForImageTextToText.register(MPLUGOwl2Config, MPLUGOwl2LlamaForCausalLM, exist_ok=True)
AutoModelForCausalLM.register(MPLUGOwl2Config, MPLUGOwl2LlamaForCausalLM, exist_ok=True)
