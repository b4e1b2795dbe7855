"""Pictures and prompts to the network's inputs, exactly as the published code prepares them."""

import json
import os
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from tokenizers.models import BPE
from transformers import AutoImageProcessor, AutoProcessor, BatchFeature, LlamaTokenizer, PreTrainedTokenizerBase, ProcessorMixin
from transformers.image_processing_utils import BaseImageProcessor
from transformers.utils import PROCESSOR_NAME, cached_file

from artquant.model.configuration import MPLUGOwl2Config
from artquant.model.location import FromAnywhere, local_folder
from artquant.model.prompting import Prompting, spaces_last
from artquant.model.vision import normalise

IMAGE_TOKEN_INDEX = -200  # outside every vocabulary, as in the published ids
_CHAT_TEMPLATE = Path(__file__).with_name("chat_template.jinja")  # the prompts' form; published folders have none


class MPLUGOwl2ImageProcessor(FromAnywhere, BaseImageProcessor):
    """Pads to a square with CLIP's mean colour, resizes bicubically, normalises. Takes RGB pictures (PIL, or uint8 arrays (H, W, 3))."""

    model_input_names = ["pixel_values"]

    def __init__(self, image_size: int = 448, **kwargs: Any):
        super().__init__(**kwargs)
        self.image_size = image_size

    def __call__(self, images: Any, return_tensors: str = "pt", **kwargs: Any) -> BatchFeature:
        from artquant.images.square import to_square  # the network alone needs no picture library

        images = images if isinstance(images, list | tuple) else [images]
        squares = [to_square(_rgb(image), self.image_size, fast=False) for image in images]
        return BatchFeature({"pixel_values": normalise(torch.from_numpy(np.stack(squares)))}, tensor_type=return_tensors)


def _rgb(image: Any) -> np.ndarray:
    return image if isinstance(image, np.ndarray) else np.asarray(image.convert("RGB"))


def _merge_spaces_last(tokenizer: Any) -> None:
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    ordered = spaces_last(model["merges"])
    if ordered != model["merges"]:
        merges = [tuple(pair) for pair in ordered]
        options = {name: model[name] for name in ("unk_token", "fuse_unk", "byte_fallback")}
        tokenizer.backend_tokenizer.model = BPE(vocab=model["vocab"], merges=merges, **options)


class MPLUGOwl2Processor(Prompting, ProcessorMixin):
    """Tokenises prompts with `<|image|>` placeholders and prepares pictures.

    `num_image_tokens` is the length of an image in the language model (64 queries and one end token at full size).
    """

    def __init__(
        self,
        image_processor: MPLUGOwl2ImageProcessor | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        num_image_tokens: int = 65,
        image_token_index: int = IMAGE_TOKEN_INDEX,
        chat_template: str | None = None,
        **kwargs: Any,
    ):
        self.num_image_tokens = num_image_tokens
        self.image_token_index = image_token_index
        super().__init__(image_processor, tokenizer, chat_template=chat_template or _CHAT_TEMPLATE.read_text())
        _merge_spaces_last(tokenizer)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], *args: Any, **kwargs: Any) -> Self:
        """As in transformers; a published folder, which does not describe this processor, gets the one that its network needs."""
        folder = local_folder(pretrained_model_name_or_path)
        if cached_file(folder, PROCESSOR_NAME, _raise_exceptions_for_missing_entries=False):
            return super().from_pretrained(folder, *args, **kwargs)
        config = MPLUGOwl2Config.from_pretrained(folder)
        image_processor = MPLUGOwl2ImageProcessor(config.visual_config.visual_model.image_size)
        return cls(image_processor, LlamaTokenizer.from_pretrained(folder), config.num_image_tokens, config.image_token_index)

    def __call__(self, images: Any = None, text: str | list[str] | None = None, return_tensors: str = "pt", **kwargs: Any) -> BatchFeature:
        """Return `input_ids` and `attention_mask` (B, T), padded at the right; `pixel_values` (images, 3, S, S) float32."""
        data: dict[str, Any] = {}
        if text is not None:
            rows = [self.expand(self.tokenize(t)) for t in ([text] if isinstance(text, str) else text)]
            longest = max(map(len, rows))
            pad = self.tokenizer.pad_token_id or 0
            data["input_ids"] = [row + [pad] * (longest - len(row)) for row in rows]
            data["attention_mask"] = [[1] * len(row) + [0] * (longest - len(row)) for row in rows]
        features = BatchFeature(data, tensor_type=return_tensors)
        if images is not None:
            features["pixel_values"] = self.image_processor(images, return_tensors=return_tensors)["pixel_values"]
        return features


AutoImageProcessor.register(MPLUGOwl2Config, slow_image_processor_class=MPLUGOwl2ImageProcessor, exist_ok=True)
AutoProcessor.register(MPLUGOwl2Config, MPLUGOwl2Processor, exist_ok=True)
