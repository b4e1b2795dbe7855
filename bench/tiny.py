"""How well artquant-tiny judges generated paintings that it has never seen: scores against raters, critiques against latents."""

import argparse
import time
from pathlib import Path

from artquant.engines.recipe import TINY
from artquant.engines.torch_engine import TorchEngine
from artquant.model.checkpoint import Checkpoint
from artquant.paintings import paint
from artquant.paintings.exam import squares
from artquant.paintings.seeds import HELD_OUT
from bench.exam import judge


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default=str(TINY))
    parser.add_argument("--paintings", type=int, default=500)
    parser.add_argument("--cache", type=Path, default=Path(".artquant/rendered"))
    options = parser.parse_args()
    engine = TorchEngine.load(Checkpoint.open(options.checkpoint))
    seeds = HELD_OUT[: options.paintings]
    pixels = squares(seeds, engine.image_size, options.cache / f"judged-{len(seeds)}-{engine.image_size}.npy")
    started = time.perf_counter()
    verdict = judge(engine, pixels, [paint(seed) for seed in seeds], num_critiques=len(seeds))
    seconds = time.perf_counter() - started
    print(f"{Path(options.checkpoint).name} on {len(seeds)} unseen paintings, scores and critiques in {seconds:.0f} s")
    print(f"  SRCC {verdict.srcc:.3f} (goal 0.90)  PLCC {verdict.plcc:.3f} (goal 0.90)  attributes {verdict.attributes:.3f} (goal 0.85)")
    print("  " + "  ".join(f"{name} {share:.2f}" for name, share in verdict.by_attribute.items()))


if __name__ == "__main__":
    main()
