"""How well an engine judges generated paintings: against the raters' means, and against the latents that critiques should name."""

import os
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from artquant.images import square as images
from artquant.paintings.painting import paint
from artquant.paintings.render import jpeg

LONG_SIDES = (160, 224, 320)  # pixels; several sizes, so that training does not depend on one


def picture(seed: int) -> bytes:
    """Return one painting for training or the exam, as a JPEG."""
    return jpeg(paint(seed), LONG_SIDES[seed % len(LONG_SIDES)], quality=90)


def square(seed: int, size: int) -> np.ndarray:
    """Return the painting as the score job sees it: decoded, padded, resized to (size, size, 3) uint8."""
    return images.load(picture(seed), size).pixels


def squares(seeds: range, size: int, path: Path) -> np.ndarray:
    """(N, size, size, 3) uint8, kept in the file `path` and read from there the next time."""
    if path.is_file():
        saved: np.ndarray = np.load(path, mmap_mode="r")
        if saved.shape == (len(seeds), size, size, 3):
            return saved
    path.parent.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        rendered = np.stack(list(pool.map(square, seeds, repeat(size), chunksize=64)))
    np.save(path, rendered)
    return rendered
