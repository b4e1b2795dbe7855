"""The engine that a spec asks for, on the machine that runs it."""

import os

from artquant.config import EngineSpec
from artquant.engines import Engine
from artquant.memory import keep_freed_memory
from artquant.model.checkpoint import Checkpoint


def resolve_device(spec: EngineSpec) -> tuple[str, str]:
    """(device, dtype) of the workers: `auto` is a GPU in bfloat16 where GPUs are asked for, else the CPU in float32."""
    device = spec.device if spec.device != "auto" else ("cuda" if spec.num_gpus else "cpu")
    dtype = spec.dtype if spec.dtype != "auto" else ("bfloat16" if device == "cuda" else "float32")
    return device, dtype


def open_engine(spec: EngineSpec, checkpoint: Checkpoint) -> Engine:
    """Loads the checkpoint onto this process's device."""
    import torch

    from artquant.engines.chat_engine import ChatEngine
    from artquant.engines.torch_engine import TorchEngine

    device, dtype = resolve_device(spec)
    if device == "cpu":
        keep_freed_memory()
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // spec.num_workers))
    return (TorchEngine if checkpoint.is_own else ChatEngine).load(checkpoint, device, dtype)
