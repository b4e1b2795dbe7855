"""Make a checkpoint's golden set from generated paintings that it has not seen, in float32 on the CPU: `python -m bench.golden`."""

import argparse
from pathlib import Path

import numpy as np

from artquant.engines.golden import MAX_PICTURES, GoldenSet
from artquant.engines.recipe import TINY
from artquant.engines.torch_engine import TorchEngine
from artquant.model.checkpoint import Checkpoint
from artquant.model.location import GOLDEN
from artquant.paintings.exam import square
from artquant.paintings.seeds import HELD_OUT


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default=str(TINY))
    options = parser.parse_args()
    engine = TorchEngine.load(Checkpoint.open(options.checkpoint))  # by itself: a set that is to be replaced is not asked
    images = np.stack([square(seed, engine.image_size) for seed in HELD_OUT[:MAX_PICTURES]])
    golden = GoldenSet.of(images, engine.assess(images).probabilities, "float32")
    path = Path(options.checkpoint) / GOLDEN
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(golden.to_bytes())
    print(f"{path}: {len(images)} paintings of {engine.image_size} pixels, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
