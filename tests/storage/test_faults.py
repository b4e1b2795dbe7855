"""The store behind a proxy that spoils calls: nothing is lost, nothing is told wrongly."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from artquant.storage.embedded import EmbeddedStore
from artquant.storage.store import Conflict, Store, open_store
from tests import fault_proxy
from tests.fault_proxy import FaultProxy


@pytest.fixture
def spoilt(s3_server: EmbeddedStore, s3_folder: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FaultProxy, Store]]:
    """A proxy before the session's server, and a folder as it is seen through it."""
    assert s3_server.port
    monkeypatch.setattr(fault_proxy, "STALL_SECONDS", 0.1)
    with FaultProxy(s3_server.port, 1, rate=0.0) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
        yield proxy, open_store(s3_folder.uri)


def spoil(proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, *faults: fault_proxy.Fault) -> None:
    """The next calls meet just these, one each."""
    rest = list(faults)
    monkeypatch.setattr(proxy, "draw", lambda: rest.pop(0) if rest else None)


@pytest.mark.parametrize("faults", [("503",), ("reset",), ("lost",), ("truncated", "503"), ("lost", "lost", "truncated")])
def test_an_object_is_created_once_and_its_writer_knows(
    spoilt: tuple[FaultProxy, Store], faults: tuple[fault_proxy.Fault, ...], s3_folder: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, store = spoilt
    spoil(proxy, monkeypatch, *faults)
    assert store.put_if_absent("k", b"mine") == s3_folder.head("k").etag
    spoil(proxy, monkeypatch, *faults)
    with pytest.raises(Conflict):
        store.put_if_absent("k", b"another's")
    assert s3_folder.get("k") == b"mine"
    with pytest.raises(Conflict):  # who is answered at once has made nothing, whatever its bytes are
        store.put_if_absent("k", b"mine")


@pytest.mark.parametrize("fault", fault_proxy.FAULTS)
def test_a_place_is_probed_again_where_the_store_stumbles(
    spoilt: tuple[FaultProxy, Store], fault: fault_proxy.Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, store = spoilt
    for check in (store.check_readable, store.check_writable):
        spoil(proxy, monkeypatch, fault)
        check()


def test_a_listing_goes_on_where_a_page_broke_off(
    spoilt: tuple[FaultProxy, Store], s3_folder: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, store = spoilt
    keys = [f"{number:04d}" for number in range(1_200)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: s3_folder.put(key, b""), keys))
    draws = iter(["truncated", None, "truncated", "truncated"])
    monkeypatch.setattr(proxy, "draw", lambda: next(draws, None))
    assert [info.key for info in store.list()] == keys
    assert next(draws, "all") == "all"


def test_what_is_read_through_faults_is_what_was_written(spoilt: tuple[FaultProxy, Store]) -> None:
    proxy, store = spoilt
    proxy.rate = 0.3
    for number in range(30):
        store.put(f"{number:02d}", bytes([number]) * 10_000)
    assert [store.get(info.key) for info in sorted(store.list())] == [bytes([number]) * 10_000 for number in range(30)]
    assert all(proxy.met[fault] for fault in fault_proxy.FAULTS), proxy.met
