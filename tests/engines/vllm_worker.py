"""vLLM in a process of its own, one engine after another: it changes torch for good in the process that it runs in."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from artquant.config import EngineSpec

needs_vllm = pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed: make vllm")
_open: list[Any] = []


class VllmWorker:
    def __init__(self) -> None:
        self.pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))

    def open(self, folder: Path | str, base: str | None = None, **spec: Any) -> None:
        """Closes the engine before, if there is one."""
        self.pool.submit(_open_engine, str(folder), base, spec).result()

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """`function(engine, *arguments)` over there."""
        return self.pool.submit(_call, function, *arguments).result()

    def assess(self, pixels: np.ndarray, critique: bool = False) -> Any:
        return self.call(_assess, pixels, critique)

    def close(self) -> None:
        self.pool.submit(_close).result()
        self.pool.shutdown()


def _open_engine(folder: str, base: str | None, spec: dict[str, Any]) -> None:
    from artquant.engines.open import open_engine, resolve
    from artquant.model.checkpoint import Checkpoint

    _close()
    _open.append(open_engine(resolve(EngineSpec(name="vllm", **spec)), Checkpoint.open(folder, base)))


def _close() -> None:
    while _open:
        _open.pop().close()


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(_open[0], *arguments)


def _assess(engine: Any, pixels: np.ndarray, critique: bool) -> Any:
    return engine.assess(pixels, critique)
