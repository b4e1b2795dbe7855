"""State whose tensors are spread over the workers (FSDP's DTensors), as what one worker holds of it, and back."""

from typing import Any

import torch
from torch.distributed.tensor import DTensor
from torch.utils._pytree import tree_map, tree_map_only


def local_parts(state: dict[str, Any]) -> dict[str, Any]:
    """Return the state with each spread tensor as this worker's part of it, a tensor of its own."""
    parts: dict[str, Any] = tree_map_only(DTensor, lambda tensor: tensor.to_local(), state)
    return parts


def with_local_parts(state: dict[str, Any], parts: dict[str, Any]) -> dict[str, Any]:
    """Return `parts`, of which each that belongs to a spread tensor of `state` is that tensor again, filled with it. Both have one form,
    as the run's settings, which make it, cannot change between them."""

    def filled(tensor: Any, part: Any) -> Any:
        if not isinstance(tensor, DTensor):
            return part
        with torch.no_grad():
            tensor.to_local().copy_(part)
        return tensor

    whole: dict[str, Any] = tree_map(filled, state, parts)
    return whole
