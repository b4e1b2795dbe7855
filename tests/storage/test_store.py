"""What both homes promise: the same tests on S3 and on a folder."""

from __future__ import annotations

import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import pytest

from artquant.core.errors import Reject
from artquant.core.schema import RejectClass
from artquant.storage.store import Conflict, FetchError, Store, open_parent

KEYS = ["a.jpg", "b/c.jpg", "b/c/d.jpg", "with space+plus.jpg", "über/ß.jpg", "x%20y&<z>'.jpg", "q?a=1#f.jpg", ".hidden"]


def test_what_is_put_is_got_listed_and_deleted_under_the_same_key(store: Store) -> None:
    etags = {key: store.put(key, key.encode()) for key in KEYS}
    assert {info.key: (info.size_bytes, info.etag) for info in store.list()} == {key: (len(key.encode()), etags[key]) for key in KEYS}
    for key in KEYS:
        assert store.get_with_etag(key) == (key.encode(), etags[key])
        assert store.fetch(key) == (key.encode(), etags[key], 1)
        assert store.head(key) == (key, len(key.encode()), etags[key])
    store.delete(KEYS)
    store.delete(KEYS[0])  # again: no error
    assert list(store.list()) == []
    assert not store.exists(KEYS[0])


def test_an_etag_changes_with_the_content(store: Store) -> None:
    assert store.put("k", b"one") != store.put("k", b"three")


def test_a_child_and_a_prefix_see_the_folder_and_not_its_namesakes(store: Store) -> None:
    for key in ("x/1", "x/y/2", "xx/3", "x.4"):
        store.put(key, b"")
    assert [info.key for info in store.child("x").list()] == ["1", "y/2"]
    assert [info.key for info in store.list("x/")] == ["x/1", "x/y/2"]
    assert list(store.list("nothing/here")) == []
    assert store.child("x").uri_of("1") == store.uri_of("x/1")
    parent, key = open_parent(store.uri_of("x/y/2"))
    assert (parent.uri, key, parent.exists(key)) == (store.child("x/y").uri, "2", True)


def test_listing_passes_the_page_limit_lazily_and_in_key_order(store: Store) -> None:
    num = 5_300 if store.uri.startswith("az:") else 2_300  # Azure's pages have 5,000 objects
    keys = [f"{index % 7}/{index:05d}" for index in range(num)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: store.put(key, b"x"), keys))
    assert [info.key for info in store.list()] == sorted(keys)
    listing = store.list()
    assert [info.key for info in islice(listing, 3)] == sorted(keys)[:3]
    store.delete(keys)  # in more than one request
    assert len(list(listing)) < num - 3, "the rest of the listing was fetched before it was asked for"
    assert list(store.list()) == []


def test_only_one_of_eight_writers_creates_an_object(store: Store) -> None:
    for turn in range(3):
        barrier = threading.Barrier(8)

        def create(writer: int, turn: int = turn, barrier: threading.Barrier = barrier) -> int | None:
            barrier.wait()
            try:
                store.put_if_absent(f"pointer-{turn}", str(writer).encode())
            except Conflict:
                return None
            return writer

        with ThreadPoolExecutor(8) as pool:
            winners = [writer for writer in pool.map(create, range(8)) if writer is not None]
        assert [str(winner).encode() for winner in winners] == [store.get(f"pointer-{turn}")]


def test_compare_and_swap_loses_no_increment(store: Store) -> None:
    store.put("counter", b"0")

    def increment(_: int) -> None:
        while True:
            value, etag = store.get_with_etag("counter")
            try:
                store.put_if_match("counter", str(int(value) + 1).encode(), etag)
            except Conflict:
                continue
            return

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(increment, range(20)))
    assert store.get("counter") == b"20"


def test_a_swap_of_a_stale_or_missing_object_is_a_conflict(store: Store) -> None:
    stale = store.put("k", b"first")
    store.put("k", b"second!")
    for key in ("k", "gone", "no-folder/gone"):
        with pytest.raises(Conflict):
            store.put_if_match(key, b"third", stale)
    assert store.get("k") == b"second!"


def test_a_file_of_many_parts_arrives_whole(store: Store, tmp_path: Path) -> None:
    content = os.urandom(40 << 20)
    (tmp_path / "big").write_bytes(content)
    assert store.put_file("up/big", tmp_path / "big") == store.head("up/big").etag
    assert store.get("up/big") == content


def test_parquet_is_read_by_ranges(store: Store) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    sink = pa.BufferOutputStream()
    table = pa.table({"n": range(400_000), "noise": [os.urandom(8) for _ in range(400_000)]})
    pq.write_table(table, sink, row_group_size=100_000, compression="none")
    store.put("t.parquet", sink.getvalue().to_pybytes())
    with store.open_input("t.parquet") as file:
        parquet = pq.ParquetFile(file)
        assert parquet.read_row_group(2).equals(table.slice(200_000, 100_000))
        assert parquet.read().equals(table)
    with store.open_input("t.parquet") as file:
        file.seek(-4, os.SEEK_END)
        assert file.read() == b"PAR1"
        assert file.read() == b""
    with pytest.raises(FetchError):
        store.open_input("missing")


def test_a_missing_object_is_missing_at_the_first_attempt(store: Store) -> None:
    for read in (store.get, store.fetch, store.head):
        with pytest.raises(FetchError, match="does not exist") as error:
            read("nothing/here")
        assert error.value.reject_class is RejectClass.MISSING
        assert error.value.attempts == 1


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/../../b", "./a", "a\x00b", "tab\tkey"])
def test_a_key_cannot_leave_the_root_or_be_misread(store: Store, key: str) -> None:
    with pytest.raises(FetchError) as error:
        store.fetch(key)
    assert error.value.reject_class is RejectClass.UNSUPPORTED
    with pytest.raises(ValueError, match="the key"):
        store.put(key, b"")


def test_a_store_travels_as_its_address_and_shows_no_secret(store: Store) -> None:
    store.put("k", b"v")
    sent = pickle.dumps(store)
    again = pickle.loads(sent)
    assert (again.uri, again.get("k")) == (store.uri, b"v")
    secret = os.environ.get("AWS_SECRET_ACCESS_KEY", "none")
    assert secret.encode() not in sent
    assert secret not in repr(vars(store)) + repr(store)


def test_a_fetch_error_travels_with_its_attempts() -> None:
    error = pickle.loads(pickle.dumps(FetchError(RejectClass.TIMEOUT, "no answer in time", 4)))
    assert isinstance(error, FetchError) and issubclass(FetchError, Reject)
    assert (error.reject_class, error.message, error.attempts) == (RejectClass.TIMEOUT, "no answer in time", 4)


def test_a_good_store_passes_both_checks_and_keeps_no_trace(store: Store) -> None:
    store.check_writable()
    store.check_readable()
    assert list(store.list()) == []
