"""ArtQuant's network: mPLUG-Owl2 (arXiv 2311.04257) as ArtQuant uses it (arXiv 2512.23413), in the transformers idiom.

Its parts and passes are those of :mod:`artquant.model.decoder`, where the shapes are explained.
"""

import os
from typing import Any, Self

import torch
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForImageTextToText, PreTrainedModel
from transformers import initialization as init
from transformers.cache_utils import Cache, DynamicCache
from transformers.generation import GenerationMixin
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.utils import can_return_tuple
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from artquant.model.adapter import merge_adapter
from artquant.model.configuration import MPLUGOwl2Config
from artquant.model.decoder import Attention, Decoder, DecoderLayer, ImagePositions, RMSNorm
from artquant.model.location import base_of, is_adapter, local_folder
from artquant.model.vision import VisualCrossAttention, position_tables


class MPLUGOwl2PreTrainedModel(PreTrainedModel):
    config_class = MPLUGOwl2Config
    base_model_prefix = "model"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _can_compile_fullgraph = True
    _can_record_outputs = {"hidden_states": DecoderLayer, "attentions": Attention}
    _no_split_modules = ["DecoderLayer", "VisionLayer", "AbstractorLayer"]
    _skip_keys_device_placement = ["past_key_values"]

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str] | None,
        *args: Any,
        base: str | os.PathLike[str] | None = None,
        **kwargs: Any,
    ) -> Self:
        """As in transformers, and also: an `s3://` prefix, and the published adapter layout (a folder with `adapter_config.json`), which is
        merged over `base` (by default the base that it names)."""
        if pretrained_model_name_or_path is None:  # all is in the keyword arguments
            return super().from_pretrained(None, *args, **kwargs)
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
        self.gradient_checkpointing = False  # as transformers looks for it, before it leaves the cache out
        self.build(config)
        self.post_init()

    @merge_with_config_defaults  # type: ignore[untyped-decorator]
    @capture_outputs  # type: ignore[untyped-decorator]
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
        """`input_ids` (B, T) has, Q + 1 times an image, the published `image_token_index` or the processor's `image_token_id`; with
        `inputs_embeds` (B, T, C), `image_positions` says where.

        The rest is as in :meth:`Decoder.hidden`.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("One of input_ids and inputs_embeds is needed, and not both")
        if input_ids is not None:
            is_image = self.is_image(input_ids, attention_mask, pixel_values is not None)
            features = self.get_image_features(pixel_values) if pixel_values is not None else None
            inputs_embeds = self.fill(input_ids, is_image, features)
            image_positions = is_image if features is not None else None
        assert inputs_embeds is not None
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        if past_key_values is not None and not isinstance(past_key_values, Cache):  # an engine's
            hidden = self.hidden(inputs_embeds, image_positions, attention_mask, position_ids, past_key_values)
            return BaseModelOutputWithPast(last_hidden_state=hidden, past_key_values=past_key_values)
        length = inputs_embeds.shape[1]
        if position_ids is None:
            past = past_key_values.get_seq_length() if past_key_values is not None else 0
            position_ids = (torch.arange(length, device=inputs_embeds.device) + past).unsqueeze(0)
        mask = create_causal_mask(self.config, inputs_embeds, attention_mask, past_key_values, position_ids)
        hidden = self.run(inputs_embeds, image_positions, position_ids, mask, mask is None and length > 1, past_key_values)
        return BaseModelOutputWithPast(last_hidden_state=hidden, past_key_values=past_key_values)

    def is_image(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None, has_images: bool) -> torch.Tensor:
        """(B, T) bool. The processor's id, which is the padding's too, stands for an image where there is a token, images are given, and
        the ids are not the published ones."""
        is_image = input_ids == self.config.image_token_index
        if not has_images:
            return is_image
        is_placeholder = (input_ids == self.config.placeholder_id) & ~is_image.any()
        if attention_mask is not None and attention_mask.dim() == 2:
            is_placeholder = is_placeholder & attention_mask[:, -input_ids.shape[1] :].bool()
        return is_image | is_placeholder


class MPLUGOwl2LlamaForCausalLM(MPLUGOwl2PreTrainedModel, GenerationMixin):
    """The published checkpoints' class: language model head over :class:`MPLUGOwl2Model`."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}

    def __init__(self, config: MPLUGOwl2Config):
        super().__init__(config)
        self.model = MPLUGOwl2Model(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()
        self.generation_config.suppress_tokens = [config.placeholder_id]  # an answer that held it would be taken for an image

    def get_image_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.model.get_image_features(pixel_values)

    @can_return_tuple  # type: ignore[untyped-decorator]
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

        With `labels` (B, T), the loss is the mean next-token cross-entropy over the labels that are not -100; with `num_items_in_batch`
        too, their sum by that number, as where gradients are accumulated.
        """
        num_items = kwargs.pop("num_items_in_batch", None)
        outputs = self.model(input_ids=input_ids, attention_mask=attention_mask, pixel_values=pixel_values, **kwargs)
        keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, keep])
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, self.config.vocab_size, num_items_in_batch=num_items)
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def prepare_inputs_for_generation(
        self,
        input_ids: torch.Tensor,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        inputs = super().prepare_inputs_for_generation(input_ids, past_key_values=past_key_values, inputs_embeds=inputs_embeds, **kwargs)
        # The image's embeddings are in the cache after the first step. transformers also hands on a last piece with an emptied cache.
        ids = inputs.get("input_ids")
        is_seen = ids is None or past_key_values is not None and past_key_values.get_seq_length() > 0
        shows_image = pixel_values is not None and not is_seen and self.model.is_image(ids, inputs.get("attention_mask"), True).any()
        inputs["pixel_values"] = pixel_values if shows_image else None
        return inputs


AutoModel.register(MPLUGOwl2Config, MPLUGOwl2Model, exist_ok=True)
AutoModelForImageTextToText.register(MPLUGOwl2Config, MPLUGOwl2LlamaForCausalLM, exist_ok=True)
AutoModelForCausalLM.register(MPLUGOwl2Config, MPLUGOwl2LlamaForCausalLM, exist_ok=True)
