"""Measure which pictures a checkpoint learnt from, and how often that tells foreign ones: `python -m bench.domain`.

Fits the distance on the paintings that the shipped weights learnt from, takes the limit from others, and writes it beside the weights; then
says how many of the sample and of the foreign pictures lie beyond it.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from artquant.core.home import home
from artquant.engines.domain import Domain, features_of
from artquant.engines.recipe import TINY
from artquant.engines.torch_engine import TorchEngine
from artquant.images import square as images
from artquant.model.checkpoint import Checkpoint
from artquant.model.location import DOMAIN
from artquant.model.vision import normalise
from artquant.paintings.exam import squares
from artquant.paintings.seeds import HELD_OUT, SAMPLE, TRAINING

NUM_SEEN, NUM_UNSEEN, NUM_SAMPLE = 6_000, 1_000, 60
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def features(engine: TorchEngine, pixels: np.ndarray, layer: int) -> np.ndarray:
    """(N, S, S, 3) uint8 -> (N, F) float64."""
    vision, found = engine.model.model.vision_model, []
    with torch.inference_mode():
        for start in range(0, len(pixels), 64):
            hidden = vision.embeddings(normalise(torch.from_numpy(np.array(pixels[start : start + 64]))))
            for block in vision.encoder.layers[: layer + 1]:
                hidden = block(hidden)
            found.append(features_of(hidden))
    return np.concatenate(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default=str(TINY))
    parser.add_argument("--layer", type=int, default=3, help="the vision layer behind which the features are taken")
    parser.add_argument("--foreign", type=Path, default=Path("../shared/images"), help="a folder of pictures of another kind")
    options = parser.parse_args()
    engine = TorchEngine.load(Checkpoint.open(options.checkpoint))
    size, cache = engine.image_size, home() / "domain"
    seen, unseen, sample = (
        features(engine, squares(seeds, size, cache / f"{name}-{len(seeds)}-{size}.npy"), options.layer)
        for name, seeds in (("seen", TRAINING[:NUM_SEEN]), ("unseen", HELD_OUT[:NUM_UNSEEN]), ("sample", SAMPLE[:NUM_SAMPLE]))
    )
    domain = Domain.fit(options.layer, seen, unseen)
    path = Path(options.checkpoint) / DOMAIN
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(domain.to_bytes())
    print(f"{path}: {path.stat().st_size:,} bytes, from {len(seen):,} paintings; the limit from {len(unseen):,} others")
    foreign = [path for path in sorted(options.foreign.iterdir()) if path.suffix.lower() in SUFFIXES]
    others = features(engine, np.stack([images.load(path.read_bytes(), size).pixels for path in foreign]), options.layer)
    for name, found in (("sample", sample), ("foreign", others)):
        distances = domain.distance(found)
        print(f"{name}: {np.count_nonzero(distances > 1)} of {len(distances)} beyond the limit, median {np.median(distances):.2f}")


if __name__ == "__main__":
    main()
