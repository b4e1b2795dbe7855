"""Engines that answer by a picture's red, so that each row tells which picture it was made from, and the ways in which they fail."""

from __future__ import annotations

import io
import os
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
from PIL import Image

from artquant.core.identity import Identity
from artquant.core.scale import Scale
from artquant.engines import Assessment

POISON_RED = 255
REDS = {f"{red:03d}.png": red for red in range(0, 200, 5)}  # a collection: file -> its red
RED = Identity("red", "digest-of-red", "no-prompt", "middle", "float64")


class RedEngine:
    """Excellent with probability red / 255, else bad; red is that of the picture's middle."""

    scale = Scale()
    image_size = 16

    def assess(self, pixels: np.ndarray, critique: bool = False) -> Assessment:
        red = pixels[:, 8, 8, 0] / 255.0
        zero = np.zeros_like(red)
        probabilities = np.stack([red, zero, zero, zero, 1 - red], axis=1)
        return Assessment(probabilities, np.ones_like(red), [None] * len(red), ["not_requested"] * len(red))


def red_picture(red: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (red, 40, 90)).save(buffer, "PNG")
    return buffer.getvalue()


def red_score(red: int) -> float:
    return red / 255 * Scale().high + (1 - red / 255) * Scale().low


class RefusingEngine(RedEngine):
    """Raises for every batch that holds the poison."""

    def assess(self, pixels: np.ndarray, critique: bool = False) -> Assessment:
        if (pixels[:, 8, 8, 0] == POISON_RED).any():
            raise RuntimeError("the poison was swallowed")
        return super().assess(pixels, critique)


@dataclass(frozen=True)
class Deadly:
    """Opens an engine that ends its process, or never answers, whenever a picture of `red` is in the batch."""

    red: int
    never_answers: bool = False

    def __call__(self) -> RedEngine:
        engine = RedEngine()

        def assess(pixels: np.ndarray, critique: bool = False) -> Assessment:
            if (pixels[:, 8, 8, 0] == self.red).any():
                time.sleep(600) if self.never_answers else os._exit(9)
            return RedEngine.assess(engine, pixels, critique)

        engine.assess = assess  # type: ignore[method-assign]
        return engine


@dataclass(frozen=True)
class Patient:
    """Opens an engine that, after `num` pictures, answers once there is a shard's file in `folder`, and fails if none comes."""

    num: int
    folder: str

    def __call__(self) -> RedEngine:
        engine, answered = RedEngine(), count(step=4)

        def assess(pixels: np.ndarray, critique: bool = False) -> Assessment:
            deadline, is_late = time.monotonic() + 60, next(answered) >= self.num
            while is_late and not any(Path(self.folder).rglob("shards/*")):
                if time.monotonic() > deadline:
                    raise OSError("no shard is stored")
                time.sleep(0.05)
            return RedEngine.assess(engine, pixels, critique)

        engine.assess = assess  # type: ignore[method-assign]
        return engine


class GrantedEngine(RedEngine):
    """Opens only where Ray granted this worker a GPU of its own."""

    def __init__(self) -> None:
        import ray

        granted = ray.get_runtime_context().get_accelerator_ids()["GPU"]
        if len(granted) != 1:
            raise OSError(f"{len(granted)} GPUs were granted")


@dataclass(frozen=True)
class Dying:
    """Opens an engine that takes its process down: at its third batch, where `once` is a path and does not exist yet, or at each."""

    once: Path | None

    def __call__(self) -> RedEngine:
        engine, assess, batches = RedEngine(), RedEngine.assess, iter(range(1_000_000))

        def dying(pixels: np.ndarray, critique: bool = False) -> Assessment:
            if self.once is None:
                os._exit(1)
            if next(batches) == 2 and not self.once.exists():
                self.once.touch()
                os._exit(1)
            return assess(engine, pixels, critique)

        engine.assess = dying  # type: ignore[method-assign]
        return engine


def unopenable() -> RedEngine:
    raise OSError("the weights are locked away")
