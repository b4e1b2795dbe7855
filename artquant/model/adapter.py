"""The published adapter layout: LoRA weights and retrained visual parts, applied over a base checkpoint and merged."""

import json
import os
import pickle
from pathlib import Path

import torch

_NON_LORA = "non_lora_trainables.bin"
_PREFIX = "base_model.model."


def is_adapter(folder: str | os.PathLike) -> bool:
    return (Path(folder) / "adapter_config.json").is_file()


def base_of(folder: str | os.PathLike) -> str:
    """The base checkpoint that an adapter names. Raises ValueError where it names none."""
    base = json.loads((Path(folder) / "adapter_config.json").read_text()).get("base_model_name_or_path")
    if not base:
        raise ValueError(f"the adapter in {folder} names no base checkpoint: give one with base=")
    return base


def merge_adapter(model, folder: str | os.PathLike):
    """Loads the adapter in `folder` over `model` and returns the merged model.

    The order is that of the published code: the retrained parameters replace the base's, then `W += alpha / r * B A`.
    Raises ValueError where a tensor of the adapter has no place in the model.
    """
    from peft import PeftModel

    retrained = Path(folder) / _NON_LORA
    if retrained.is_file():
        try:
            state = torch.load(retrained, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise ValueError(f"{retrained} holds more than tensors and is not loaded") from error
        state = {name.removeprefix(_PREFIX): tensor for name, tensor in state.items()}
        unknown = model.load_state_dict(state, strict=False).unexpected_keys
        if unknown:
            raise ValueError(f"{retrained} holds tensors that the model has no place for: {', '.join(sorted(unknown)[:3])}")
    return PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
