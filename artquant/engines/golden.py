"""The golden set: a few pictures that travel with a model, and what it makes of them. An engine scores them before it takes work.

`golden/pictures.safetensors` below the checkpoint's folder, where nothing that loads weights looks (vLLM and others read every
`*.safetensors` of the folder itself): images (N, S, S, 3) uint8, probabilities (N, 5) float64, and `dtype` and `tolerances` as metadata.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from artquant.config import EngineSpec
from artquant.core.errors import Reject, RunFailed
from artquant.core.schema import LEVELS
from artquant.engines import Engine
from artquant.engines.halving import BatchLimit, assess_each
from artquant.model.location import GOLDEN

MIN_PICTURES, MAX_PICTURES = 4, 8
QUANTISED = "quantised"  # whatever the dtype
TOLERANCES: Mapping[str, float] = {"float32": 0.005, "float16": 0.02, "bfloat16": 0.08, QUANTISED: 0.2}


@dataclass(frozen=True)
class GoldenSet:
    """images (N, S, S, 3) uint8, N from 4 to 8; probabilities (N, 5) float64, best level first, as an engine in `dtype` gave them;
    tolerances: dtype, or `quantised`, -> how far a probability may be from there.

    The defaults, and why: artquant-tiny on 24 unseen paintings, on a CPU, against float32 in one batch, differs by at most 2e-6 one by one,
    0 with one thread for two, 0.0016 in float16 and 0.015 in bfloat16. What must be found is larger: noise of 1 % of the weights' spread
    0.012, of 10 % 0.18, red and blue exchanged 0.8. A device rounds otherwise than a CPU (TF32 keeps ten bits of a float32) and full-size
    networks have more layers: hence room of five times the measured and more, and in bfloat16 a small error of the weights stays unseen.
    Quantised weights were not measured: that bound finds what is grossly wrong.
    """

    images: np.ndarray
    probabilities: np.ndarray
    dtype: str
    tolerances: Mapping[str, float]

    def __post_init__(self) -> None:
        num = len(self.images)
        if not MIN_PICTURES <= num <= MAX_PICTURES:
            raise ValueError(f"a golden set has {MIN_PICTURES} to {MAX_PICTURES} pictures, not {num}")
        shape = (num, *self.images.shape[1:2] * 2, 3)
        if self.images.dtype != np.uint8 or self.images.shape != shape or self.probabilities.shape != (num, len(LEVELS)):
            raise ValueError("a golden set has square uint8 images and five probabilities for each")
        if self.dtype not in TOLERANCES or not TOLERANCES.keys() <= self.tolerances.keys():
            raise ValueError(f"a golden set names its dtype, and a tolerance for each of {', '.join(TOLERANCES)}")

    @classmethod
    def of(cls, images: np.ndarray, probabilities: np.ndarray, dtype: str) -> GoldenSet:
        """Return the set with the default tolerances: between two dtypes the wider one."""
        return cls(images, probabilities, dtype, {name: max(value, TOLERANCES[dtype]) for name, value in TOLERANCES.items()})

    def to_bytes(self) -> bytes:
        from safetensors.numpy import save

        tensors = {"images": np.ascontiguousarray(self.images), "probabilities": np.ascontiguousarray(self.probabilities, np.float64)}
        return save(tensors, {"dtype": self.dtype, "tolerances": json.dumps(dict(self.tolerances))})


def read_golden(folder: str | Path) -> GoldenSet | None:
    """Read the golden set of a checkpoint's folder; None if it has none. Raises ValueError for one that is damaged."""
    path = Path(folder) / GOLDEN
    if not path.is_file():
        return None
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tolerances = {name: float(value) for name, value in json.loads(metadata["tolerances"]).items()}
            return GoldenSet(file.get_tensor("images"), file.get_tensor("probabilities"), metadata["dtype"], tolerances)
    except (SafetensorError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"its golden set is damaged ({' '.join(str(error).split())}): bring {GOLDEN} again, or delete it") from error


def precision_of(spec: EngineSpec) -> str:
    """Return under which of TOLERANCES the engine of a resolved spec falls."""
    return QUANTISED if spec.name == "vllm" and spec.vllm.quantization else str(spec.dtype)


def check_golden(engine: Engine, golden: GoldenSet, spec: EngineSpec) -> None:
    """Score the golden set with an engine that was just opened; `spec` is resolved. Raises RunFailed, which names node, device and dtype,
    where a probability is further from what the model gave when it was published than the tolerance."""
    precision = precision_of(spec)
    dtype = f"{spec.dtype}, {spec.vllm.quantization}" if precision == QUANTISED else spec.dtype
    refused = f"The {spec.name} engine on node {socket.gethostname()} ({spec.device}, {dtype}) fails the model's golden set"
    advice = "look at this node's device and packages, or publish the model anew"
    size = golden.images.shape[1]
    if engine.image_size != size:
        raise RunFailed(f"{refused}: its pictures are of {size} pixels, and the engine takes {engine.image_size}; {advice}.")
    worst, tolerance = 0.0, golden.tolerances[precision]
    for outcome, expected in zip(
        assess_each(engine, golden.images, critique=False, limit=BatchLimit(spec.batch_size)), golden.probabilities, strict=True
    ):
        if isinstance(outcome, Reject):
            raise RunFailed(f"{refused}: {outcome.message}; {advice}.")
        assessment, row = outcome
        worst = max(worst, float(np.abs(assessment.probabilities[row] - expected).max()))
    if worst > tolerance:
        raise RunFailed(f"{refused}: a probability is off by {worst:.3g}, and {tolerance:g} is allowed; {advice}.")
