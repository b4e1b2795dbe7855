"""The plan: what is due, in the order of the ids, cut into shards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artquant.core.errors import UserError
from artquant.core.schema import plan_schema
from artquant.results.catalog import Source, catalog_schema, read_catalog
from artquant.results.ledger import Night
from artquant.results.plan import LARGE_SHARD, SMALL_SHARD, Draft, Plan, draft_plan, refuse_overlap, store_plan
from artquant.storage.store import Store, open_store
from tests.results.nights import IDENTITY

KEY = "plan.parquet"


def catalog(num: int) -> Iterator[pa.Table]:
    for start in range(0, num, 60_000):
        ids = [f"a/{i:07d} ü.jpg" for i in range(start, min(num, start + 60_000))]
        columns = {"artwork_id": ids, "uri": [f"s3://b/{i}" for i in ids], "etag": ids, "size_bytes": [3] * len(ids)}
        yield pa.table(columns | {"excluded": [False] * len(ids)}, schema=catalog_schema())


def drafted(store: Store, folder: Path, num: int, limit: int | None = None) -> Draft:
    return draft_plan(catalog(num), store, None, Night(IDENTITY, {}, frozenset("c")), folder, limit)


@pytest.mark.parametrize("num", [1, SMALL_SHARD, SMALL_SHARD + 1, 1_000])
def test_a_plan_gives_its_rows_back_shard_by_shard(store: Store, tmp_path: Path, num: int) -> None:
    draft = drafted(store, tmp_path, num)
    store_plan(store, KEY, draft)
    plan = Plan(store, KEY)
    assert plan.summary == draft.summary and (draft.summary.num_planned, draft.summary.num_bytes) == (num, 3 * num)
    assert draft.summary.reasons == {"new": num}
    shards = [plan.shard(number) for number in range(draft.summary.num_shards)]
    assert [len(shard) for shard in shards] == plan.shard_rows
    assert plan.shard_rows[:-1] == [SMALL_SHARD] * (len(shards) - 1) and 0 < plan.shard_rows[-1] <= SMALL_SHARD
    assert [row["artwork_id"] for shard in shards for row in shard] == [f"a/{i:07d} ü.jpg" for i in range(num)]


def test_a_plan_is_plain_parquet_with_the_schemas_columns(store: Store, tmp_path: Path) -> None:
    store_plan(store, KEY, drafted(store, tmp_path, 3))
    assert pq.read_table(store.open_input(KEY)).schema.remove_metadata() == plan_schema()


def test_the_first_plan_stands(store: Store, tmp_path: Path) -> None:
    for num in (3, 5):
        (tmp_path / str(num)).mkdir()
        store_plan(store, KEY, drafted(store, tmp_path / str(num), num))
    assert Plan(store, KEY).summary.num_planned == 3


def test_a_large_collection_is_cut_into_large_shards(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "out"))
    draft = drafted(store, tmp_path, 150_000)
    store_plan(store, KEY, draft)
    rows = Plan(store, KEY).shard_rows
    assert set(rows[:-1]) == {LARGE_SHARD} and sum(rows) == 150_000 == draft.summary.num_planned


def test_a_limit_plans_the_first_that_are_due(store: Store, tmp_path: Path) -> None:
    draft = drafted(store, tmp_path, 1_000, limit=7)
    assert (draft.summary.num_planned, draft.summary.reasons) == (7, {"new": 7})
    assert pq.read_table(draft.plan).column("artwork_id").to_pylist() == [f"a/{i:07d} ü.jpg" for i in range(7)]


def test_patterns_leave_out_by_the_whole_key_in_its_case_and_are_counted(store: Store, tmp_path: Path) -> None:
    collection = store.child("art")
    for key in ("a.jpg", "notes.TSV", "x/notes.tsv", "deep/er/b.png"):
        collection.put(key, b"x")
    source = Source("input", collection.uri, ("*.tsv", "deep/*"))
    with read_catalog(source) as tables:
        draft = draft_plan(tables, store, None, Night(IDENTITY, {}, frozenset(source.collections)), tmp_path)
    assert pq.read_table(draft.plan).column("artwork_id").to_pylist() == ["a.jpg", "notes.TSV"]
    assert draft.summary.num_excluded == 2


@pytest.mark.parametrize(
    ("exclude", "sentence"), [((), "There is nothing below .*: give an"), (("*",), "but 1 objects that `exclude` leaves out")]
)
def test_nothing_to_plan_is_refused(tmp_path: Path, exclude: tuple[str, ...], sentence: str) -> None:
    collection = open_store(str(tmp_path / "art"))
    if exclude:
        collection.put("a.jpg", b"x")
    (tmp_path / "art").mkdir(exist_ok=True)
    with pytest.raises(UserError, match=sentence), read_catalog(Source("input", collection.uri, exclude)) as tables:
        list(tables)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("s3://buck/art", "s3://buck/art"),
        ("s3://buck/art", "s3://buck/art/out"),
        ("s3://buck", "s3://buck/out"),
        ("{}/art", "file://{}/art/out"),
        ("{}/linked", "{}/art/out"),
        ("{}/out/scores", "{}/out"),
    ],
)
def test_results_that_the_next_night_would_list_are_refused(tmp_path, monkeypatch, source, target):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    (tmp_path / "art").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "art")
    with pytest.raises(UserError, match="give"):
        refuse_overlap(source.format(tmp_path), target.format(tmp_path))


@pytest.mark.parametrize(
    ("source", "target"),
    [("s3://buck/art", "s3://buck/art-out"), ("s3://buck/x", "s3://other/x"), ("{}/out/art", "{}/out"), ("/data/art", "s3://data/art")],
)
def test_places_beside_each_other_are_fine(tmp_path, monkeypatch, source, target):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    refuse_overlap(source.format(tmp_path), target.format(tmp_path))
