"""Writes what artquant-tiny has seen, `seen/artworks.safetensors` beside its weights: the paintings of its recipe that taught or chose it.

They were trained before models kept this themselves. The paintings are made anew, which takes an hour on two cores.
"""

import hashlib
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import artquant.cli
from artquant.annotations.copies import Signature, signature
from artquant.annotations.seen import Seen
from artquant.annotations.split import split_of
from artquant.config import TrainSpec, load_spec
from artquant.core.identity import SEEN
from artquant.engines.recipe import TINY
from artquant.paintings.exam import picture
from artquant.paintings.seeds import ANNOTATED


def look(seed: int) -> tuple[str, Signature]:
    data = picture(seed)
    return hashlib.md5(data, usedforsecurity=False).hexdigest(), signature(data)


def main() -> None:
    spec = load_spec(TrainSpec, Path(artquant.cli.__file__).with_name("recipes") / "tiny.yaml", [])
    given = spec.annotations
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        looks = dict(pool.map(look, ANNOTATED[: spec.sample_size], chunksize=32))
    fractions = given.validation_fraction, given.test_fraction
    seen = {content: one for content, one in looks.items() if split_of(content, given.split_seed, *fractions) != "test"}
    path = TINY / SEEN
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(Seen.of(seen, seen.values()).to_bytes())
    print(f"{path}: {len(seen):,} of {len(looks):,} paintings")


if __name__ == "__main__":
    main()
