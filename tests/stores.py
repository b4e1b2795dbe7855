"""Stores as tests enter and read them."""

from __future__ import annotations

import pytest

from artquant.storage.embedded import BUCKET, EmbeddedStore
from artquant.storage.store import Store, open_store


def enter(server: EmbeddedStore, monkeypatch: pytest.MonkeyPatch, folder: str = "") -> Store:
    """A folder of the server's bucket; from now on every client of this process finds this server."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return open_store(f"s3://{BUCKET}/{folder}")


def contents(store: Store) -> dict[str, bytes]:
    return {info.key: store.get(info.key) for info in store.list()}
