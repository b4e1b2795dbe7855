"""How well a painting's palette can be told from its colours, by its harmony: where texts stop naming it (paintings/words.py).

A reader (ridge regression on a histogram of colours) learns the palettes from paintings without clashes, and names those of others.
"""

from __future__ import annotations

import dataclasses
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context

import numpy as np

from artquant.paintings import paint, render
from artquant.paintings.latents import PALETTES
from artquant.paintings.seeds import HELD_OUT, TRAINING
from artquant.paintings.words import MIN_HARMONY

SIZE = 96  # pixels
NUM = 3000
BINS = (np.linspace(-0.5, 0.5, 9), np.linspace(-0.6, 0.6, 9), np.linspace(0, 1, 4))


def colours(seed: int, harmony: float | None) -> np.ndarray:
    """Return the histogram of red, blue (against grey) and grey of a painting, its harmony changed where one is given."""
    latents = paint(seed).latents
    if harmony is not None:
        latents = dataclasses.replace(latents, harmony=harmony)
    pixels = render(latents, SIZE).reshape(-1, 3) / 255
    grey = pixels @ (0.299, 0.587, 0.114)
    counts, _ = np.histogramdd(np.stack([pixels[:, 0] - grey, pixels[:, 2] - grey, grey], 1), bins=BINS)
    return np.append(np.sqrt(counts.ravel() / len(pixels)), 1.0)


def main() -> None:
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        learnt = np.stack(list(pool.map(colours, TRAINING[:NUM], repeat(1.0), chunksize=32)))
        asked = np.stack(list(pool.map(colours, HELD_OUT[:NUM], repeat(None), chunksize=32)))
    of = {seeds: np.array([PALETTES.index(paint(seed).latents.palette) for seed in seeds]) for seeds in (TRAINING[:NUM], HELD_OUT[:NUM])}
    weights = np.linalg.solve(learnt.T @ learnt + 0.1 * np.eye(learnt.shape[1]), learnt.T @ np.eye(len(PALETTES))[of[TRAINING[:NUM]]])
    is_told = (asked @ weights).argmax(1) == of[HELD_OUT[:NUM]]
    harmony = np.array([paint(seed).latents.harmony for seed in HELD_OUT[:NUM]])
    for low in np.arange(0, 1, 0.1):
        within = (harmony >= low) & ((harmony < low + 0.1) | (low > 0.85))
        print(f"harmony {low:.1f} to {low + 0.1:.1f}: {is_told[within].mean():.2f} of {within.sum():,}")
    named = harmony >= MIN_HARMONY
    for what, chosen in ((f"named, from {MIN_HARMONY} on", named), ("not named", ~named)):
        print(f"{what}: {is_told[chosen].mean():.3f} of {chosen.sum():,}")


if __name__ == "__main__":
    main()
