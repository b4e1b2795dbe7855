"""How paint lies on the canvas: maps of strokes that are made once for each size and cut to each painting.

A stroke map says for every pixel which stroke covers it: the way back to the stroke's middle (where its colour is taken), a mark
(a hash of the stroke; 0 where no stroke fell) and the relief of the paint. There is one map for each of eight directions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import numpy as np
from PIL import Image, ImageDraw

NUM_DIRECTIONS = 8
MARGIN = 1.2  # maps and fields are larger than the painting, so that each painting cuts its own piece


@dataclass(frozen=True)
class Bristle:
    """Length and width of a stroke in units of the long side, how often each spot is covered, and the height of the paint."""

    length: float
    width: float
    coverage: float
    bristles: float
    ridge: float


BRISTLES = {
    "smooth": Bristle(0.100, 0.022, 5.0, 0.15, 0.0),
    "impasto": Bristle(0.085, 0.024, 4.0, 0.8, 1.0),
    "pointillist": Bristle(0.017, 0.017, 2.2, 0.0, 0.6),
    "hatched": Bristle(0.120, 0.0085, 1.7, 0.3, 0.1),
}


@dataclass(frozen=True)
class StrokeMap:
    """All arrays are (directions, side, side): `back_x`, `back_y` int16 pixels, `mark` uint8, `relief` float32 about -1..1."""

    back_x: np.ndarray
    back_y: np.ndarray
    mark: np.ndarray
    relief: np.ndarray


@lru_cache(maxsize=16)
def stroke_map(brush: str, long_side: int) -> StrokeMap:
    """Build a stroke map in a few tenths of a second; 8 directions of `MARGIN * long_side` pixels a side."""
    bristle = BRISTLES[brush]
    rng = np.random.Generator(np.random.PCG64(1871))
    side = math.ceil(MARGIN * long_side)
    room = math.ceil(side * 1.42) + 4
    length, width = bristle.length * long_side, bristle.width * long_side
    num = max(8, int(bristle.coverage * room * room / (length * width)))
    x, y = rng.uniform(0, room, num), rng.uniform(0, room, num)
    half_l, half_w = length / 2 * rng.uniform(0.7, 1.2, num), width / 2 * rng.uniform(0.75, 1.25, num)
    tilt = rng.normal(0, 0.12, num)
    image = Image.new("I", (room, room))
    draw = ImageDraw.Draw(image)
    outline = _outline(bristle)
    cos, sin = np.cos(tilt)[:, None], np.sin(tilt)[:, None]
    u, v = outline[:, 0] * half_l[:, None], outline[:, 1] * half_w[:, None]
    corners = np.stack([x[:, None] + u * cos - v * sin, y[:, None] + u * sin + v * cos], axis=2).reshape(num, -1)
    for index, points in enumerate(corners.tolist()):
        draw.polygon(points, fill=index + 1)
    x, y = np.append(0.0, x - room / 2), np.append(0.0, y - room / 2)
    half_w = np.append(1.0, half_w)
    phase = rng.uniform(0, 7, num + 1)
    mark = rng.integers(1, 256, num + 1).astype(np.uint8)
    mark[0] = 0
    cut = (room - side) // 2
    grid = np.arange(side) + cut - room / 2 + 0.5
    maps: list[list[np.ndarray]] = [[], [], [], []]
    for direction in range(NUM_DIRECTIONS):
        angle = math.pi * direction / NUM_DIRECTIONS
        turned = image.rotate(-math.degrees(angle), Image.Resampling.NEAREST)
        number = np.asarray(turned)[cut : cut + side, cut : cut + side]
        cos_a, sin_a = math.cos(angle), math.sin(angle)
        dx = grid[None, :] - (x * cos_a - y * sin_a)[number]
        dy = grid[:, None] - (x * sin_a + y * cos_a)[number]
        across = (dy * cos_a - dx * sin_a) / half_w[number]
        relief = bristle.bristles * 0.6 * np.sin(across * 7 + phase[number]) * np.sin(across * 3.1 + 2 * phase[number])
        light = cos_a * 0.75 + sin_a * -0.65 if bristle.length > bristle.width else 0.0
        relief -= bristle.ridge * np.clip(across, -1, 1) ** 3 * light
        if bristle.length == bristle.width:
            relief -= bristle.ridge * np.clip((dx + dy) / (half_w[number] * 1.6), -1, 1)
        covered = number > 0
        for table, values in zip(maps, (dx * covered, dy * covered, mark[number], relief * covered), strict=True):
            table.append(values)
    back_x, back_y, marks, relief = (np.stack(table) for table in maps)
    return StrokeMap(back_x.round().astype(np.int16), back_y.round().astype(np.int16), marks, relief.astype(np.float32))


def _outline(bristle: Bristle) -> np.ndarray:
    if bristle.length == bristle.width:
        angles = np.arange(10) * (2 * math.pi / 10)
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return np.array([(-1, 0.2), (-0.85, 0.8), (-0.2, 1), (0.6, 0.85), (1, 0.25), (0.95, -0.3), (0.5, -0.95), (-0.4, -0.9), (-0.9, -0.6)])


@lru_cache(maxsize=64)
def noise(long_side: int, cells: int, octaves: int, variant: int) -> np.ndarray:
    """Return smooth noise, float32 (side, side) with mean 0 and std 1; `cells` waves along the long side in the coarsest octave."""
    rng = np.random.Generator(np.random.PCG64([cells, octaves, variant]))
    side = math.ceil(MARGIN * long_side)
    total = np.zeros((side, side), np.float32)
    for octave in range(octaves):
        count = math.ceil(cells * 2**octave * MARGIN) + 3
        grid = rng.normal(0, 1, (count, count)).astype(np.float32)
        total += np.asarray(Image.fromarray(grid).resize((side, side), Image.Resampling.BICUBIC)) * 0.55**octave
    return cast(np.ndarray, (total - total.mean()) / total.std())


@lru_cache(maxsize=8)
def canvas(long_side: int) -> np.ndarray:
    """Return the weave of the cloth, float32 (side, side), about -1..1."""
    side = math.ceil(MARGIN * long_side)
    threads = np.arange(side, dtype=np.float32) * (2 * math.pi * 150 / max(long_side, 420))
    weave = np.sin(threads)[:, None] * np.sin(threads)[None, :]
    grain = np.random.Generator(np.random.PCG64(7)).normal(0, 0.5, (side, side))
    return cast(np.ndarray, (weave * 0.7 + grain).astype(np.float32))
