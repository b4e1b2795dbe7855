"""Do the heat maps of `artquant explain` find what they should? On generated paintings, which know where their subject is.

*Place*: the rank correlation of where the subject stands from left to right (scene.focus) and the centre of the heat's columns, with its
interval over paintings and what shuffled paintings give. *Deletion*: how far the score moves when the fifth of the patches that counts most
is painted over with the picture's mean colour, beside another fifth drawn at random.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from scipy.stats import bootstrap, spearmanr

from artquant.core.schema import CRITIQUE_PARTS, SCORE
from artquant.engines.heat import heat_maps
from artquant.engines.recipe import TINY
from artquant.engines.torch_engine import TorchEngine
from artquant.model.checkpoint import Checkpoint
from artquant.paintings import paint
from artquant.paintings.exam import square
from artquant.paintings.latents import Latents
from artquant.paintings.seeds import HELD_OUT

FOCUS = {"centred": 0.5, "left": 0.3, "right": 0.7, "diagonal": 0.36}  # of the width, as paintings/scene.py
ASPECTS = {"square": 1.0, "landscape": 1.0, "portrait": 0.75}  # of the square that the picture takes up


def place(latents: Latents) -> float:
    """Return where the subject stands in the padded square, 0 at the left and 1 at the right."""
    return 0.5 + (FOCUS[latents.composition] - 0.5) * ASPECTS[latents.aspect]


def centre(heat: np.ndarray) -> float:
    columns = np.clip(heat, 0, None).sum(0)
    return float((columns * (np.arange(len(columns)) + 0.5)).sum() / max(columns.sum(), 1e-12) / len(columns))


def painted_over(pixels: np.ndarray, chosen: np.ndarray, side: int) -> np.ndarray:
    """Return pixels (S, S, 3) with the patches `chosen` (flat numbers of a side x side grid) in the mean colour."""
    made, step = pixels.copy(), len(pixels) // side
    mean = pixels.reshape(-1, 3).mean(0).astype(np.uint8)
    for number in chosen:
        row, column = divmod(int(number), side)
        made[row * step : (row + 1) * step, column * step : (column + 1) * step] = mean
    return made


def interval(statistic: Callable[..., float], *samples: np.ndarray) -> str:
    low, high = bootstrap(samples, statistic, paired=len(samples) > 1, vectorized=False, n_resamples=1000, rng=0).confidence_interval
    return f"{statistic(*samples):.3f} ({low:.3f} to {high:.3f})"


def mean(changes: np.ndarray) -> float:
    return float(np.mean(changes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default=str(TINY))
    parser.add_argument("--paintings", type=int, default=200)
    options = parser.parse_args()
    engine = TorchEngine.load(Checkpoint.open(options.checkpoint))
    values, rng = np.array(engine.scale.values), np.random.default_rng(0)
    seeds = HELD_OUT[5000 : 5000 + options.paintings]
    centres: dict[str, list[float]] = {f"{name}, {kind}": [] for name in (SCORE, *CRITIQUE_PARTS) for kind in ("attention", "gradient")}
    moved: dict[str, list[float]] = {"attention": [], "gradient": [], "random": []}
    for seed in seeds:
        painting, pixels = paint(seed), square(seed, engine.image_size)
        heats = heat_maps(engine, pixels, {part: getattr(painting, part) for part in CRITIQUE_PARTS})
        for name, heat in heats.items():
            centres[f"{name}, attention"].append(centre(heat.attention))
            centres[f"{name}, gradient"].append(centre(np.abs(heat.gradient)))
        own = heats[SCORE]
        side, fifth = len(own.gradient), round(0.2 * own.gradient.size)
        variants = {
            "attention": np.argsort(-own.attention.ravel())[:fifth],
            "gradient": np.argsort(-np.abs(own.gradient).ravel())[:fifth],
            "random": rng.permutation(own.gradient.size)[:fifth],
        }
        batch = np.stack([pixels, *(painted_over(pixels, chosen, side) for chosen in variants.values())])
        scores = engine.assess(batch).probabilities @ values
        for name, score in zip(variants, scores[1:], strict=True):
            moved[name].append(abs(score - scores[0]))
    places = np.array([place(paint(seed).latents) for seed in seeds])

    def correlation(a: np.ndarray, b: np.ndarray) -> float:
        return float(spearmanr(a, b).statistic)

    print(f"{options.checkpoint.rsplit('/', 1)[-1]}, {len(seeds)} paintings that it has never seen")
    for name, found in centres.items():
        chance = np.quantile([correlation(rng.permutation(places), np.array(found)) for _ in range(500)], 0.975)
        print(f"  place  {name:<22} {interval(correlation, places, np.array(found))}; shuffled, at most {chance:.3f}")
    drawn = np.array(moved.pop("random"))
    print(f"  score moved by painting over a fifth at random {interval(mean, drawn)}")
    for name, changes in moved.items():
        print(f"  ... by the fifth with most {name}: further by {interval(mean, np.array(changes) - drawn)}")


if __name__ == "__main__":
    main()
