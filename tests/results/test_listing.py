"""Large prefixes that are listed in ranges: every key once, whatever the store's order, for a few requests more."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artquant.core.errors import UserError
from artquant.results import listing
from artquant.results.listing import KnownRanges, cuts_of, known_ranges, list_artworks, probe
from artquant.storage.local import Listed
from artquant.storage.store import Store, open_store

PAGE = 5


class Backend:
    """Lists keys in one of the orders that stores have: `bytes` (S3), `folders` (SeaweedFS: what lies below a folder comes with it, and
    behind its name comes what follows on the folder), `none`. Counts requests of PAGE keys."""

    connection_hint, is_remote, server = "", False, "test"

    def __init__(self, keys: set[str], order: str, is_byte_ordered: bool, denied: str | None = None):
        self.is_byte_ordered, self.order, self.denied, self.num_requests = is_byte_ordered, order, denied, 0
        self.keys = sorted(keys, key=self._place if order != "none" else lambda key: random.Random(key).random())

    def _place(self, key: str) -> str:
        return key.replace("/", "\0") if self.order == "folders" else key

    def list(self, root: str, after: str = "") -> Iterator[Listed]:
        def is_behind(key: str) -> bool:
            is_skipped = self.order == "folders" and key.startswith(f"{after}/")
            return self.order == "none" or not after or (self._place(key) > self._place(after) and not is_skipped)

        found = [key for key in self.keys if is_behind(key)]
        for start in range(0, len(found), PAGE) or [0]:
            self.num_requests += 1
            for key in found[start : start + PAGE]:
                if key == self.denied:
                    raise OSError("status code: 403 <Code>AccessDenied</Code>")
                yield key, 1, f"e-{key}"


@pytest.fixture(autouse=True, scope="module")
def small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"LOOK_KEYS": 3 * PAGE, "PAGE_KEYS": PAGE, "_MIN_RANGE_KEYS": 2 * PAGE, "NUM_THREADS": 4}.items():
            patch.setattr(listing, name, value)
        yield


@pytest.fixture
def tiny(small: None) -> Iterator[None]:
    """So small that a few keys are many ranges."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"LOOK_KEYS": 4, "PAGE_KEYS": 2, "_MIN_RANGE_KEYS": 2, "NUM_THREADS": 3}.items():
            patch.setattr(listing, name, value)
        yield


def store_of(backend: Backend) -> Store:
    return Store("s3://museum", "", backend)  # type: ignore[arg-type]


def listed(store: Store, known: KnownRanges = ()) -> list[str]:  # type: ignore[assignment]
    tables = list(list_artworks(store, lambda: list(known)))
    rows = [row for table in tables for row in table.to_pylist()]
    assert all((row["size_bytes"], row["etag"]) == (1, f"e-{row['artwork_id']}") for row in rows)
    return [row["artwork_id"] for row in rows]


def known_of(keys: list[str], step: int = 4) -> KnownRanges:
    keys = sorted(keys)
    return [(group[0], group[-1], len(group)) for group in (keys[start : start + step] for start in range(0, len(keys), step))]


NAMES = st.text("ab.-é", min_size=1, max_size=2).filter(lambda name: name not in (".", ".."))
KEYS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
ORDERS = pytest.mark.parametrize(("order", "is_known"), [("bytes", True), ("bytes", False), ("folders", False), ("none", False)])


@ORDERS
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keys=st.sets(KEYS, min_size=9, max_size=60), others=st.sets(KEYS, max_size=30), common=st.sampled_from(["", "b/", "a", "b/a/IMG_"]))
def test_every_key_is_listed_once_whatever_the_order_of_the_store(
    order: str, is_known: bool, tiny: None, keys: set[str], others: set[str], common: str
) -> None:
    keys = {f"{common}{key}" for key in keys}
    backend = Backend(keys, order, is_known)
    assert sorted(listed(store_of(backend))) == sorted(keys), "the first time"
    before = known_of([key for key in keys | others if len(key) % 3])
    again = listed(store_of(Backend(keys, order, is_known)), before)
    assert sorted(again) == sorted(keys), "after a night in which others were there"
    if is_known:
        assert again == sorted(keys)


def test_what_a_last_night_left_is_cut_into_equal_ranges() -> None:
    known = known_of([f"{i:05d}" for i in range(1000)], 10)
    base, cuts = cuts_of(known, True) or ("", [])
    assert (base, len(cuts)) == ("", 63)
    sizes = [int(cut) - int(before) for before, cut in zip(["-1", *cuts], cuts, strict=False)]
    assert set(sizes) == {10, 20}, "whole groups of ten, 64 shares of a thousand"
    folders = known_of([f"art/{i:02d}/x.{j}" for i in range(50) for j in range(20)], 10)
    base, cuts = cuts_of(folders, False) or ("", [])
    assert base == "art/" and len(cuts) == 50 and cuts[0] == "art/00\U0010ffff", "only behind whole folders"
    assert cuts_of(known[:1], True) is None


def test_the_first_night_finds_out_where_keys_part() -> None:
    keys = {f"art/{i // 16:x}{i % 16:x}/{j:02d}.jpg" for i in range(256) for j in range(8)} | {"art/few.txt"}
    backend = Backend(keys, "folders", False)
    base, cuts = probe(store_of(backend), backend.keys[:PAGE])
    assert base == "art/" and cuts == sorted(cuts) and 32 <= len(cuts) <= 64
    assert backend.num_requests < 2 * 256 + 40, "one for each group of two characters, and one behind the last of each"


@pytest.mark.parametrize("is_later", [False, True], ids=["the first night", "a later night"])
def test_ranges_cost_a_few_requests_more_than_the_listing(is_later: bool) -> None:
    keys = {f"{i:04d}.jpg" for i in range(2_000)}
    backend = Backend(keys, "bytes", True)
    assert listed(store_of(backend), known_of(list(keys), 20) if is_later else []) == sorted(keys)
    assert backend.num_requests - 2_000 / PAGE <= (64 + 3 if is_later else 64 + 130), "pages that end beyond a range, and the look before"


def test_a_small_prefix_costs_no_request_more() -> None:
    keys = {f"{i:02d}.jpg" for i in range(3 * PAGE - 1)}
    backend = Backend(keys, "bytes", True)
    assert listed(store_of(backend), known_of(list(keys))) == sorted(keys) and backend.num_requests == 3


@pytest.mark.parametrize("denied", ["0003.jpg", "1500.jpg"])
def test_a_prefix_that_cannot_be_listed_is_named(denied: str) -> None:
    backend = Backend({f"{i:04d}.jpg" for i in range(2_000)}, "bytes", True, denied)
    with pytest.raises(UserError, match=r"Cannot list s3://museum: access is denied \(403 AccessDenied\); check the credentials"):
        listed(store_of(backend))


def test_what_a_reader_of_the_catalog_leaves_ends_the_listing() -> None:
    tables = list_artworks(store_of(Backend({f"{i:04d}.jpg" for i in range(2_000)}, "bytes", True)))
    assert next(tables).num_rows
    tables.close()  # type: ignore[attr-defined]


def test_a_ledgers_footers_say_what_was_there(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    pq.write_table(pa.table({"artwork_id": [f"{i:02d}" for i in range(25)]}), tmp_path / "l.parquet", row_group_size=10)
    assert known_ranges(store, ["l.parquet"]) == [("00", "09", 10), ("10", "19", 10), ("20", "24", 5)]


def test_the_embedded_store_is_listed_in_ranges(s3_folder: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {f"art/{folder}/{name}" for folder in ("00", "01", "01-b", "0a", "a", "a b", "ü") for name in ("1.jpg", "2 é.jpg", "3#.jpg")}
    keys |= {"art/01.txt", "art/a/b/c.jpg", "art/a.txt"}
    for key in keys:
        s3_folder.put(key, b"x")
    asked: list[str] = []
    list_of = Store.list
    monkeypatch.setattr(Store, "list", lambda self, prefix="", after="": asked.append(after) or list_of(self, prefix, after))
    for known in ([], [(key, key, 2 * PAGE) for key in sorted(keys)]):
        asked.clear()
        found = [key for table in list_artworks(s3_folder, lambda known=known: known) for key in table.column("artwork_id").to_pylist()]
        assert sorted(found) == sorted(keys)
        assert len(asked) > 4, "in ranges"
