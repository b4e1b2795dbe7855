"""Keys and values of a batch in buffers of fixed size, written in place."""

import torch


class KVCache:
    """Keys and values of all layers, each (rows, heads, max_length, head_dim).

    Implements the two methods of transformers' caches that are used here.
    """

    def __init__(
        self, num_layers: int, rows: int, num_heads: int, max_length: int, head_dim: int, dtype: torch.dtype, device: torch.device
    ):
        shape = (num_layers, rows, num_heads, max_length, head_dim)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.length = 0

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.length

    def update(self, keys: torch.Tensor, values: torch.Tensor, layer_idx: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Append (rows, heads, T, head_dim) to a layer and return all so far. The update of the last layer advances the length."""
        stop = self.length + keys.shape[2]
        self.keys[layer_idx, :, :, self.length : stop] = keys
        self.values[layer_idx, :, :, self.length : stop] = values
        if layer_idx == len(self.keys) - 1:
            self.length = stop
        return self.keys[layer_idx, :, :, :stop], self.values[layer_idx, :, :, :stop]

    def keep(self, rows: torch.Tensor) -> None:
        """Drop all rows but those of the index (N,)."""
        self.keys, self.values = self.keys[:, rows], self.values[:, rows]
