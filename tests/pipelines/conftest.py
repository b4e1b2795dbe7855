"""One local Ray for all pipeline tests. Its workers inherit the environment of the S3 server, and find the tests' engines."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from artquant.cli.local_ray import stop_ray
from artquant.storage.embedded import EmbeddedStore
from artquant.storage.store import Store, open_store
from tests.checkpoints import save_random_checkpoint
from tests.picture_files import make_picture_files
from tests.pipelines.engines import REDS, red_picture
from tests.pipelines.here import ScorerHere
from tests.pipelines.runs import Run, Scorer, spec_for
from tests.processes import ROOT

NUM_GPUS = 2


@pytest.fixture(scope="session")
def local_ray(s3_server: EmbeddedStore) -> Iterator[None]:
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)  # a failed test would show thousands of its lines
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT), prepend=":")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.delenv("RAY_ADDRESS", raising=False)
        # Logical GPUs: the scheduler hands them out, and no device is behind them.
        ray.init(address="local", num_cpus=4, num_gpus=NUM_GPUS, include_dashboard=False, log_to_driver=False)
        context = ray.get_runtime_context()
        try:
            yield
        finally:
            stop_ray(Path(context.get_temp_dir()) / context.get_session_name())


@pytest.fixture(scope="session")
def scorer(local_ray: None) -> Scorer:
    """Runs the job; Ray is up."""
    return Scorer()


@pytest.fixture(scope="session")
def scorer_here() -> Scorer:
    """Runs the job in this process: see `here`."""
    return ScorerHere()


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of eight artworks, so that a small collection is many blocks, for all workers and many parts."""
    monkeypatch.setattr("artquant.results.plan.SMALL_SHARD", 8)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random model that writes critiques of eight tokens."""
    return save_random_checkpoint(tmp_path_factory.mktemp("model") / "random", max_critique_tokens=8)


@pytest.fixture(scope="session")
def pictures(s3_store: Store) -> Store:
    """A folder of the bucket with every file of `make_picture_files`."""
    folder = s3_store.child(f"pictures-{secrets.token_hex(6)}")
    for name, (data, _) in make_picture_files().items():
        folder.put(name, data)
    return folder


@pytest.fixture(scope="session")
def published(scorer: Scorer, checkpoint: Path, pictures: Store, s3_store: Store) -> Run:
    """One night over all of them, from S3 to S3, with critiques, by one engine."""
    output = s3_store.child(f"results-{secrets.token_hex(6)}")
    return scorer.score(spec_for(pictures, output, model=checkpoint, engine={"critique": True, "batch_size": 32}))


@pytest.fixture
def source(tmp_path: Path) -> Store:
    """A folder with a picture for each of REDS."""
    store = open_store(f"file:{tmp_path}/collection")
    for name, red in REDS.items():
        store.put(name, red_picture(red))
    return store


@pytest.fixture
def output(tmp_path: Path) -> Store:
    return open_store(f"file:{tmp_path}/results")
