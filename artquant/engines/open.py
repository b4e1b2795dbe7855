"""The engine that a spec asks for, on the machine that runs it."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

from artquant.config import EngineSpec
from artquant.core.errors import UserError
from artquant.core.memory import keep_freed_memory
from artquant.engines import Engine
from artquant.engines.golden import check_golden, read_golden

if TYPE_CHECKING:  # resolving a spec needs no network: torch and transformers take seconds to import
    from artquant.model.checkpoint import Checkpoint

_BATCH_SIZE = {"torch": 32, "vllm": 128}  # vLLM makes its own batches of what it is given
NUM_THREADS = {"torch": 1, "vllm": 2}  # batches at once: the next one's images fill the places that the last of this one leave in vLLM


def resolve(spec: EngineSpec, is_mplug_owl2: bool = True) -> EngineSpec:
    """Return the spec with every `auto` replaced. Raises UserError for an engine that cannot be had.

    `auto` is vLLM if it is installed and GPUs are requested, else torch; and a GPU in bfloat16 if GPUs are requested, else the CPU in
    float32. Backbones other than mPLUG-Owl2 (`is_mplug_owl2` false) have only the torch engine.
    """
    device = spec.device if spec.device != "auto" else ("cuda" if spec.num_gpus else "cpu")
    dtype = spec.dtype if spec.dtype != "auto" else ("bfloat16" if device == "cuda" else "float32")
    is_there = find_spec("vllm") is not None
    name = spec.name if spec.name != "auto" else ("vllm" if is_there and is_mplug_owl2 and device == "cuda" else "torch")
    if name == "vllm" and not is_mplug_owl2:
        raise UserError("engine=vllm knows mPLUG-Owl2 checkpoints only: take engine=torch for this model.")
    if name == "vllm" and not is_there:
        raise UserError(
            "engine=vllm needs vLLM, which is not installed: type `make vllm` for the CPU, or install artquant-jobs[vllm] on a GPU."
        )
    if device == "cuda" and not spec.num_gpus:
        raise UserError("engine.device=cuda needs engine.num_gpus=1: Ray hides GPUs from workers that ask for none.")
    if name == "vllm" and device == "cuda" and spec.vllm.tensor_parallel_size > spec.num_gpus:
        size = spec.vllm.tensor_parallel_size
        raise UserError(f"engine.vllm.tensor_parallel_size={size} needs engine.num_gpus={size}: the GPUs of each worker.")
    return spec.model_copy(update={"name": name, "device": device, "dtype": dtype, "batch_size": spec.batch_size or _BATCH_SIZE[name]})


def engine_label(spec: EngineSpec) -> str:
    """Return the label of a resolved spec for people: `torch on cpu, float32`."""
    quantised = f", {spec.vllm.quantization}" if spec.name == "vllm" and spec.vllm.quantization else ""
    return f"{spec.name} on {spec.device}, {spec.dtype}{quantised}"


def precision_tag(spec: EngineSpec) -> str:
    """Return the part of a score's identity that the engine of a resolved spec decides."""
    return f"{spec.dtype}+{spec.vllm.quantization}" if spec.name == "vllm" and spec.vllm.quantization else str(spec.dtype)


def open_engine(spec: EngineSpec, checkpoint: Checkpoint) -> Engine:
    """Load the checkpoint onto this process's device and let it score its golden set, if it has one; `spec` is resolved.

    Raises UserError if the device is a GPU that torch does not see, RunFailed if the scores are not what they should be.
    """
    engine, golden = _load(spec, checkpoint), read_golden(checkpoint.folder)
    if golden:
        check_golden(engine, golden, spec)
    return engine


def _load(spec: EngineSpec, checkpoint: Checkpoint) -> Engine:
    import torch

    if spec.device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"A worker was given a GPU that torch {torch.__version__} does not see: install a torch that is built for it, "
            "or set engine.device=cpu."
        )
    if spec.name == "vllm":
        from artquant.engines.vllm.engine import VllmEngine

        return VllmEngine(checkpoint, spec)
    if spec.device == "cpu":
        keep_freed_memory()
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // spec.num_workers))
    if checkpoint.is_mplug_owl2:
        from artquant.engines.torch_engine import TorchEngine

        return TorchEngine.load(checkpoint, spec.device, spec.dtype)
    import artquant.model.auto  # noqa: F401  # transformers' Auto classes know our network
    from artquant.engines.chat_engine import ChatEngine

    return ChatEngine.load(checkpoint, spec.device, spec.dtype)
