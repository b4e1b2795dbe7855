"""From staged parts to what readers see: the sums are proved, places are stable, and CURRENT moves last and whole."""

import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs
import pyarrow.parquet as pq
import pytest

from artquant.core.errors import RunFailed, UserError
from artquant.core.schema import reject_schema, score_schema
from artquant.results import layout
from artquant.results.plan import PlanSummary, id_sum
from artquant.results.publish import Part, drop_staging, placed, publish, read_footer, reconcile, write_part
from artquant.storage.store import Store, open_store

DAY = date(2026, 11, 21)
IDS = [f"a/{i}.jpg" for i in range(20)]
SCORED, REJECTED = (IDS[:9], IDS[9:16]), (IDS[16:],)


def table(kind: layout.Kind, ids: list[str], run_id: str) -> pa.Table:
    schema = score_schema() if kind == "scores" else reject_schema()
    return pa.Table.from_pylist([{"artwork_id": artwork_id, "run_id": run_id, "score": 5.5} for artwork_id in ids], schema)


def stage(store: Store, run_id: str = "night-1", scored=SCORED, rejected=REJECTED) -> list[Part]:
    """Parts as write tasks leave them, under the names of their attempts."""
    kinds: list[tuple[layout.Kind, list[str]]] = [("scores", ids) for ids in scored] + [("rejects", ids) for ids in rejected]
    return [
        write_part(store, kind, layout.staged_key(run_id, kind, f"attempt-{number}"), table(kind, ids, run_id))
        for number, (kind, ids) in enumerate(kinds)
    ]


def plan_of(ids: list[str]) -> PlanSummary:
    return PlanSummary(len(ids), 0, 1, id_sum(ids), {"new": len(ids)})


def published(store: Store, run_id: str = "night-1", model_id: str = "tiny", **staged) -> None:
    publish(store, run_id, placed(stage(store, run_id, **staged), model_id, DAY, run_id), {"run_id": run_id, "run_date": DAY})
    drop_staging(store, run_id)


def keys(store: Store, prefix: str = "") -> list[str]:
    return sorted(info.key for info in store.list(prefix))


def dataset(store: Store, kind: str) -> ds.Dataset:
    """Read as any tool reads it: by folder, with Hive partitions, knowing nothing of manifests."""
    if store.uri.startswith("s3://"):
        filesystem = pyarrow.fs.S3FileSystem(
            endpoint_override=os.environ["AWS_ENDPOINT_URL"].removeprefix("http://"),
            scheme="http",
            region="us-east-1",
            access_key=os.environ["AWS_ACCESS_KEY_ID"],
            secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        )
        return ds.dataset(store.uri_of(kind).removeprefix("s3://"), filesystem=filesystem, partitioning="hive")
    return ds.dataset(store.uri_of(kind).removeprefix("file://"), partitioning="hive")


def ids_by_folder(store: Store, kind: str) -> list[str]:
    return sorted(dataset(store, kind).to_table(columns=["artwork_id"]).column("artwork_id").to_pylist())


def current(store: Store) -> dict:
    return json.loads(store.get(layout.CURRENT))


def test_a_part_is_what_its_footer_says_whatever_the_writer_reported(store):
    part = stage(store)[0]
    assert part == Part("scores", "_staging/night-1/scores/attempt-0.parquet", 9, store.head(part.key).size_bytes, id_sum(SCORED[0]))
    assert read_footer(store, replace(part, num_rows=1, id_sum=2)) == part


def test_a_part_keeps_the_schema_and_its_version(store):
    part = stage(store)[0]
    schema = pq.read_schema(store.open_input(part.key))
    assert schema.remove_metadata() == score_schema().remove_metadata()
    assert schema.metadata[b"artquant.schema_version"] == b"1"


def test_a_run_adds_up_however_its_rows_are_split(store):
    plan = plan_of(IDS)
    assert reconcile(plan, stage(store)) == (16, 4)
    assert reconcile(plan, stage(store, scored=(IDS[::2], IDS[1::2]), rejected=())) == (20, 0)
    assert reconcile(plan, stage(store, scored=(), rejected=tuple([i] for i in reversed(IDS)))) == (0, 20)


@pytest.mark.parametrize(
    ("scored", "rejected", "sentence"),
    [
        ((IDS[:15],), (IDS[16:],), "20 artworks due, 15 scored and 4 rejected"),
        ((IDS[:16], IDS[3:4]), (IDS[16:],), "20 artworks due, 17 scored and 4 rejected"),
        ((IDS[:16],), (IDS[15:],), "20 artworks due, 16 scored and 5 rejected"),
        ((IDS[1:16], IDS[3:4]), (IDS[16:],), "not those of the planned artworks"),
        ((IDS[:16],), (["b/16.jpg", *IDS[17:]],), "not those of the planned artworks"),
        ((), (), "20 artworks due, 0 scored"),
    ],
    ids=["lost", "twice", "scored and rejected", "one lost and one twice", "of another", "nothing"],
)
def test_a_run_that_does_not_add_up_is_refused(tmp_path, scored, rejected, sentence):
    store = open_store(str(tmp_path))
    footers = [read_footer(store, part) for part in stage(store, scored=scored, rejected=rejected)]
    with pytest.raises(RunFailed, match=sentence):
        reconcile(plan_of(IDS), footers)


def test_places_depend_on_the_staged_names_and_not_on_the_order_of_the_parts(store):
    parts = stage(store)
    pairs = placed(parts, "tiny", DAY, "night-1")
    assert placed(reversed(parts), "tiny", DAY, "night-1") == pairs
    assert {there.key for _, there in pairs} == {
        "scores/model=tiny/run_date=2026-11-21/part-night-1-00000.parquet",
        "scores/model=tiny/run_date=2026-11-21/part-night-1-00001.parquet",
        "rejects/run_date=2026-11-21/part-night-1-00000.parquet",
    }
    assert all(replace(there, key=staged.key) == staged for staged, there in pairs)


def test_current_points_at_a_manifest_whose_files_exist_and_hold_what_it_says(store):
    published(store)
    pointer = current(store)
    assert pointer == {"run_id": "night-1", "manifest": "runs/night-1/manifest.json"}
    manifest = json.loads(store.get(pointer["manifest"]))
    assert manifest["run_date"] == "2026-11-21"
    for file in manifest["files"]:
        assert read_footer(store, Part(**file)) == Part(**file)
        assert store.head(file["key"]).size_bytes == file["num_bytes"]
    assert sorted(file["key"] for file in manifest["files"]) == sorted(keys(store, "scores") + keys(store, "rejects"))


def test_readers_by_folder_see_every_row_once_with_its_partitions(store):
    published(store)
    assert ids_by_folder(store, "scores") == sorted(IDS[:16]) and ids_by_folder(store, "rejects") == sorted(IDS[16:])
    row = dataset(store, "scores").to_table().to_pylist()[0]
    assert (row["model"], str(row["run_date"]), row["score"]) == ("tiny", "2026-11-21", 5.5)


def test_staged_rows_are_not_below_what_readers_read_and_go_with_their_own_staging_area(store):
    stage(store, "night-10")
    published(store)
    assert keys(store, "_staging/night-1") == []
    assert len(keys(store, "_staging/night-10")) == 3, "another run's staging area was dropped"
    assert set(ids_by_folder(store, "scores")) == set(IDS[:16])
    drop_staging(store, "night-10")
    assert keys(store, "_staging") == []


def test_publishing_the_same_again_changes_nothing(store):
    published(store)
    before = keys(store), ids_by_folder(store, "scores"), ids_by_folder(store, "rejects"), current(store)
    published(store)
    assert (keys(store), ids_by_folder(store, "scores"), ids_by_folder(store, "rejects"), current(store)) == before


def test_a_second_run_is_added_and_becomes_current(store):
    published(store)
    published(store, "night-2", scored=(["b/1.jpg"],), rejected=())
    assert current(store)["run_id"] == "night-2"
    assert ids_by_folder(store, "scores") == sorted([*IDS[:16], "b/1.jpg"])


def test_publishing_that_fails_midway_leaves_current_where_it_was(store):
    published(store)
    before = store.get(layout.CURRENT)
    pairs = placed(stage(store, "night-2"), "tiny", DAY, "night-2")
    store.delete(pairs[-1][0].key)
    with pytest.raises(UserError, match="Cannot copy .*night-2"):
        publish(store, "night-2", pairs, {"run_id": "night-2"})
    assert store.get(layout.CURRENT) == before
    assert not store.exists("runs/night-2/manifest.json")
    published(store, "night-2")
    assert current(store)["run_id"] == "night-2"
    assert ids_by_folder(store, "scores") == sorted(IDS[:16] * 2)


def test_a_lost_answer_to_the_last_write_is_a_published_run(store, monkeypatch):
    put = Store.put

    def put_and_lose_the_answer(self, key, data):
        put(self, key, data)
        if key == layout.CURRENT:
            raise UserError("Cannot write CURRENT: the answer broke off.")

    monkeypatch.setattr(Store, "put", put_and_lose_the_answer)
    published(store)
    assert current(store)["run_id"] == "night-1"
    monkeypatch.setattr(Store, "put", lambda self, key, data: put(self, key, data) if key != layout.CURRENT else put_nothing())
    with pytest.raises(UserError, match="really not"):
        published(store, "night-2")
    assert current(store)["run_id"] == "night-1"


def put_nothing() -> str:
    raise UserError("Cannot write CURRENT: really not.")


def test_of_two_runs_that_publish_at_once_current_is_one_and_whole(store):
    for turn in range(4):  # the first turn creates CURRENT, the others replace it
        names = [f"night-{turn}-{runner}" for runner in "ab"]
        runs = {name: placed(stage(store, name, scored=([name],), rejected=()), "tiny", DAY, name) for name in names}
        barrier = threading.Barrier(2)

        def run(name: str, runs=runs, barrier=barrier) -> None:
            barrier.wait()
            publish(store, name, runs[name], {"run_id": name})

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(run, names))
        pointer = current(store)
        assert pointer["run_id"] in names and pointer["manifest"] == f"runs/{pointer['run_id']}/manifest.json"
        manifest = json.loads(store.get(pointer["manifest"]))
        assert [file["key"] for file in manifest["files"]] == [there.key for _, there in runs[pointer["run_id"]]]
        assert set(names) <= set(ids_by_folder(store, "scores"))


@pytest.mark.parametrize("model_id", ["org/model", "a b+c%2F=d", "über&co?#", ".."])
def test_a_model_of_any_name_is_one_folder_and_reads_back_as_it_is(store, model_id):
    published(store, model_id=model_id)
    assert {len(key.split("/")) for key in keys(store, "scores")} == {4}
    assert set(dataset(store, "scores").to_table(columns=["model"]).column("model").to_pylist()) == {model_id}
