"""ArtQuant's network, its processor and its checkpoints. Taking a class from here makes transformers' Auto classes know `mplug_owl2`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from artquant.model.auto import (
        MPLUGOwl2Config,
        MPLUGOwl2ImageProcessor,
        MPLUGOwl2LlamaForCausalLM,
        MPLUGOwl2Model,
        MPLUGOwl2Processor,
    )

__all__ = ["MPLUGOwl2Config", "MPLUGOwl2ImageProcessor", "MPLUGOwl2LlamaForCausalLM", "MPLUGOwl2Model", "MPLUGOwl2Processor"]


def __getattr__(name: str) -> Any:
    """Import the classes only when they are used.

    Looking at a checkpoint's folder takes milliseconds, importing torch and transformers takes seconds.
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from artquant.model import auto

    return getattr(auto, name)
