"""Pictures and prompts to the network's inputs, exactly as the published code prepares them."""

import json
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from tokenizers.models import BPE
from transformers import AutoImageProcessor, AutoProcessor, BatchFeature, LlamaTokenizer, PreTrainedTokenizerBase, ProcessorMixin
from transformers.image_processing_utils import BaseImageProcessor
from transformers.utils import PROCESSOR_NAME, cached_file

from artquant.core.prompts import IMAGE_PLACEHOLDER
from artquant.model.configuration import MPLUGOwl2Config
from artquant.model.levels import level_token_ids
from artquant.model.location import FromAnywhere, local_folder
from artquant.model.normalisation import CLIP_MEAN, CLIP_STD

IMAGE_TOKEN_INDEX = -200  # outside every vocabulary, as in the published ids
_CHAT_TEMPLATE = Path(__file__).with_name("chat_template.jinja")  # the prompts' form; published folders have none


def normalise(pixels: torch.Tensor) -> torch.Tensor:
    """(B, S, S, 3) uint8 -> (B, 3, S, S) float32 with CLIP's mean and standard deviation, on the tensor's device."""
    mean = torch.tensor(CLIP_MEAN, device=pixels.device) * 255
    std = torch.tensor(CLIP_STD, device=pixels.device) * 255
    return ((pixels.float() - mean) / std).permute(0, 3, 1, 2)


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
    """Put the merges of a tokenizer that transformers made from a `tokenizer.model` into SentencePiece's order.

    transformers orders them by id, SentencePiece by score; they differ in runs of spaces, which have low ids and the lowest scores.
    """
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    ordered = sorted(model["merges"], key=lambda pair: not "".join(pair).strip("▁"))
    if ordered != model["merges"]:
        merges = [tuple(pair) for pair in ordered]
        options = {name: model[name] for name in ("unk_token", "fuse_unk", "byte_fallback")}
        tokenizer.backend_tokenizer.model = BPE(vocab=model["vocab"], merges=merges, **options)


class MPLUGOwl2Processor(ProcessorMixin):
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

    def tokenize(self, prompt: str) -> list[int]:
        """Return the token ids of one prompt, with one `image_token_index` per image.

        The prompt is split at the placeholder and each piece is tokenised on its own, with SentencePiece's leading space; only the first
        piece has the begin-of-sequence token.
        """
        ids = [self.tokenizer.bos_token_id]
        for i, piece in enumerate(prompt.split(IMAGE_PLACEHOLDER)):
            ids += [self.image_token_index] if i else []
            ids += self.tokenize_text(piece) if piece else []
        return ids

    def tokenize_text(self, text: str) -> list[int]:
        """Return the token ids of one piece of text that follows the start or an image; `</s>` in it is the end token."""
        return self.tokenizer(" " + text, add_special_tokens=False)["input_ids"]

    def encode_answer(self, prompt: str, answer: str = "") -> list[int]:
        """Return the token ids of the text after the image and of its answer, which begins with a space, tokenised together."""
        return self.tokenize_text(prompt.split(IMAGE_PLACEHOLDER)[-1] + answer)

    def encode_prompt(self, prompt: str) -> list[int]:
        """Return the token ids of a whole prompt, including the image's; they end with `encode_answer(prompt)`."""
        return self.expand(self.tokenize(prompt))

    def level_token_ids(self, prompt: str) -> list[int]:
        """Do as :func:`artquant.model.levels.level_token_ids`, after `prompt`."""
        return level_token_ids(partial(self.encode_answer, prompt), self.tokenizer.unk_token_id)

    def decode_answer(self, ids: Sequence[int]) -> str:
        """Decode generated ids up to their end token, if there is one."""
        stop = ids.index(self.tokenizer.eos_token_id) if self.tokenizer.eos_token_id in ids else len(ids)
        return self.tokenizer.decode(ids[:stop], skip_special_tokens=True).strip()

    def expand(self, ids: Sequence[int]) -> list[int]:
        """Replace each image's one id by `num_image_tokens` of them."""
        return [token for i in ids for token in ([i] * self.num_image_tokens if i == self.image_token_index else [i])]

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
