"""Where a job runs when nothing is configured: a local Ray, an embedded S3 server and the sample collection, all in one ignored folder."""

import logging
import os
import shlex
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from artquant.config import ScoreSpec
from artquant.embedded_store import BUCKET, EmbeddedStore
from artquant.storage import Store, open_store

HOME = Path(os.environ.get("ARTQUANT_HOME", ".artquant"))
SAMPLE_SIZE = 60
SAMPLE_VERSION = b"2"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def stores(spec: ScoreSpec) -> Iterator[tuple[ScoreSpec, str | None]]:
    """The spec with an input and an output, and the command that opens the store again where it is ours."""
    if spec.input and spec.output:
        yield spec, None
        return
    with EmbeddedStore(HOME / "store") as server:
        os.environ.update(server.environment)
        os.environ.pop("AWS_ENDPOINT_URL_S3", None)
        say(f"Started an S3 store on 127.0.0.1:{server.port}, data in {HOME}/store")
        bucket = open_store(f"s3://{BUCKET}")
        if not spec.input:
            fill_sample(bucket)
        places = {"input": spec.input or bucket.uri_of("sample"), "output": spec.output or bucket.uri_of("results")}
        yield spec.model_copy(update=places), f"{shlex.quote(sys.executable)} -m artquant.embedded_store {shlex.quote(str(HOME / 'store'))}"


def fill_sample(bucket: Store) -> None:
    """Paints the sample collection below `sample/`, once: paintings by subject, and three damaged files as every collection has them."""
    version = "sample-version"
    if bucket.exists(version) and bucket.get(version) == SAMPLE_VERSION:
        return
    from concurrent.futures import ThreadPoolExecutor

    from artquant.paintings import jpeg, paint
    from artquant.paintings.seeds import SAMPLE

    started = time.monotonic()
    say(f"Painting the sample collection: {SAMPLE_SIZE} pictures and three damaged files")
    sample = bucket.child("sample")

    def put(seed: int) -> bytes:
        painting = paint(seed)
        data = jpeg(painting, long_side=640, quality=90)
        sample.put(f"{painting.latents.subject}/{seed:05d}.jpg", data)
        return data

    with ThreadPoolExecutor(2) as pool:
        pictures = list(pool.map(put, SAMPLE[:SAMPLE_SIZE]))
    sample.put("damaged/empty.jpg", b"")
    sample.put("damaged/half-a-painting.jpg", pictures[0][: len(pictures[0]) // 2])
    sample.put("damaged/page-not-found.jpg", b"<!doctype html><title>404</title><h1>Not found</h1>")
    bucket.put(version, SAMPLE_VERSION)
    say(f"Painted in {time.monotonic() - started:.0f} s")


@contextmanager
def running_ray() -> Iterator[None]:
    """Ray for the block: the cluster of RAY_ADDRESS, else a local one that ends with the block."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    warnings.filterwarnings("ignore", module="ray")
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    else:
        say("Starting a local Ray")
        cores = os.cpu_count() or 1
        # Two more CPUs than there are, for the scheduler's books: our workers set aside halves and quarters, Ray's own tasks whole ones.
        ray.init(address="local", num_cpus=cores + 2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()
