"""What the pipeline does when the engine costs nothing, beside plain `read_images`, in one run.

5,000 JPEGs of 48 KB from the embedded store; then JPEGs of 12 megapixels, and how far reduced-size decoding moves a score.
"""

import argparse
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image

from artquant.core.identity import Identity
from artquant.core.scale import Scale
from artquant.engines import Assessment
from artquant.results.nights import Work
from artquant.storage.store import Store, open_store

IMAGE_SIZE = 448
SOURCE_SIZE = 384


class NullEngine:
    """Answers at once, and the same for every image."""

    scale = Scale()
    image_size = IMAGE_SIZE

    def assess(self, pixels: np.ndarray, critique: bool = False) -> Assessment:
        num = len(pixels)
        return Assessment(np.full((num, 5), 0.2), np.ones(num), [None] * num, ["not_requested"] * num)


class Count:
    """A worker that only counts what reaches it."""

    def __init__(self, counter: Any):
        self.counter = counter

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.counter.add.remote("read_images", len(batch["image"]), 0.0)
        return {"num": np.array([len(batch["image"])])}


def textured(width: int, height: int, seed: int) -> Image.Image:
    """Make a picture with detail at all scales, as paintings and photographs have."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3), np.float32)
    for cells in (4, 16, 64, 192):
        noise = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        total += np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC), np.float32) / cells**0.35
    total -= total.min()
    return Image.fromarray((total * (255 / total.max())).astype(np.uint8))


def jpeg_of(image: Image.Image, num_bytes: int) -> bytes:
    """Make a JPEG of about `num_bytes`, by bisection of the quality."""
    low, high, data = 5, 97, b""
    while low < high:
        quality = (low + high + 1) // 2
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        data = buffer.getvalue()
        low, high = (quality, high) if len(data) <= num_bytes else (low, quality - 1)
    return data


def fill(store: Store, datas: list[bytes], num: int) -> float:
    """Put `num` objects into the store and return their mean size in bytes."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda item: store.put(f"{item[0]:05d}.jpg", item[1]), enumerate(islice(cycle(datas), num))))
    return sum(len(data) for data in islice(cycle(datas), num)) / num


def steady(count: Any) -> float:
    """Return rows per second between the first and the last batch."""
    return float(count.num_rows / (count.last_at - count.first_at))


def our_rate(source: Store, output: Store, num_fetch: int | None, image_size: int) -> tuple[float, float]:
    """Return (steady images per second, seconds in all) of the score pipeline with the null engine; `num_fetch` is `fetch.num_workers`."""
    from artquant.config import EngineSpec, FetchSpec, ResolvedScoreSpec
    from artquant.engines.open import resolve
    from artquant.engines.recipe import EngineRecipe
    from artquant.pipelines.score import claimed_night, run_score

    spec = ResolvedScoreSpec(
        input=source.uri,
        output=output.uri,
        engine=EngineSpec(critique=False, batch_size=32, num_cpus=0.25),
        fetch=FetchSpec(num_workers=num_fetch),
    )
    identity = Identity("null", "none", "none", "none", "none")
    recipe = EngineRecipe(NullEngine, identity, image_size, NullEngine.scale.values, "null", resolve(spec.engine))
    started = time.perf_counter()
    with claimed_night(spec, identity) as work:
        assert isinstance(work, Work)
        report = run_score(spec, recipe, work)
    return report.images_per_second, time.perf_counter() - started


def read_images_rate(source: Store, **options: Any) -> tuple[float, float]:
    """Measure the same for `ray.data.read_images` with a counting worker behind it."""

    import pyarrow.fs
    import ray

    from artquant.progress.stages import ProgressCounter

    endpoint = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")
    keys = {"access_key": os.environ["AWS_ACCESS_KEY_ID"], "secret_key": os.environ["AWS_SECRET_ACCESS_KEY"]}
    filesystem = pyarrow.fs.S3FileSystem(endpoint_override=endpoint, scheme="http", region="us-east-1", **keys)
    counter: Any = ray.remote(num_cpus=0)(ProgressCounter).remote()
    started = time.perf_counter()
    dataset = ray.data.read_images(source.uri, filesystem=filesystem, mode="RGB", **options)
    dataset = dataset.map_batches(
        Count, fn_constructor_args=(counter,), batch_size=32, compute=ray.data.ActorPoolStrategy(size=1), num_cpus=0.25
    )
    total = sum(int(row["num"]) for row in dataset.take_all())
    took = time.perf_counter() - started
    count = ray.get(counter.snapshot.remote())["read_images"]
    assert count.num_rows == total
    return steady(count), took


class Silent:
    """Stands for the progress counter where there is no Ray."""

    def remote(self, *arguments: Any) -> None:
        pass

    @property
    def add(self) -> "Silent":
        return self

    note = opens = doing = refuse = take_notes = snapshot = add


def fetch_alone(source: Store, output: Store, plan_key: str, shards: list[int]) -> tuple[int, float]:
    """Return (images, seconds) of one process that runs the fetch stage and discards its output."""
    from artquant.config import FetchSpec
    from artquant.pipelines.stages import FetchSettings, FetchStage

    stage = FetchStage(
        FetchSettings(
            input=source.uri,
            output=output.uri,
            plan_key=plan_key,
            shards=tuple(shards),
            image_size=IMAGE_SIZE,
            block_rows=96,
            fetch=FetchSpec(),
            stall_seconds=900.0,
            counter=Silent(),
        )
    )
    next(stage({"id": np.array([0])}))  # connections are open, code is loaded
    started = time.perf_counter()
    num = sum(len(block["pixels"]) for block in stage({"id": np.arange(len(shards))}))
    return num, time.perf_counter() - started


def ceiling_rate(source: Store, output: Store) -> float:
    """Images a second that two processes fetch and decode with no Ray around them."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    from artquant.results.catalog import Source, read_catalog
    from artquant.results.ledger import Night
    from artquant.results.plan import draft_plan, store_plan

    night = Night(Identity("null", "none", "none", "none", "none"), {}, frozenset())
    with tempfile.TemporaryDirectory() as folder, read_catalog(Source("input", source.uri)) as catalog:
        draft = draft_plan(catalog, output, None, night, Path(folder))
        store_plan(output, "ceiling.parquet", draft)
    plan = draft.summary
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        parts = [pool.submit(fetch_alone, source, output, "ceiling.parquet", list(range(i, plan.num_shards, 2))) for i in range(2)]
        return sum(num / seconds for num, seconds in (part.result() for part in parts))


def decode_rates(pictures: list[bytes]) -> Iterator[tuple[str, float]]:
    """Return (how, milliseconds per picture) on one core."""
    import torch

    from artquant.images import square as images

    torch.set_num_threads(1)
    for name, fast in (("reduced", True), ("full, as published", False)):
        started = time.perf_counter()
        for data in pictures:
            images.load(data, IMAGE_SIZE, fast=fast)
        yield name, (time.perf_counter() - started) / len(pictures) * 1000


def enlarged(pixels: np.ndarray, long_side: int) -> bytes:
    picture = Image.fromarray(pixels)
    factor = long_side / max(picture.size)
    buffer = io.BytesIO()
    picture.resize((round(picture.width * factor), round(picture.height * factor)), Image.Resampling.BICUBIC).save(
        buffer, "JPEG", quality=92
    )
    return buffer.getvalue()


def score_drift(num: int, long_side: int) -> np.ndarray:
    """Return |score of the reduced decode - score of the full one| of `num` large generated paintings under artquant-tiny."""
    from artquant.engines.recipe import TINY
    from artquant.engines.torch_engine import TorchEngine
    from artquant.images import square as images
    from artquant.model.checkpoint import Checkpoint
    from artquant.paintings import paint, render
    from artquant.paintings.seeds import HELD_OUT

    engine = TorchEngine.load(Checkpoint.open(str(TINY)))
    datas = [enlarged(render(paint(seed), 1000), long_side) for seed in HELD_OUT[:num]]
    scores = []
    for fast in (True, False):
        squares = np.stack([images.load(data, engine.image_size, fast=fast).pixels for data in datas])
        scores.append(engine.assess(squares).probabilities @ np.asarray(engine.scale.values))
    return cast(np.ndarray, np.abs(scores[0] - scores[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()

    from artquant.cli.local_ray import running_ray
    from artquant.storage.embedded import BUCKET, EmbeddedStore

    with tempfile.TemporaryDirectory() as folder, EmbeddedStore(folder) as server:
        os.environ.update(server.environment)
        bucket = open_store(f"s3://{BUCKET}")
        small = bucket.child("small")
        mean = fill(small, [jpeg_of(textured(SOURCE_SIZE, SOURCE_SIZE, seed), 48_000) for seed in range(100)], options.images)
        print(f"{options.images} JPEGs of {SOURCE_SIZE} x {SOURCE_SIZE}, {mean / 1000:.1f} kB on average, to {IMAGE_SIZE} px; null engine")
        os.sync()  # so that nobody's time goes into writing them to disk
        results = bucket.child("results")
        sides: dict[str, Callable[[], tuple[float, float]]] = {
            "pipeline": lambda: our_rate(small, results, None, IMAGE_SIZE),
            "read_images": lambda: read_images_rate(small),
            "pipeline, no resize": lambda: our_rate(small, results, None, SOURCE_SIZE),
            "read_images, resized": lambda: read_images_rate(small, size=(IMAGE_SIZE, IMAGE_SIZE)),
            "pipeline, fetch apart": lambda: our_rate(small, results, 2, IMAGE_SIZE),
        }
        rates: dict[str, list[float]] = {name: [] for name in ("without Ray", *sides)}
        for _ in range(options.rounds):
            rates["without Ray"].append(ceiling_rate(small, results))
            print(f"  {'without Ray':<24}{rates['without Ray'][-1]:6.0f} images/s, two processes that only fetch and decode")
            for name, measure in sides.items():
                with running_ray():
                    rate, seconds = measure()
                rates[name].append(rate)
                print(f"  {name:<24}{rate:6.0f} images/s steady, {seconds:6.1f} s in all", flush=True)
        middle = {name: statistics.median(measured) for name, measured in rates.items()}
        for name, measured in rates.items():
            print(f"  {name:<24}{middle[name]:6.0f} images/s, median of {len(measured)} ({min(measured):.0f} to {max(measured):.0f})")
        ours, theirs = middle["pipeline"], middle["read_images"]
        print(f"  pipeline {ours:.0f} images/s (goal 800), {ours / theirs:.1f} x read_images, which does not resize (goal 3)")
        print(
            f"  the same work: {middle['pipeline, no resize'] / theirs:.1f} x where neither resizes, "
            f"{ours / middle['read_images, resized']:.1f} x where both do"
        )
        large = [jpeg_of(textured(4000, 3000, seed), 4_000_000) for seed in range(3)]
        print(f"JPEGs of 12 megapixels, {sum(map(len, large)) / len(large) / 1e6:.1f} MB, one core")
        for name, milliseconds in decode_rates(large):
            print(f"  {name:<20}{milliseconds:8.1f} ms a picture")
        drift = score_drift(16, 4000)
        print(f"  score drift under reduced decoding, artquant-tiny: mean {drift.mean():.4f}, largest {drift.max():.4f} of a 1..10 scale")


if __name__ == "__main__":
    main()
