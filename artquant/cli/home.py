"""Where a job runs when nothing is configured: a local Ray, an embedded S3 server and the sample collection, all in one ignored folder."""

import logging
import os
import shlex
import shutil
import socket
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from artquant.cli.ends import heed_signals_again
from artquant.config import ScoreSpec
from artquant.embedded_store import BUCKET, EmbeddedStore
from artquant.errors import RunFailed, UserError
from artquant.storage import Store, open_store

HOME = Path(os.environ.get("ARTQUANT_HOME", ".artquant"))
SAMPLE_SIZE = 60
SAMPLE_VERSION = b"2"
_OURS = "artquant-job"  # a file in Ray's session folder: the process that started it
_KEPT_SESSIONS = 3


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
    """Ray for the block: the cluster of RAY_ADDRESS, else a local one that ends with the block. Raises UserError and RunFailed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray

    import artquant.pipelines.score  # noqa: F401  # and with it Ray Data, whose logger is quietened too

    quieten_ray()
    address = os.environ.get("RAY_ADDRESS")
    if address:
        check_answers(address)
        try:
            with held_stderr(shown=False):
                ray.init(log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UserError(f"RAY_ADDRESS={address} cannot be reached, or does not let us in: {first_line(error)}") from error
    else:
        say("Starting a local Ray")
        start_local_ray()
    heed_signals_again()
    context = ray.get_runtime_context()
    session = Path(context.get_temp_dir()) / context.get_session_name()
    try:
        yield
    except BaseException:
        if not address:
            ray.shutdown()
            forget_sessions(session.parent)
        raise
    finally:
        ray.shutdown()
    if not address:
        shutil.rmtree(session, ignore_errors=True)


def check_answers(address: str) -> None:
    """Raises UserError where nobody answers at host:port, in seconds; Ray itself tries for a minute."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return  # auto, local and their like: Ray's own to resolve
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except OSError as error:
        raise UserError(
            f"RAY_ADDRESS={address} cannot be reached ({error.strerror or error}): correct it, or unset it to run on this machine."
        ) from error


def start_local_ray() -> None:
    """Tries twice: on a busy machine Ray's own time for its start is short. Raises RunFailed."""
    import ray

    # Two more CPUs than there are, for the scheduler's books: our workers set aside halves and quarters, Ray's own tasks whole ones.
    options: dict[str, Any] = {"num_cpus": (os.cpu_count() or 1) + 2, "include_dashboard": False, "log_to_driver": False}
    for is_last in (False, True):
        try:
            with held_stderr(shown=False):
                ray.init(address="local", logging_level=logging.ERROR, **options)
            context = ray.get_runtime_context()
            (Path(context.get_temp_dir()) / context.get_session_name() / _OURS).write_text(str(os.getpid()))
            return
        except Exception as error:  # Ray raises Exception itself when a process of its own does not come up
            ray.shutdown()
            if is_last:
                raise RunFailed(
                    f"Ray did not start, twice: {first_line(error)} Look at its logs in /tmp/ray/session_latest/logs; "
                    "a machine that is busy or short of memory or disk is the usual cause."
                ) from error
            say(f"Ray did not start ({first_line(error)}), trying once more")


def first_line(error: Exception) -> str:
    """The first sentence of an error's text."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text.partition(". ")[0].rstrip(".")[:300] + "."


def forget_sessions(folder: Path) -> None:
    """Removes what Ray left of our older jobs that failed, but the last few: their logs are what a person looks at."""
    ours = sorted(path.parent for path in folder.glob(f"session_*/{_OURS}") if not path.parent.is_symlink())
    for session in ours[:-_KEPT_SESSIONS]:
        if not os.path.exists(f"/proc/{(session / _OURS).read_text()}"):
            shutil.rmtree(session, ignore_errors=True)


def quieten_ray() -> None:
    """Keeps Ray's own remarks off the terminal: what goes wrong ends in a sentence of ours, the details are in Ray's session folder."""
    warnings.filterwarnings("ignore", module="ray")
    warnings.filterwarnings("ignore", message="`ray_remote_args")  # of max_concurrency, which has no other place yet
    logging.getLogger("ray").setLevel(logging.ERROR)
    for handler in logging.getLogger("ray.data").handlers:  # the other handlers write the session folder's ray-data.log
        if handler.name == "console":
            handler.setLevel(logging.CRITICAL)


@contextmanager
def held_stderr(shown: bool = True) -> Iterator[None]:
    """What native code writes on stderr in the block is shown only if the block fails, and `shown`: Ray's says even that it was told to be
    quiet."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read() if shown else b"")
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
