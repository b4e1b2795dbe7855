"""The real S3 server of the test session, on loopback, and what tests of several rooms need."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from artquant.storage.embedded import BUCKET, EmbeddedStore
from artquant.storage.store import Store, open_store
from tests.azurite import AZURITE, CONTAINER, azurite
from tests.stores import enter


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStore]:
    """A running server, and the environment of this process set so that every client finds it."""
    with EmbeddedStore(tmp_path_factory.mktemp("s3")) as server, pytest.MonkeyPatch.context() as patch:
        enter(server, patch)
        for name in ("AWS_ENDPOINT_URL_S3", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
            patch.delenv(name, raising=False)
        yield server


@pytest.fixture(scope="session")
def s3_store(s3_server: EmbeddedStore) -> Store:
    """The whole bucket of the session, shared: take `s3_folder` for a place of your own."""
    return open_store(f"s3://{BUCKET}")


@pytest.fixture
def s3_folder(s3_store: Store) -> Store:
    """A folder of the bucket that no other test knows."""
    return s3_store.child(f"test-{secrets.token_hex(6)}")


@pytest.fixture(scope="session")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """The whole container of the session's emulator of Azure."""
    with azurite(tmp_path_factory.mktemp("azure")) as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield open_store(f"az://{CONTAINER}")


@pytest.fixture
def azure_folder(azure: Store) -> Store:
    return azure.child(f"test-{secrets.token_hex(6)}")


@pytest.fixture(params=["s3", "file", *(["azure"] if AZURITE else [])])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """The same tests on all homes."""
    return open_store(f"file://{tmp_path}/root") if request.param == "file" else request.getfixturevalue(f"{request.param}_folder")


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """For small networks: their products only wait for each other on more."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


SLOW_ROOMS = ("cli", "engines", "model", "pipelines", "storage", "training")
WHOLE_JOBS = ("test_stop.py", "test_lab.py", "test_cluster.py")  # beside those of the command line


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by where they are and what they use, so that none is forgotten: what needs a server, Ray, vLLM or a browser, and what runs
    whole jobs, which take all cores: `make test` runs those one by one, and the others in two processes."""
    for item in items:
        room, name = item.path.parent.name, item.path.name
        uses, values = set(item.fixturenames), getattr(getattr(item, "callspec", None), "params", {}).values()
        if name == "test_browser.py":
            item.add_marker("browser")
        if "vllm" in name:
            item.add_marker("vllm")
        if room in SLOW_ROOMS or "s3" in values or {"s3_server", "local_ray"} & uses:
            item.add_marker("slow")
        if "local_ray" in uses or room == "cli" or "vllm" in name or name in WHOLE_JOBS:
            item.add_marker("job")
