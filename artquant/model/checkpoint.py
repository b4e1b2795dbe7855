"""A checkpoint as a whole: weights, processor, prompts, and the digests that say which scores it made."""

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from artquant.identity import Identity
from artquant.model.adapter import base_of, is_adapter
from artquant.model.configuration import MPLUGOwl2Config
from artquant.model.location import local_folder
from artquant.model.modeling import MPLUGOwl2LlamaForCausalLM
from artquant.model.processing import CLIP_MEAN, CLIP_STD, MPLUGOwl2Processor
from artquant.prompts import Prompts

_WEIGHS = (".safetensors", ".bin", ".json", ".model", ".txt")
_CARD = "card.json"  # of a registry: what is said of a model is not the model


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that exists, and what its scores depend on. Picklable: another machine brings the folders to itself when it loads."""

    location: str
    base_location: str | None
    model_id: str
    model_digest: str

    @classmethod
    def open(cls, location: str, base: str | None = None) -> "Checkpoint":
        """The checkpoint at a folder, an `s3://` prefix or a hub name; all of it is read once for the digest.

        Raises FileNotFoundError or ValueError, in one sentence, where there is no checkpoint of this architecture.
        """
        folder = _folder(location)
        base = (base or base_of(folder)) if is_adapter(folder) else None
        digests = [_digest(folder), *([_digest(_folder(base))] if base else [])]
        digest = hashlib.sha256("".join(digests).encode()).hexdigest()[:16]
        return cls(_whole(location), base and _whole(base), location.rstrip("/").rsplit("/", 1)[-1], digest)

    @cached_property
    def folder(self) -> str:
        return _folder(self.location)

    def __getstate__(self) -> dict:
        return {name: value for name, value in self.__dict__.items() if name != "folder"}

    @property
    def prompts(self) -> Prompts:
        return Prompts.load(self.folder)

    @property
    def image_size(self) -> int:
        return json.loads((Path(self.folder) / "config.json").read_text())["visual_config"]["visual_model"]["image_size"]

    def load_model(self, dtype: torch.dtype) -> MPLUGOwl2LlamaForCausalLM:
        return MPLUGOwl2LlamaForCausalLM.from_pretrained(self.folder, base=self.base_location, dtype=dtype)

    def load_config(self) -> MPLUGOwl2Config:
        return MPLUGOwl2Config.from_pretrained(self.folder)

    def load_processor(self) -> MPLUGOwl2Processor:
        return MPLUGOwl2Processor.from_pretrained(self.base_location or self.folder)

    def identity(self, dtype: str, full_decode: bool = False) -> Identity:
        """What scores of this checkpoint depend on, under a dtype and a way to decode (`images.load`'s `fast`, negated)."""
        from artquant import images

        preprocessing = json.dumps([images.recipe(self.image_size, fast=not full_decode), CLIP_MEAN, CLIP_STD])
        digest = hashlib.sha256(preprocessing.encode()).hexdigest()[:16]
        return Identity(self.model_id, self.model_digest, self.prompts.digest, digest, dtype)


def _whole(location: str) -> str:
    """A folder with its whole path: who loads it may stand elsewhere."""
    return (
        str(Path(local_folder(location)).absolute())
        if not location.startswith("s3://") and Path(local_folder(location)).is_dir()
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
    config = folder / "config.json"
    if not config.is_file():
        raise FileNotFoundError(f"{location} holds no config.json")
    kind = json.loads(config.read_text()).get("model_type")
    if kind != "mplug_owl2":
        raise ValueError(f"{location} is a checkpoint of {kind!r}, not of 'mplug_owl2'")
    return str(folder)


def _digest(folder: str) -> str:
    """Of the names and contents of all files that can change a score."""
    total = hashlib.sha256()
    for path in sorted(p for p in Path(folder).rglob("*") if p.suffix in _WEIGHS and p.name != _CARD):
        with path.open("rb") as file:
            total.update(f"{path.relative_to(folder)} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()
