"""ArtQuant's network and its text processor without transformers, whose import takes seconds: for engines.

The names and values are those of transformers' classes. Only folders as this package writes them are opened here; where anything in them
might need transformers' care, :func:`is_plain` says no.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from tokenizers import Tokenizer
from torch import nn
from torch.overrides import TorchFunctionMode

from artquant.model.decoder import Decoder
from artquant.model.fields import PlainConfig
from artquant.model.prompting import Prompting, spaces_last

_TOKENS = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
_TOKENIZER_CONFIG = {"tokenizer_class": "LlamaTokenizer", "add_prefix_space": None, "clean_up_tokenization_spaces": False, **_TOKENS}
_NEUTRAL = {  # no part in ids and texts
    *("backend", "is_local", "local_files_only", "model_max_length", "pad_token", "processor_class", "use_default_system_prompt"),
}
_TOKENIZER = {  # all that decides ids and texts, but for the words themselves
    "truncation": None,
    "padding": None,
    "added_tokens": [
        {"id": id, "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        for id, token in enumerate(_TOKENS.values())
    ],
    "normalizer": None,
    "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False},
    "decoder": {
        "type": "Sequence",
        "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ],
    },
}
_BPE = {
    "type": "BPE",
    "dropout": None,
    "unk_token": None,
    "continuing_subword_prefix": None,
    "end_of_word_suffix": None,
    "fuse_unk": True,
    "byte_fallback": True,
    "ignore_merges": False,
}
_TRANSFORMED = ("tie_word_embeddings", "rope_scaling", "rope_parameters", "quantization_config")  # what transformers does something about


class PlainDecoder(Decoder, nn.Module):
    def __init__(self, config: PlainConfig):
        super().__init__()
        self.config = config
        self.build(config)


class Network(nn.Module):
    """The published checkpoints' network, as far as engines use it."""

    def __init__(self, config: PlainConfig):
        super().__init__()
        self.config = config
        self.model = PlainDecoder(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    @property
    def device(self) -> torch.device:
        return self.lm_head.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.lm_head.weight.dtype

    def get_image_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.model.get_image_features(pixel_values)


class PlainTokenizer:
    """A `tokenizer.json` with the names that transformers' tokenizers have."""

    bos_token = _TOKENS["bos_token"]

    def __init__(self, folder: Path):
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.unk_token_id, self.bos_token_id, self.eos_token_id = (self.tokenizer.token_to_id(token) for token in _TOKENS.values())

    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=add_special_tokens).ids

    def decode(self, ids: Sequence[int], skip_special_tokens: bool) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=skip_special_tokens)


class TextProcessor(Prompting):
    """The text half of :class:`artquant.model.MPLUGOwl2Processor`."""

    def __init__(self, folder: Path):
        settings = _read(folder / "processor_config.json")
        self.tokenizer = PlainTokenizer(folder)
        self.num_image_tokens, self.image_token_index = settings["num_image_tokens"], settings["image_token_index"]


class _Unset(TorchFunctionMode):
    """Leaves parameters as they are made: their values are read, and random ones on `meta` would import torch's compiler."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def open_plainly(folder: str, dtype: torch.dtype) -> tuple[Network, TextProcessor] | None:
    """Load the network and its text processor as transformers would; None where :func:`is_plain` or the weights' names say no."""
    home = Path(folder)
    if not is_plain(home):
        return None
    with torch.device("meta"), _Unset():
        network = Network(PlainConfig.read(home))
    expected = network.state_dict().keys()
    weights: dict[str, torch.Tensor] = {}
    for path in sorted(home.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            weights |= {name: file.get_tensor(name).to(dtype) for name in file.keys() if name in expected}  # noqa: SIM118  # no dict
    if weights.keys() != expected:
        return None
    network.load_state_dict(weights, assign=True)
    return network, TextProcessor(home)


def is_plain(folder: Path) -> bool:
    """Tell whether a checkpoint's folder holds what this package writes, whose meaning does not depend on transformers."""
    try:
        config, settings, tokenizer = (_read(folder / f"{name}.json") for name in ("config", "tokenizer_config", "tokenizer"))
        has_processor = {"num_image_tokens", "image_token_index"} <= _read(folder / "processor_config.json").keys()
    except FileNotFoundError:
        return False
    return (
        has_processor
        and any(folder.glob("*.safetensors"))
        and not any(config.get(name) for name in _TRANSFORMED)
        and {name: value for name, value in settings.items() if name not in _NEUTRAL} == _TOKENIZER_CONFIG
        and is_our_tokenizer(tokenizer)
    )


def is_our_tokenizer(tokenizer: dict[str, Any]) -> bool:
    """Tell whether a `tokenizer.json` is one that transformers' LlamaTokenizer wrote: others it takes apart and puts together anew."""
    model = tokenizer["model"]
    return (
        {name: tokenizer.get(name) for name in _TOKENIZER} == _TOKENIZER
        and {name: model.get(name) for name in _BPE} == _BPE
        and model["merges"] == spaces_last(model["merges"])
    )


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
