"""How far a picture is from those that a model learnt from, by the vision tower's features. It needs no retraining.

`golden/domain.safetensors` below the checkpoint's folder: mean (F,) and whitening (F, F), float32, and `layer` and `limit` as metadata.
The features are mean and standard deviation over the patches behind an early layer, F = 2 W: there, texture and palette are not yet folded
into what the score needs, and foreign pictures stand out best (docs/engines.md has the measurement).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from artquant.model.location import DOMAIN

if TYPE_CHECKING:
    import torch

SHARE_INSIDE = 0.995  # of unseen pictures of the training's kind, which lie nearer than the limit
_RIDGE = 1e-3  # added to the correlations, whose smallest eigenvalues are noise


@dataclass(frozen=True)
class Domain:
    """mean (F,) and whitening (F, F) of the training's features; limit: the distance that SHARE_INSIDE of unseen pictures of the
    same kind stay below; layer: the vision layer behind which the features are taken."""

    layer: int
    mean: np.ndarray
    whitening: np.ndarray
    limit: float

    def __post_init__(self) -> None:
        if self.layer < 0 or not self.limit > 0 or self.whitening.shape != (len(self.mean), len(self.mean)):
            raise ValueError("a domain has a layer, a limit above zero, and a whitening of F x F for a mean of F")

    @classmethod
    def fit(cls, layer: int, seen: np.ndarray, unseen: np.ndarray) -> Domain:
        """Return the domain of `seen` features (N, F), with the limit from `unseen` ones (M, F) of the same kind."""
        mean, spread = seen.mean(0), seen.std(0) + 1e-9
        correlations = np.cov(((seen - mean) / spread).T) + _RIDGE * np.eye(seen.shape[1])
        whitening = np.linalg.cholesky(np.linalg.inv(correlations)) / spread[:, None]
        distances = np.linalg.norm((unseen - mean) @ whitening, axis=1)
        return cls(layer, mean, whitening, float(np.quantile(distances, SHARE_INSIDE)))

    def distance(self, features: np.ndarray) -> np.ndarray:
        """(B, F) features -> (B,) float64 in units of the limit: above 1, a picture is of another kind."""
        distances: np.ndarray = np.linalg.norm((features - self.mean) @ self.whitening, axis=1) / self.limit
        return distances

    def to_bytes(self) -> bytes:
        from safetensors.numpy import save

        tensors = {"mean": self.mean.astype(np.float32), "whitening": np.ascontiguousarray(self.whitening, np.float32)}
        return save(tensors, {"layer": str(self.layer), "limit": repr(self.limit)})


def features_of(patches: torch.Tensor) -> np.ndarray:
    """(B, 1 + patches, W) behind a vision layer, class token first -> (B, 2 W) float64."""
    import torch

    patches = patches[:, 1:].float()
    return torch.cat([patches.mean(1), patches.std(1)], 1).double().cpu().numpy()


def read_domain(folder: str | Path) -> Domain | None:
    """Read the domain of a checkpoint's folder; None if it has none. Raises ValueError for one that is damaged."""
    path = Path(folder) / DOMAIN
    if not path.is_file():
        return None
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            return Domain(int(metadata["layer"]), file.get_tensor("mean"), file.get_tensor("whitening"), float(metadata["limit"]))
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"its domain is damaged ({' '.join(str(error).split())}): bring {DOMAIN} again, or delete it") from error
