"""Waves below the night's work: whoever goes on follows the plan that was stored first."""

from __future__ import annotations

from pathlib import Path

from artquant.results.shards import missing, records, write_shard
from artquant.results.waves import begin_wave, open_wave, wave_work
from artquant.storage.store import open_store

COLUMNS = ("given", "state")


def rows(*names: str) -> list[dict[str, object]]:
    known = {"etag": "e", "size_bytes": 1, "reason": "new", "given": "{}", "state": "{}"}
    return [{"artwork_id": name, "uri": f"u/{name}", **known} for name in names]


def test_a_wave_is_cut_into_shards_and_its_first_plan_stands(tmp_path: Path):
    store = open_store(f"file:{tmp_path}")
    assert open_wave(store, "w", 0) is None
    plan = begin_wave(store, "w", 0, rows("c", "a", "e", "b", "d"), 2, COLUMNS)
    assert plan.shard_rows == [2, 2, 1]
    assert [name.as_py() for number in range(3) for name in plan.ids(number)] == ["a", "b", "c", "d", "e"]
    again = begin_wave(store, "w", 0, rows("x"), 2, COLUMNS)
    assert again.digest == plan.digest and (other := open_wave(store, "w", 0)) and other.digest == plan.digest
    assert open_wave(store, "w", 1) is None


def test_shards_of_a_wave_have_the_records_of_a_nights(tmp_path: Path):
    store = open_store(f"file:{tmp_path}")
    plan = begin_wave(store, "w", 3, rows("a", "b", "c"), 2, COLUMNS)
    work = wave_work("w", 3)
    write_shard(store, work, plan, 1, plan.table(1))
    assert missing(plan, records(store, work, plan)) == [0]
    assert records(store, wave_work("w", 2), plan) == {} == records(store, "w", plan)
