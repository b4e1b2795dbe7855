"""The plan: what is due and why, cut into shards, and the checksum that a run is held against."""

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from artquant.core.errors import UserError
from artquant.core.schema import Reason, plan_schema
from artquant.results.plan import LARGE_SHARD, SMALL_SHARD, Plan, due, id_sum, refuse_overlap, write_plan
from artquant.storage.store import ObjectInfo, Store, open_store

KEY = "runs/night-1/plan.parquet"


def listing(num: int) -> Iterator[ObjectInfo]:
    return (ObjectInfo(f"a/{i:06d} ü.jpg", i, f"etag-{i}") for i in range(num))


def rows(objects, *exclude: str, counts: Counter | None = None) -> Iterator[dict[str, Any]]:
    return due(objects, lambda key: f"s3://b/{key}", exclude, Counter() if counts is None else counts)


def planned(store: Store, num: int, *exclude: str):
    counts: Counter = Counter()
    return write_plan(store, KEY, rows(listing(num), *exclude, counts=counts), counts)


@pytest.mark.parametrize("num", [1, SMALL_SHARD, SMALL_SHARD + 1, 1_000])
def test_a_plan_gives_its_rows_back_shard_by_shard(store, num):
    summary = planned(store, num)
    plan = Plan(store, KEY)
    assert plan.summary == summary
    shards = [plan.shard(number) for number in range(summary.num_shards)]
    assert [len(shard) for shard in shards[:-1]] == [SMALL_SHARD] * (summary.num_shards - 1) and 0 < len(shards[-1]) <= SMALL_SHARD
    assert [row for shard in shards for row in shard] == list(rows(listing(num)))
    assert summary.num_planned == num and summary.id_sum == id_sum(info.key for info in listing(num))


def test_a_plan_is_plain_parquet_with_the_schemas_columns(store):
    planned(store, 3)
    table = pq.read_table(store.open_input(KEY))
    assert table.schema.remove_metadata() == plan_schema()
    assert table.column("artwork_id").to_pylist() == ["a/000000 ü.jpg", "a/000001 ü.jpg", "a/000002 ü.jpg"]


def test_a_listed_store_is_planned_as_it_is_read(store):
    collection = store.child("pictures")
    for key in ("b/2.jpg", "a b.png", "notes.tsv"):
        collection.put(key, key.encode())
    counts: Counter = Counter()
    write_plan(store, KEY, due(collection.list(), collection.uri_of, ["*.tsv"], counts), counts)
    (shard,) = [Plan(store, KEY).shard(0)]
    assert {row["artwork_id"] for row in shard} == {"b/2.jpg", "a b.png"}
    for row in shard:
        assert collection.fetch(row["artwork_id"]) == (row["artwork_id"].encode(), row["etag"], 1)
        assert row["uri"] == f"{collection.uri}/{row['artwork_id']}" and row["size_bytes"] == len(row["artwork_id"])


def test_patterns_leave_out_by_the_whole_key_in_its_case_and_are_counted():
    keys = ["a.tsv", "x/b.tsv", "C.TSV", "thumbs/1.jpg", "my-thumbs/1.jpg", "d.jpg"]
    counts: Counter = Counter()
    kept = [row["artwork_id"] for row in rows((ObjectInfo(key, 1, "") for key in keys), "*.tsv", "thumbs/*", counts=counts)]
    assert kept == ["C.TSV", "my-thumbs/1.jpg", "d.jpg"]
    assert counts == {"excluded": 3, Reason.NEW: 3}


def test_every_row_says_why_and_the_summary_adds_the_reasons_up(tmp_path):
    store = open_store(str(tmp_path))
    summary = planned(store, 10, "*/000003*")
    assert {row["reason"] for row in Plan(store, KEY).shard(0)} == {"new"}
    assert (summary.num_planned, summary.num_excluded, summary.reasons) == (9, 1, {"new": 9})


@pytest.mark.parametrize(("num", "exclude", "sentence"), [(0, (), "nothing below s3://b/:"), (2, ("*",), "but 2 objects that `exclude`")])
def test_nothing_to_plan_is_refused_and_nothing_written(tmp_path, num, exclude, sentence):
    store = open_store(str(tmp_path))
    with pytest.raises(UserError, match=sentence):
        planned(store, num, *exclude)
    assert list(store.list()) == []


def test_the_first_rows_are_planned_without_listing_the_rest():
    def endless() -> Iterator[ObjectInfo]:
        yield from listing(5)
        raise AssertionError("listed further than asked for")

    assert len(list(islice(rows(endless()), 5))) == 5


def test_the_checksum_does_not_depend_on_order_or_split():
    ids = [f"a/{i} ü.jpg" for i in range(1_000)]
    shuffled = [ids[i] for i in np.random.default_rng(0).permutation(len(ids))]
    assert id_sum(shuffled) == id_sum(ids)
    assert (id_sum(ids[:137]) + id_sum(ids[137:])) % 2**64 == id_sum(ids)
    assert 0 <= id_sum(ids) < 2**64 and id_sum([]) == 0


def test_the_checksum_sees_an_id_that_is_lost_doubled_or_another():
    ids = [f"{i}.jpg" for i in range(100)]
    others = [ids[1:], [*ids, ids[0]], [*ids[1:], ids[1]], [*ids[1:], "0.jpeg"]]
    assert len({id_sum(ids), *map(id_sum, others)}) == 5


class Row(dict):
    """A plan's row that counts how many of its kind are alive."""

    alive = most = 0

    def __init__(self, row: dict[str, Any]):
        super().__init__(row)
        Row.alive += 1
        Row.most = max(Row.most, Row.alive)

    def __del__(self):
        Row.alive -= 1


def test_a_large_collection_is_cut_into_large_shards_and_streamed(tmp_path: Path):
    store, num = open_store(str(tmp_path)), 120_000
    counts: Counter = Counter()
    summary = write_plan(store, KEY, (Row(row) for row in rows(listing(num), counts=counts)), counts)
    plan = Plan(store, KEY)
    assert summary == plan.summary and summary.num_planned == num and summary.num_shards == -(-num // LARGE_SHARD)
    assert len(plan.shard(0)) == LARGE_SHARD and len(plan.shard(summary.num_shards - 1)) == num % LARGE_SHARD
    assert plan.shard(7)[5]["artwork_id"] == f"a/{7 * LARGE_SHARD + 5:06d} ü.jpg"
    assert Row.most <= 100_000 + 2 * LARGE_SHARD, "rows were gathered beyond the bounded first part"


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
