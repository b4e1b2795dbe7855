"""Backbones other than mPLUG-Owl2: image-text-to-text checkpoints of transformers that have a chat template, in transformers' own calls."""

import inspect
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import transformers
from transformers import AutoConfig, AutoProcessor
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES
from transformers.utils import is_torchvision_available

from artquant.core.prompts import Prompts, turns
from artquant.core.schema import LEVELS
from artquant.model.levels import level_token_ids

_DEFAULT_SIZE = 448  # pixels a side, where a checkpoint takes pictures of any size: what ArtQuant was published with
_KIND_IDS = ("mm_token_type_ids", "token_type_ids")  # which tokens are an image's; some networks want to be told
_TEXT = {"input_ids", "attention_mask", *_KIND_IDS}
_FILES = (".json", ".jinja", ".txt", ".model")  # that a processor is made of


def can_take(model: Any, name: str) -> bool:
    """Tell whether the network's forward pass accepts an argument of this name."""
    return name in inspect.signature(model.forward).parameters


def max_length(config: Any) -> int:
    """Return the number of tokens that a network's language model has positions for."""
    return getattr(config.get_text_config(), "max_position_embeddings", None) or 1 << 30


class ChatProcessor:
    """A processor of transformers, asked ArtQuant's prompts in the words of its own chat template.

    Every picture is a square of `image_size` pixels a side, so that a prompt has the same ids whatever the picture. Raises ValueError for a
    processor that cannot ask a question about a picture.
    """

    def __init__(self, processor: Any, image_size: int, folder: str | Path):
        if not hasattr(processor, "image_processor") or getattr(processor, "tokenizer", None) is None:
            raise ValueError("it has no processor for pictures and text")
        self.processor, self.tokenizer, self.image_size, self.folder = processor, processor.tokenizer, image_size, Path(folder)
        self.processor.chat_template = processor.chat_template or self.tokenizer.chat_template
        if not self.processor.chat_template:
            raise ValueError("it has no chat template, and so no way to ask it something")
        self.chats: dict[str, str] = {}
        self.ids: dict[str, list[int]] = {}
        self.any_prompt = Prompts().score
        blank = self._process(self.any_prompt, np.zeros((1, image_size, image_size, 3), np.uint8))
        if "cross_attention_mask" in blank:
            raise ValueError("it reads pictures beside its prompt, and only such as read them within it can be asked")
        self.kinds = {name: blank["input_ids"][blank[name] == 1].unique() for name in _KIND_IDS if name in blank}

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "ChatProcessor":
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        processor = processor_class(config.model_type).from_pretrained(folder, trust_remote_code=False)
        return cls(processor, square_size(getattr(processor, "image_processor", None), config), folder)

    def save_pretrained(self, folder: str | Path) -> None:
        """Copy the files that it was loaded from beside the network's own: training changes none of them, and none of their parts is lost.

        `generation_config.json` is copied too, over whatever the network wrote.
        """
        for path in self.folder.iterdir():
            is_other = path.name == "card.json" or path.name.endswith(".index.json")
            is_kept = (Path(folder) / path.name).exists() and path.name != "generation_config.json"
            if path.suffix in _FILES and not is_other and not is_kept:
                shutil.copyfile(path, Path(folder) / path.name)

    @property
    def normalisation(self) -> tuple[list[float] | None, list[float] | None]:
        """Mean and standard deviation of each colour, as far as the image processor has them."""
        mean, std = (getattr(self.processor.image_processor, name, None) for name in ("image_mean", "image_std"))
        return mean and list(mean), std and list(std)

    def chat(self, prompt: str) -> str:
        """Return a prompt in the template's words, up to where the answer continues; one placeholder stands for the picture.

        Raises ValueError if the template leaves the picture out.
        """
        if prompt not in self.chats:
            question, beginning = turns(prompt)
            say = partial(self.processor.apply_chat_template, add_generation_prompt=True, tokenize=False)
            text: dict[str, str] = {"type": "text", "text": question}
            chat = say([{"role": "user", "content": [text, {"type": "image"}]}])
            if chat == say([{"role": "user", "content": [text]}]):
                raise ValueError("its chat template has no place for a picture")
            self.chats[prompt] = self._joined(chat, f" {beginning}") if beginning else chat
        return self.chats[prompt]

    def encode_answer(self, prompt: str, answer: str = "") -> list[int]:
        """Return the token ids of a prompt, the picture one placeholder, and its answer, which begins with a space, tokenised together."""
        text = self._joined(self.chat(prompt), answer)
        return cast(list[int], self.tokenizer(text, add_special_tokens=self._adds_special_tokens(text))["input_ids"])

    def encode_prompt(self, prompt: str) -> list[int]:
        """Return the token ids of a whole prompt, including the picture's; they end as `encode_answer(prompt)` does."""
        if prompt not in self.ids:
            blank = np.zeros((1, self.image_size, self.image_size, 3), np.uint8)
            self.ids[prompt] = self._process(prompt, blank)["input_ids"][0].tolist()
        return self.ids[prompt]

    def level_token_ids(self, prompt: str, levels: Sequence[str] = LEVELS) -> list[int]:
        """Do as :func:`artquant.model.levels.level_token_ids`, after `prompt`."""
        return level_token_ids(partial(self.encode_answer, prompt), self.tokenizer.unk_token_id, levels)

    def pictures(self, pixels: np.ndarray) -> dict[str, Any]:
        """Convert (B, S, S, 3) uint8 to what a forward pass needs for the pictures of B prompts, one each."""
        return {name: value for name, value in self._process(self.any_prompt, pixels).items() if name not in _TEXT}

    def tokens(self, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        """Convert ids (N, T) int64 and mask (N, T) bool to what a forward pass needs for the text."""
        kinds = {name: torch.isin(ids, of_image.to(ids.device)).long() for name, of_image in self.kinds.items()}
        return {"input_ids": ids, "attention_mask": mask.long(), **kinds}

    def _process(self, prompt: str, pixels: np.ndarray) -> dict[str, Any]:
        chat = self.chat(prompt)
        given: dict[str, Any] = self.processor(
            text=[chat] * len(pixels),
            images=[[square] for square in pixels],
            return_tensors="pt",
            add_special_tokens=self._adds_special_tokens(chat),
        )
        return given

    def _joined(self, chat: str, answer: str) -> str:
        return chat + (answer.removeprefix(" ") if chat[-1:].isspace() else answer)

    def _adds_special_tokens(self, text: str) -> bool:
        """Tell whether the tokenizer must add special tokens: not if the template has written the first of them already."""
        return not (self.tokenizer.bos_token and text.startswith(self.tokenizer.bos_token))


def processor_class(model_type: str) -> Any:
    """Return transformers' processor of a backbone; without torchvision, which videos need, one for pictures alone."""
    kind: Any = getattr(transformers, PROCESSOR_MAPPING_NAMES.get(model_type, ""), None)
    if kind is None or is_torchvision_available() or "video_processor" not in kind.get_attributes():
        return AutoProcessor
    attributes = [name for name in kind.get_attributes() if name != "video_processor"]
    return type(kind.__name__, (kind,), {"get_attributes": classmethod(lambda cls: attributes)})


def square_size(image_processor: Any, config: Any) -> int:
    """Return the side in pixels of the squares that a checkpoint is shown: if known, one that its processor neither crops nor resizes."""
    crop, size = (getattr(image_processor, name, None) or {} for name in ("crop_size", "size"))
    found = crop.get("height") if getattr(image_processor, "do_center_crop", False) else None
    found = found or size.get("height") or getattr(getattr(config, "vision_config", None), "image_size", None) or _DEFAULT_SIZE
    return int(found[0] if isinstance(found, list | tuple) else found)
