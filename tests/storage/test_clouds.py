"""What holds of other clouds whoever answers; their own servers are asked by `make azure-tests`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from artquant.core.errors import UserError
from artquant.results.listing import list_artworks
from artquant.storage.clouds import Cloud
from artquant.storage.store import Store

KEYS = [f"{folder}/{number:05d}" for folder in ("b", "a", "c") for number in range(3_000)]  # in no order that is known


class Native:
    """A client whose listing has pages of a thousand, in its own order, from the beginning whatever it is asked for."""

    def __init__(self, breaks_at: int | None = None):
        self.breaks_at = breaks_at

    def list(self, prefix: str | None, offset: str | None, chunk_size: int) -> Iterator[list[dict[str, Any]]]:
        for start in range(0, len(KEYS), chunk_size):
            if start == self.breaks_at:
                raise OSError("IncompleteBody")
            yield [{"path": key, "size": 1, "e_tag": None} for key in KEYS[start : start + chunk_size]]

    def delete(self, paths: list[str]) -> None:
        raise FileNotFoundError("<Code>ContainerNotFound</Code>")


def store_of(native: Native) -> Store:
    class Here(Cloud):
        server = "a cloud"

        def _connect(self, client: dict[str, Any], retries: Any) -> Native:
            return native

    return Store("az://tests", "", Here("tests"))


def test_a_listing_in_another_order_than_that_of_the_keys_loses_nothing() -> None:
    assert [info.key for info in store_of(Native()).list()] == KEYS
    listed = [key for table in list_artworks(store_of(Native())) for key in table.column("artwork_id").to_pylist()]
    assert sorted(listed) == sorted(KEYS)


def test_a_listing_that_breaks_off_is_not_gone_on_with_from_a_place_that_the_store_may_not_know() -> None:
    with pytest.raises(UserError, match="broke off"):
        list(store_of(Native(breaks_at=4_000)).list())


def test_a_container_that_is_not_there_is_no_key_that_is_gone() -> None:
    with pytest.raises(UserError, match="the bucket does not exist"):
        store_of(Native()).delete(["a"])
