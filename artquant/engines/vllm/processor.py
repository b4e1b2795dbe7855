"""Prompts and pictures on their way into vLLM: an image has a placeholder in the ids, and travels as bytes."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from transformers import BatchFeature
from vllm.multimodal.inputs import MultiModalFieldConfig
from vllm.multimodal.processing import BaseDummyInputsBuilder, BaseMultiModalProcessor, BaseProcessingInfo, PromptReplacement

from artquant.core.prompts import IMAGE_PLACEHOLDER
from artquant.images.square import to_square
from artquant.model.configuration import MPLUGOwl2Config
from artquant.model.processing import MPLUGOwl2Processor


@lru_cache(maxsize=4)
def _processor(folder: str) -> MPLUGOwl2Processor:
    return MPLUGOwl2Processor.from_pretrained(folder)


def with_placeholder(ids: Sequence[int], config: MPLUGOwl2Config) -> list[int]:
    """Replace the published -200 in the processor's ids with vLLM's placeholder; vLLM refuses -200 as no id of the vocabulary."""
    return [config.placeholder_id if i == config.image_token_index else i for i in ids]


class ProcessingInfo(BaseProcessingInfo):
    @property
    def config(self) -> MPLUGOwl2Config:
        return self.ctx.get_hf_config(MPLUGOwl2Config)

    def get_hf_processor(self, **kwargs: object) -> MPLUGOwl2Processor:
        return _processor(self.ctx.model_config.tokenizer)  # an adapter's tokenizer is its base's

    def get_supported_mm_limits(self) -> Mapping[str, int | None]:
        return {"image": None}

    def get_mm_max_tokens_per_item(self, seq_len: int, mm_counts: Mapping[str, int]) -> Mapping[str, int]:
        return {"image": self.config.num_image_tokens}


class DummyInputs(BaseDummyInputsBuilder[ProcessingInfo]):
    """What vLLM measures its memory with."""

    def get_dummy_text(self, mm_counts: Mapping[str, int]) -> str:
        return IMAGE_PLACEHOLDER * mm_counts.get("image", 0)

    def get_dummy_mm_data(self, seq_len: int, mm_counts: Mapping[str, int], mm_options: Any) -> dict[str, Any]:
        size = self.info.config.visual_config.visual_model.image_size
        return {"image": self._get_dummy_images(width=size, height=size, num_images=mm_counts.get("image", 0))}


class MultiModalProcessor(BaseMultiModalProcessor[ProcessingInfo]):
    """An image becomes one uint8 square: 0.6 MB at 448 px on its way to the device, where it is normalised, and not 2.4."""

    def _call_hf_processor(self, hf_data: Mapping[str, object], hf_kwargs: Mapping[str, object]) -> BatchFeature:
        images, size = hf_data["images"], self.info.config.visual_config.visual_model.image_size
        assert isinstance(images, Sequence)
        squares = [to_square(_rgb(image), size, fast=False) for image in images]
        return BatchFeature({"pixel_values": torch.from_numpy(np.stack(squares))})

    def _get_mm_fields_config(self, hf_inputs: BatchFeature, hf_processor_mm_kwargs: Mapping[str, object]) -> dict[str, Any]:
        return {"pixel_values": MultiModalFieldConfig.batched("image")}

    def _get_prompt_updates(self, mm_items: Any, hf_processor_mm_kwargs: Any, out_mm_kwargs: Any) -> Sequence[PromptReplacement]:
        config = self.info.config
        image = [config.placeholder_id]
        return [PromptReplacement(modality="image", target=image, replacement=image * config.num_image_tokens)]

    def _postprocess_prompt(self, prompt: list[int]) -> list[int]:
        """Tokenise a prompt that came as text again, as the network expects it: its placeholder was tokenised as characters."""
        config, processor = self.info.config, self.info.get_hf_processor()
        if config.placeholder_id in prompt:
            return prompt
        start = processor.tokenizer.bos_token or ""
        text = processor.tokenizer.decode(prompt, skip_special_tokens=False).removeprefix(start).removeprefix(" ")
        return with_placeholder(processor.tokenize(text), config)


def _rgb(image: object) -> np.ndarray:
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[-1] != 3:
        raise ValueError(f"a picture is (height, width, 3) uint8, not {array.shape} {array.dtype}")
    return array
