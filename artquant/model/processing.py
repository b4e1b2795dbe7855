"""Pictures and prompts to the network's inputs, exactly as the published code prepares them."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from tokenizers.models import BPE
from transformers import AutoImageProcessor, AutoProcessor, BatchFeature, LlamaTokenizer, PreTrainedTokenizerBase, ProcessorMixin
from transformers.image_processing_utils import BaseImageProcessor
from transformers.processing_utils import ProcessingKwargs
from transformers.utils import PROCESSOR_NAME, cached_file

from artquant.core.prompts import IMAGE_PLACEHOLDER
from artquant.model.configuration import MPLUGOwl2Config
from artquant.model.location import FromAnywhere, local_folder
from artquant.model.prompting import Prompting, spaces_last
from artquant.model.vision import normalise

IMAGE_TOKEN_INDEX = -200  # outside every vocabulary, as in the published ids
_CHAT_TEMPLATE = Path(__file__).with_name("chat_template.jinja")  # the prompts' form; published folders have none


class MPLUGOwl2ImageProcessor(FromAnywhere, BaseImageProcessor):
    """Pads to a square with CLIP's mean colour, resizes bicubically, normalises.

    Takes pictures as PIL images, paths, addresses, and uint8 arrays or tensors (H, W), (H, W, 1 to 4) or (3, H, W), in lists of any depth.
    """

    model_input_names = ["pixel_values"]

    def __init__(self, image_size: int = 448, **kwargs: Any):
        super().__init__(**kwargs)
        self.image_size = image_size

    def __call__(self, images: Any, return_tensors: str = "pt", **kwargs: Any) -> BatchFeature:
        from artquant.images.square import to_square  # the network alone needs no picture library

        pictures = (self.fetch_images(image) if isinstance(image, str) else image for image in _flat(images))
        squares = [to_square(_rgb(picture), self.image_size, fast=False) for picture in pictures]
        return BatchFeature({"pixel_values": normalise(torch.from_numpy(np.stack(squares)))}, tensor_type=return_tensors)


def _flat(images: Any) -> Iterator[Any]:
    if isinstance(images, list | tuple) or getattr(images, "ndim", 0) == 4:
        for image in images:
            yield from _flat(image)
    else:
        yield images


def _rgb(image: Any) -> np.ndarray:
    """(H, W, 3) uint8. Raises ValueError for numbers that are no bytes: whether they go to 1 or to 255 is not known."""
    if not isinstance(image, Image.Image):
        array = np.asarray(image)
        if array.dtype != np.uint8:
            raise ValueError(f"an array of a picture holds uint8, not {array.dtype}")
        if array.ndim == 3 and array.shape[0] == 3 and array.shape[2] not in (1, 3, 4):
            array = array.transpose(1, 2, 0)
        if array.ndim == 3 and array.shape[2] == 3:
            return array
        image = Image.fromarray(array.squeeze(2) if array.ndim == 3 and array.shape[2] == 1 else array)
    return np.asarray(image.convert("RGB"))


def _merge_spaces_last(tokenizer: Any) -> None:
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    ordered = spaces_last(model["merges"])
    if ordered != model["merges"]:
        merges = [tuple(pair) for pair in ordered]
        options = {name: model[name] for name in ("unk_token", "fuse_unk", "byte_fallback")}
        tokenizer.backend_tokenizer.model = BPE(vocab=model["vocab"], merges=merges, **options)


class MPLUGOwl2ProcessorKwargs(ProcessingKwargs, total=False):  # type: ignore[call-arg]  # transformers is not typed
    _defaults = {"text_kwargs": {"padding": True}, "common_kwargs": {"return_tensors": "pt"}}


class MPLUGOwl2Processor(Prompting, ProcessorMixin):
    """Tokenises prompts with `<|image|>` placeholders and prepares pictures.

    `num_image_tokens` is the length of an image in the language model (64 queries and one end token at full size). Calling it gives ids of
    the vocabulary: `image_token_id` stands for an image there, and `image_token_index` in what :class:`Prompting` makes.
    """

    valid_processor_kwargs = MPLUGOwl2ProcessorKwargs
    image_token = IMAGE_PLACEHOLDER

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
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.unk_token
        self.image_token_id: int = self.tokenizer.pad_token_id

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], *args: Any, **kwargs: Any) -> Self:
        """As in transformers; a published folder, which does not describe this processor, gets the one that its network needs."""
        folder = local_folder(pretrained_model_name_or_path)
        if cached_file(folder, PROCESSOR_NAME, _raise_exceptions_for_missing_entries=False):
            return super().from_pretrained(folder, *args, **kwargs)
        config = MPLUGOwl2Config.from_pretrained(folder)
        image_processor = MPLUGOwl2ImageProcessor(config.visual_config.visual_model.image_size)
        return cls(image_processor, LlamaTokenizer.from_pretrained(folder), config.num_image_tokens, config.image_token_index)

    def __call__(self, images: Any = None, text: str | list[str] | None = None, **kwargs: Any) -> BatchFeature:
        """Return `input_ids` and `attention_mask` (B, T); `pixel_values` (images, 3, S, S) float32. Keyword arguments as in transformers;
        rows are padded to the longest, at the tokenizer's `padding_side`, where nothing else is asked for.

        Raises ValueError where a row would be cut within an image, and where nothing is given.
        """
        if text is None and images is None:
            raise ValueError("Give text, images, or both")
        merged = self._merge_kwargs(MPLUGOwl2ProcessorKwargs, tokenizer_init_kwargs=self.tokenizer.init_kwargs, **kwargs)
        data: dict[str, Any] = {}
        if text is not None:
            data |= self._tokens([text] if isinstance(text, str) else text, **merged["text_kwargs"])
        if images is not None:
            data |= self.image_processor(images, **merged["images_kwargs"])
        return BatchFeature(data)

    def _tokens(
        self,
        texts: list[str],
        *,
        truncation: Any = False,
        max_length: int | None = None,
        return_tensors: str | None = None,
        return_mm_token_type_ids: bool = False,
        add_special_tokens: bool = True,
        **options: Any,
    ) -> dict[str, Any]:
        tokenize = self.tokenize if add_special_tokens else self.tokenize_as_written
        rows = [self.expand(tokenize(text)) for text in texts]
        if truncation and max_length is not None:
            if any(self.image_token_index in row[max_length:] for row in rows):
                raise ValueError(f"max_length={max_length} would cut an image, which takes {self.num_image_tokens} tokens: allow more")
            rows = [row[:max_length] for row in rows]
        kinds = [[int(id == self.image_token_index) for id in row] for row in rows]
        ids = [[self.image_token_id if id == self.image_token_index else id for id in row] for row in rows]
        wanted = {name: options[name] for name in ("padding", "padding_side", "pad_to_multiple_of") if name in options}
        tokens = self.tokenizer.pad({"input_ids": ids}, max_length=max_length, return_tensors=return_tensors, **wanted)
        if return_mm_token_type_ids:
            kinds_padded = self.tokenizer.pad({"input_ids": kinds}, max_length=max_length, return_tensors=return_tensors, **wanted)
            tokens["mm_token_type_ids"] = kinds_padded["input_ids"] * kinds_padded["attention_mask"]
        return dict(tokens)


AutoImageProcessor.register(MPLUGOwl2Config, slow_image_processor_class=MPLUGOwl2ImageProcessor, exist_ok=True)
AutoProcessor.register(MPLUGOwl2Config, MPLUGOwl2Processor, exist_ok=True)
