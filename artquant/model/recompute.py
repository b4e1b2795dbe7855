"""Layers that can compute their activations again in the backward pass, which saves memory."""

from collections.abc import Callable
from typing import Any

from torch import nn


class Recomputed(nn.Module):
    """A layer with the two attributes that transformers' `gradient_checkpointing_enable` sets, without importing transformers."""

    gradient_checkpointing = False
    _gradient_checkpointing_func: Callable[..., Any]

    def __call__(self, *args: Any) -> Any:
        if self.gradient_checkpointing and self.training:
            return self._gradient_checkpointing_func(super().__call__, *args)
        return super().__call__(*args)
