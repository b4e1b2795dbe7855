"""The real S3 server of the test session, on loopback."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from artquant.embedded_store import BUCKET, EmbeddedStore
from artquant.storage import Store, open_store


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStore]:
    """A running server, and the environment of this process set so that every client finds it."""
    with EmbeddedStore(tmp_path_factory.mktemp("s3")) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
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
