"""Where a job runs when nothing is configured: a local Ray, an embedded S3 server and the sample collection, all in one ignored folder."""

import logging
import os
import shlex
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from artquant.config import ScoreSpec
from artquant.embedded_store import BUCKET, EmbeddedStore
from artquant.errors import UserError
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
        yield with_places(spec, spec.input, spec.output), None
        return
    refuse_other_stores({name: getattr(spec, name) for name in ("input", "output", "model", "base")}, "input and output")
    for uri in (spec.input, spec.output):
        if uri and not uri.startswith("s3://"):
            open_store(uri)  # an address of another kind is refused before anything is started
    with embedded_bucket() as (bucket, reopen):
        if not spec.input:
            fill_sample(bucket)
        yield with_places(spec, spec.input or bucket.uri_of("sample"), spec.output or bucket.uri_of("results")), reopen


def refuse_other_stores(addresses: Mapping[str, str | None], needed: str) -> None:
    """Raises UserError where an address lies in another S3 store than the embedded one, which is about to be started."""
    for name, uri in addresses.items():
        if uri and uri.startswith("s3://") and not f"{uri}/".startswith(f"s3://{BUCKET}/"):
            raise UserError(f"{name}={uri} lies in another store than the embedded one: give {needed}, so that none is started.")


@contextmanager
def embedded_bucket() -> Iterator[tuple[Store, str]]:
    """The bucket of an S3 server that runs for the block, the environment set to find it; and the command that starts it again."""
    with EmbeddedStore(HOME / "store") as server:
        os.environ.update(server.environment)
        for name in ("AWS_ENDPOINT_URL_S3", "AWS_SESSION_TOKEN", "AWS_PROFILE"):  # they would be for another store
            os.environ.pop(name, None)
        say(f"Started an S3 store on 127.0.0.1:{server.port}, data in {HOME}/store")
        yield open_store(f"s3://{BUCKET}"), f"{shlex.quote(sys.executable)} -m artquant.embedded_store {shlex.quote(str(HOME / 'store'))}"


def with_places(spec: ScoreSpec, source: str, output: str) -> ScoreSpec:
    """Both as whole addresses: a worker may stand in another folder."""
    return spec.model_copy(update={"input": open_store(source).uri, "output": open_store(output).uri})


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
    import ray

    import artquant.pipelines.score  # noqa: F401  # and with it Ray Data, whose logger is quietened too

    quieten_ray()
    if os.environ.get("RAY_ADDRESS"):
        with held_stderr():
            ray.init(log_to_driver=False, logging_level=logging.ERROR)
    else:
        say("Starting a local Ray")
        cores = os.cpu_count() or 1
        # Two more CPUs than there are, for the scheduler's books: our workers set aside halves and quarters, Ray's own tasks whole ones.
        with held_stderr():
            ray.init(address="local", num_cpus=cores + 2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def quieten_ray() -> None:
    """Keeps Ray's own remarks off the terminal: what goes wrong ends in a sentence of ours, the details are in Ray's session folder."""
    warnings.filterwarnings("ignore", module="ray")
    warnings.filterwarnings("ignore", message="`ray_remote_args")  # said of the line that calls Ray Data
    logging.getLogger("ray").setLevel(logging.ERROR)
    for handler in logging.getLogger("ray.data").handlers:  # the other handlers write the session folder's ray-data.log
        if handler.name == "console":
            handler.setLevel(logging.CRITICAL)


@contextmanager
def held_stderr() -> Iterator[None]:
    """What native code writes on stderr in the block is shown only if the block fails: Ray's says even that it was told to be quiet."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
