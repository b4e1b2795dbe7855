"""A checkpoint as a whole: weights, processor, prompts, and the digests that say which scores it made.

torch and transformers are imported where something is loaded: opening a checkpoint, and so refusing what is none, takes milliseconds.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artquant.core.addresses import is_object_store
from artquant.core.identity import SEEN, Identity
from artquant.core.prompts import Prompts
from artquant.model.location import DOMAIN, GOLDEN, base_of, is_adapter, local_folder
from artquant.model.prompting import Prompting

if TYPE_CHECKING:
    import torch

    from artquant.model import MPLUGOwl2Config, MPLUGOwl2Processor
    from artquant.model.chat import ChatProcessor

MPLUG_OWL2 = "mplug_owl2"
DIGESTED_SUFFIXES = (".safetensors", ".bin", ".json", ".model", ".txt")
_TEMPLATE = ".jinja"  # the prompts for another backbone
_CARD = "card.json"  # of a registry: what describes a model is not part of it


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that exists, and what its scores depend on. Picklable: another machine brings the folders to itself when it loads.

    `backbone` is transformers' `model_type`: `mplug_owl2`, or that of any other image-text-to-text model, which is asked in its own chat
    template.
    """

    location: str
    base_location: str | None
    model_id: str
    model_digest: str
    backbone: str

    @classmethod
    def open(cls, location: str, base: str | None = None) -> Checkpoint:
        """Open the checkpoint at a folder, an `s3://` prefix or a hub name; all of it is read once for the digest.

        Raises FileNotFoundError or ValueError, in one sentence, if there is no checkpoint that answers questions about pictures.
        """
        folder = _folder(location)
        base = (base or base_of(folder)) if is_adapter(folder) else None
        backbone = _backbone(base or location)
        digests = [_digest(folder, backbone), *([_digest(_folder(base), backbone)] if base else [])]
        digest = hashlib.sha256("".join(digests).encode()).hexdigest()[:16]
        return cls(_whole(location), base and _whole(base), location.rstrip("/").rsplit("/", 1)[-1], digest, backbone)

    @cached_property
    def folder(self) -> str:
        return _folder(self.location)

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def is_mplug_owl2(self) -> bool:
        """Whether it is ArtQuant's own network."""
        return self.backbone == MPLUG_OWL2

    @property
    def prompts(self) -> Prompts:
        return Prompts.load(self.folder)

    @property
    def image_size(self) -> int:
        if not self.is_mplug_owl2:
            return self._chat_processor.image_size
        return int(json.loads((Path(self.folder) / "config.json").read_text())["visual_config"]["visual_model"]["image_size"])

    def load_model(self, dtype: torch.dtype) -> Any:
        """Load `MPLUGOwl2LlamaForCausalLM`, or what transformers makes of another backbone; an adapter is merged into its base."""
        from artquant.model import MPLUGOwl2LlamaForCausalLM

        if self.is_mplug_owl2:
            return MPLUGOwl2LlamaForCausalLM.from_pretrained(self.folder, base=self.base_location, dtype=dtype)
        from transformers import AutoModelForImageTextToText

        from artquant.model.adapter import merge_adapter

        model = AutoModelForImageTextToText.from_pretrained(self.base_folder, dtype=dtype, trust_remote_code=False)
        return merge_adapter(model, self.folder) if self.base_location else model

    def open_network(self, dtype: torch.dtype) -> tuple[Any, Prompting]:
        """Load mPLUG-Owl2's network and text processor for an engine: without transformers where the files allow it, else as
        :meth:`load_model` and :meth:`load_processor` do. Their answers are the same.
        """
        from artquant.model.network import open_plainly

        plain = None if self.base_location else open_plainly(self.folder, dtype)
        if plain:
            return plain
        processor = self.load_processor()
        assert isinstance(processor, Prompting), "other backbones have the ChatEngine"
        return self.load_model(dtype), processor

    def load_config(self) -> MPLUGOwl2Config:
        from artquant.model import MPLUGOwl2Config

        return MPLUGOwl2Config.from_pretrained(self.folder)

    def load_skeleton(self) -> tuple[Any, list[str]]:
        """Build the network without its weights (an adapter's base); also return the names of the missing weights."""
        from transformers import AutoModelForImageTextToText

        from artquant.model import MPLUGOwl2LlamaForCausalLM

        kind: Any
        kind, options = (
            (MPLUGOwl2LlamaForCausalLM, {}) if self.is_mplug_owl2 else (AutoModelForImageTextToText, {"trust_remote_code": False})
        )
        model, loading_info = kind.from_pretrained(self.base_folder, device_map="meta", output_loading_info=True, **options)
        return model, sorted(loading_info["missing_keys"])

    def load_processor(self) -> MPLUGOwl2Processor | ChatProcessor:
        from artquant.model import MPLUGOwl2Processor

        return MPLUGOwl2Processor.from_pretrained(self.base_folder) if self.is_mplug_owl2 else self._chat_processor

    def identity(self, dtype: str, full_decode: bool = False) -> Identity:
        """Return what this checkpoint's scores depend on, under a dtype and a way to decode (`images.load`'s `fast`, negated)."""
        from artquant.images import square as images
        from artquant.model.normalisation import CLIP_MEAN, CLIP_STD

        mean, std = (CLIP_MEAN, CLIP_STD) if self.is_mplug_owl2 else self._chat_processor.normalisation
        preprocessing = json.dumps([images.recipe(self.image_size, fast=not full_decode), mean, std])
        digest = hashlib.sha256(preprocessing.encode()).hexdigest()[:16]
        return Identity(self.model_id, self.model_digest, self.prompts.digest, digest, dtype)

    @cached_property
    def base_folder(self) -> str:
        """Where the processor and all weights are: an adapter has some of them only."""
        return _folder(self.base_location) if self.base_location else self.folder

    @cached_property
    def _chat_processor(self) -> ChatProcessor:
        from artquant.model.chat import ChatProcessor

        return ChatProcessor.from_pretrained(self.base_folder)


def _whole(location: str) -> str:
    """Return a local folder as an absolute path, since the process that loads it may have another working directory."""
    return (
        str(Path(local_folder(location)).absolute())
        if not is_object_store(location) and Path(local_folder(location)).is_dir()
        else location
    )


def _folder(location: str) -> str:
    folder = Path(local_folder(location))
    if not folder.is_dir() and re.fullmatch(r"[\w.-]+/[\w.-]+", location):
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        try:
            folder = Path(snapshot_download(location))
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
            raise FileNotFoundError(f"there is no folder {location}, and the hub did not give a model of that name") from error
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {location}")
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{location} holds no config.json")
    return str(folder)


def _backbone(location: str) -> str:
    kind: str = json.loads((Path(_folder(location)) / "config.json").read_text()).get("model_type")
    if kind == MPLUG_OWL2:
        return kind
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    if kind not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        raise ValueError(f"{location} is a checkpoint of {kind!r}, which is no image-text-to-text model of transformers")
    return kind


def _digest(folder: str, backbone: str) -> str:
    """Digest the names and contents of all files that can change a score."""
    suffixes = DIGESTED_SUFFIXES if backbone == MPLUG_OWL2 else (*DIGESTED_SUFFIXES, _TEMPLATE)
    total = hashlib.sha256()
    # What a model is checked with, and what it has seen, change no score: one that gets them later stays the model that it was.
    beside = {Path(folder) / name for name in (GOLDEN, DOMAIN, SEEN)}
    for path in sorted(p for p in Path(folder).rglob("*") if p.suffix in suffixes and p.name != _CARD and p not in beside):
        with path.open("rb") as file:
            total.update(f"{path.relative_to(folder)} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()
