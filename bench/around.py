"""What the score job costs round its engine: the whole job's artworks per second, scores and critiques, against those of the engine alone.

    python -m bench.around --engines torch vllm

Generated paintings as JPEGs of 512 px in a local folder, artquant-tiny on the CPU; fetch, decode, Ray and Parquet share the engine's cores.
"""

import argparse
import tempfile
from itertools import cycle, islice
from pathlib import Path

from artquant.cli.local_ray import running_ray
from artquant.config import EngineSpec, ResolvedScoreSpec
from artquant.engines.recipe import TINY, make_recipe, open_checkpoint
from artquant.paintings import jpeg, paint
from artquant.paintings.seeds import HELD_OUT
from artquant.storage.store import open_store
from bench import vllm


def fill(folder: str, num_different: int, num: int) -> None:
    store = open_store(f"file:{folder}")
    pictures = [jpeg(paint(seed), 512) for seed in HELD_OUT[:num_different]]
    for number, data in enumerate(islice(cycle(pictures), num)):
        store.put(f"{number:05d}.jpg", data)


def job_rate(engine: str, folder: str, output: str) -> float:
    """Artworks a second between the first batch and the last; the start of Ray and of the engine is not in it."""
    from artquant.pipelines.score import claimed_night, run_score
    from artquant.results.nights import Work

    spec = ResolvedScoreSpec(input=f"file:{folder}", output=f"file:{output}", engine=EngineSpec.model_validate({"name": engine}))
    recipe = make_recipe(open_checkpoint(None), spec.engine, spec.fetch.full_decode)
    with claimed_night(spec, recipe.identity) as work, running_ray():
        assert isinstance(work, Work)
        return run_score(spec, recipe, work).images_per_second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engines", nargs="+", default=["torch", "vllm"], choices=("torch", "vllm"))
    parser.add_argument("--images", type=int, default=1024)
    options = parser.parse_args()
    alone = argparse.Namespace(dtype="float32", checkpoint=str(TINY), paintings=256)
    with tempfile.TemporaryDirectory() as folder:
        fill(f"{folder}/art", 128, options.images)
        for engine in options.engines:
            rate = vllm.measure(engine, alone)["both"]["rate"]
            job = job_rate(engine, f"{folder}/art", str(Path(folder) / engine))
            print(f"{engine:6} alone {rate:6.1f} a second, in the job {job:6.1f}: {job / rate:.0%}", flush=True)


if __name__ == "__main__":
    main()
