"""The published adapter layout: LoRA weights and retrained visual parts, applied over a base checkpoint and merged."""

import os
import pickle
from collections.abc import Set
from pathlib import Path
from typing import Any

import torch

_NON_LORA = "non_lora_trainables.bin"
_PREFIX = "base_model.model."


def merge_adapter(model: Any, folder: str | os.PathLike[str]) -> Any:
    """Load the adapter in `folder` over `model` and return the merged model.

    The order is that of the published code: the retrained parameters replace the base's, then `W += alpha / r * B A`. Raises ValueError if
    a file holds more than tensors, a tensor has no place in the model, or a layer's LoRA weights are missing.
    """
    from peft import PeftConfig, PeftModel, get_peft_model_state_dict, load_peft_weights, set_peft_model_state_dict

    retrained = Path(folder) / _NON_LORA
    try:
        state = torch.load(retrained, map_location="cpu", weights_only=True) if retrained.is_file() else {}
        lora = load_peft_weights(str(folder), device="cpu")  # with weights_only=True likewise
    except pickle.UnpicklingError as error:
        raise ValueError(f"the adapter in {folder} holds more than tensors and is not loaded") from error
    state = {name.removeprefix(_PREFIX): tensor for name, tensor in state.items()}
    _refuse(state.keys() - model.state_dict().keys(), f"{retrained} holds tensors that the model has no place for")
    model.load_state_dict(state, strict=False)
    adapted = PeftModel(model, PeftConfig.from_pretrained(str(folder)))
    expected = get_peft_model_state_dict(adapted, save_embedding_layers=False).keys()
    _refuse(lora.keys() - expected, f"the adapter in {folder} holds tensors that the model has no place for")
    _refuse(expected - lora.keys(), f"the adapter in {folder} lacks tensors that its adapter_config.json asks for")
    set_peft_model_state_dict(adapted, lora)
    return adapted.merge_and_unload()


def _refuse(names: Set[str], why: str) -> None:
    if names:
        raise ValueError(f"{why}: {', '.join(sorted(names)[:3])}")
