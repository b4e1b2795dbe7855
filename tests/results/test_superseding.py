"""Rows that take the place of others: forced nights, critiques that come later, contents that come back, and compacting."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artquant.core.errors import AnotherRun
from artquant.core.identity import Identity
from artquant.core.schema import ARTWORK_ID
from artquant.results import operations
from artquant.results.catalog import Source
from artquant.results.clean import Needed, needed_by
from artquant.results.compact import compact, small_files
from artquant.results.nights import draft, opened
from artquant.results.plan import PlanSummary
from artquant.results.readers import open_snapshot
from artquant.results.rewrite import Leaving, rewrite
from artquant.results.snapshots import DataFile, Snapshot, head, history
from artquant.storage.store import Store, open_store
from tests.results import nights
from tests.results.nights import BROKEN, FRAGILE, asked, identities_by_glob, night, rows_by_glob
from tests.results.scheduler import Memory, memory_store


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Store:
    """Ten artworks in memory, whose etags follow their bytes."""
    backend = Memory()
    collection = memory_store(backend, "art")
    for number in range(10):
        collection.put(f"{number}.jpg", b"x" * (number + 1))
    monkeypatch.setattr("artquant.storage.store.open_store", lambda uri: collection)
    monkeypatch.setattr("artquant.results.catalog.open_store", lambda uri: collection)
    return collection


@pytest.fixture
def output() -> Store:
    return memory_store(Memory())


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artquant.results.plan.SMALL_SHARD", 2)


def published(made: Snapshot | PlanSummary) -> Snapshot:
    assert isinstance(made, Snapshot)
    return made


def last_of(output: Store) -> Snapshot:
    last = head(output)
    assert last
    return last


def test_a_forced_night_takes_the_place_of_its_own_identities_alone(source: Store, output: Store) -> None:
    source.put("broken.jpg", BROKEN)
    night(output, asked(source), "one")
    other = asked(source, identity=Identity("blue", "model-2", "prompt-1", "pre-1", "float32"))
    night(output, other, "blue")
    forced = published(night(output, asked(source, force=True, limit=7), "forced"))
    assert forced.counts == {"planned": 7, "scored": 7, "rejected": 0, "superseded": 7}
    runs = [run for run, _ in identities_by_glob(output).values()]
    assert {run: runs.count(run) for run in set(runs)} == {"one": 3, "blue": 10, "forced": 7}
    again = published(night(output, asked(source, force=True), "again"))
    assert again.counts == {"planned": 11, "scored": 10, "rejected": 1, "superseded": 11}, "rejected for good is forced too"
    assert {run for run, _ in identities_by_glob(output).values()} == {"blue", "again"}
    assert sorted(run for *_, run in rows_by_glob(output, "rejects")) == ["again", "blue"]
    assert isinstance(night(output, asked(source), "after"), PlanSummary)


def test_a_forced_reject_leaves_the_score_that_is_there(source: Store, output: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    night(output, asked(source), "one")
    before = identities_by_glob(output)
    monkeypatch.setattr(nights, "BROKEN", source.get("3.jpg"))  # what could be scored yesterday
    made = published(night(output, asked(source, force=True, limit=4), "forced"))
    assert made.counts == {"planned": 4, "scored": 3, "rejected": 1, "superseded": 3}
    after = identities_by_glob(output)
    assert after.keys() == before.keys() and {key[0] for key in after if after[key] != before[key]} == {"0.jpg", "1.jpg", "2.jpg"}
    assert isinstance(night(output, asked(source), "next"), PlanSummary)


def test_each_forced_night_is_a_run_of_its_own_and_a_broken_one_goes_on(source: Store, output: Store, small_shards: None) -> None:
    forced = asked(source, force=True)
    assert forced.digest == asked(source, force=True).digest != asked(source).digest
    night(output, asked(source), "one")
    with pytest.raises(KeyboardInterrupt):
        night(output, forced, "broken", stop_after=3)
    said: list[str] = []
    assert published(night(output, forced, "again", said=said)).run_id == "broken"
    assert said == ["Going on with the run broken: 3 of 5 shards are done"]
    assert published(night(output, forced, "next")).run_id == "next"
    assert {run for run, _ in identities_by_glob(output).values()} == {"next"}


def test_a_forced_night_that_dies_after_its_commit_is_not_paid_for_twice(
    source: Store, output: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    forced = asked(source, force=True)
    with monkeypatch.context() as patch:

        def die(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr("artquant.results.nights.write_manifest", die)
        with pytest.raises(KeyboardInterrupt):
            night(output, forced, "dead")
    said: list[str] = []
    made = night(output, forced, "again", said=said)
    assert isinstance(made, PlanSummary) and made.num_reused == 10
    assert said == ["The run dead was published before it was stopped: this was the end of it. The same command forces another."]
    assert published(night(output, forced, "next")).run_id == "next"


def test_critiques_that_come_a_night_later_take_the_place_of_the_scores(source: Store, output: Store, tmp_path: Path) -> None:
    night(output, asked(source, limit=6), "scores")
    with_texts = asked(source, critique=True)
    assert draft(output, opened(output), with_texts, tmp_path).summary.reasons == {"new": 4, "critique": 6}
    made = published(night(output, with_texts, "texts"))
    assert made.counts == {"planned": 10, "scored": 10, "rejected": 0, "superseded": 6}
    assert set(identities_by_glob(output).values()) == {("texts", "ok")}
    for question in (asked(source), with_texts):
        assert isinstance(night(output, question, "nothing"), PlanSummary), "who has the texts is due with them no more, nor without"
    night(output, asked(source, force=True, limit=1), "forced without")
    assert draft(output, opened(output), with_texts, tmp_path).summary.reasons == {"critique": 1}, "the texts went with their row"


def test_a_critique_that_failed_for_good_is_not_tried_each_night(source: Store, output: Store, tmp_path: Path) -> None:
    source.put("4.jpg", FRAGILE)
    night(output, asked(source), "scores")
    night(output, asked(source, critique=True), "texts")
    assert [run for key, (run, _) in identities_by_glob(output).items() if key[0] == "4.jpg"] == ["scores"], "its score stays"
    assert draft(output, opened(output), asked(source, critique=True), tmp_path).summary.num_planned == 0
    retried = draft(output, opened(output), asked(source, critique=True, retry=frozenset({"poison"})), tmp_path).summary
    assert retried.reasons == {"critique": 1}


def test_what_changes_back_between_the_plan_and_the_scoring_is_there_once(source: Store, output: Store) -> None:
    first = source.get("5.jpg")
    night(output, asked(source), "one")
    source.put("5.jpg", b"another picture")
    made = published(night(output, asked(source), "two", after_planning=lambda work: source.put("5.jpg", first)))
    assert made.counts == {"planned": 1, "scored": 1, "rejected": 0, "superseded": 1}
    assert len(identities_by_glob(output)) == 10


def test_a_manifest_that_names_another_version_of_the_same_bytes_gives_no_row_twice(output: Store, tmp_path: Path) -> None:
    manifest = tmp_path / "art.csv"
    for version in ("v1", "v2", "s3://bucket/0.jpg"):
        manifest.write_text(f"id,uri,etag\n0.jpg,s3://bucket/0.jpg,{version}\n")
        made = published(night(output, asked(Source("manifest", str(manifest))), f"night-{len(version)}"))
    assert made.counts == {"planned": 1, "scored": 1, "rejected": 0, "superseded": 1}
    assert [run for run, _ in identities_by_glob(output).values()] == ["night-17"]


def test_what_is_taken_back_brings_the_old_rows_back_under_new_names_and_forward_again_too(source: Store, output: Store) -> None:
    night(output, asked(source), "one")
    before = identities_by_glob(output)
    night(output, asked(source, force=True, limit=5), "forced")
    forced = identities_by_glob(output)
    used = {info.key for info in output.list("scores")}
    operations.rollback(output)
    assert identities_by_glob(output) == before
    came_back = {file.view for file in last_of(output).files} - used
    assert came_back and all(view.endswith(".s3.parquet") for view in came_back)
    operations.release(output, "forced")
    assert identities_by_glob(output) == forced
    for one in history(output):
        assert all(output.head(file.data).size_bytes == file.num_bytes for file in one.files), "I2"


def test_two_runs_of_one_label_keep_names_of_their_own_when_both_are_written_again(source: Store, output: Store) -> None:
    for limit in (2, None):
        night(output, asked(source, limit=limit), "label")
    before = identities_by_glob(output)
    night(output, asked(source, force=True), "forced")
    operations.rollback(output)
    assert identities_by_glob(output) == before, "both come back"
    operations.forget(output, ["0.jpg", "2.jpg"])
    last = head(output)
    assert last
    assert len({file.view for file in last.files}) == len(last.files)
    assert {name for name, *_ in rows_by_glob(output)} == {f"{number}.jpg" for number in range(10)} - {"0.jpg", "2.jpg"}


@pytest.mark.parametrize("is_sorted", [True, False], ids=["sorted", "as an older program wrote them"])
def test_rewriting_reads_of_other_files_no_more_than_their_ids(is_sorted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = memory_store(Memory())
    files = []
    for number in range(3):
        ids = [f"{number}{at:03d}" for at in range(40)]
        table = pa.table({"artwork_id": ids if is_sorted else ids[::-1], "run_id": ["r"] * 40, "score": [1.0] * 40})
        sink = io.BytesIO()
        pq.write_table(table, sink, row_group_size=10)
        store.put(f"data/{number}", sink.getvalue())
        files.append(DataFile("scores", f"data/{number}", f"scores/{number}.s1.parquet", 40, len(sink.getvalue()), "r"))
    pq.write_table(pa.table({"artwork_id": ["1005", "1015", "2999"]}), tmp_path / "ids")
    read: list[tuple[object, ...]] = []
    read_row_group = pq.ParquetFile.read_row_group

    def watched(self: pq.ParquetFile, number: int, columns: list[str] | None = None) -> pa.Table:
        table = read_row_group(self, number, columns=columns)
        read.append((table.column("artwork_id")[0].as_py()[0], number, columns and tuple(columns)))
        return table

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", watched)
    leaving = Leaving(tmp_path / "ids")
    made = rewrite(store, files, {"scores": leaving}, work="w", snapshot=2, taken={file.view for file in files})
    assert (made.num_rows, list(made.files)) == (2, [files[1]])
    now = made.files[files[1]]
    assert now and (now.num_rows, now.view) == (38, "scores/1.s2.parquet")
    assert len(pq.read_table(store.open_input(now.data))) == 38
    assert {(file, columns) for file, _, columns in read} == {("1", None), ("1", ("artwork_id",)), ("2", ("artwork_id",))}


def test_compacting_keeps_the_rows_in_few_files_of_the_newest_nights_partition(source: Store, output: Store) -> None:
    other = asked(source, identity=Identity("blue", "model-2", "prompt-1", "pre-1", "float32"), limit=4)
    for number, question in enumerate([asked(source, limit=4), other, asked(source, limit=3), asked(source)]):
        source.put("55.jpg" if number == 3 else "0.jpg", b"x")
        night(output, question, f"run-{number}", run_date=f"2026-11-2{number}")
    before, ledgers = identities_by_glob(output), last_of(output).ledger
    made = compact(output, 8)
    assert made and made.kind == "compact" and made.run_id == "run-3" and len(ledgers) == 4 > len(made.ledger) == 1
    assert identities_by_glob(output) == before
    small = {file.view.rpartition("/part-")[0]: file.num_rows for file in made.files}
    assert [file.num_rows for file in made.files if "model=red" in file.view and "compact" in file.view] == [8, 3]
    assert set(small) == {"scores/model=red/run_date=2026-11-23", "scores/model=blue/run_date=2026-11-21"}
    for file in made.files:
        ids = pq.read_table(output.open_input(file.data)).column("artwork_id").to_pylist()
        assert ids == sorted(ids)
    assert compact(output, 8) is None, "nothing is left to be merged"
    assert isinstance(night(output, asked(source), "next"), PlanSummary), "the ledger says the same"


def test_a_run_that_was_compacted_is_taken_back_after_the_compacting(source: Store, output: Store) -> None:
    night(output, asked(source, limit=4), "one")
    one = identities_by_glob(output)
    night(output, asked(source), "two")
    two = identities_by_glob(output)
    compact(output, 20)
    operations.rollback(output)
    assert identities_by_glob(output) == two and len(last_of(output).files) == 4
    operations.rollback(output)
    assert identities_by_glob(output) == one
    operations.release(output, "two")
    assert identities_by_glob(output) == two


def test_compacting_takes_no_run_its_number(source: Store, output: Store, small_shards: None) -> None:
    def meanwhile(_: object) -> None:
        with pytest.raises(AnotherRun, match="is at work on .*, and its work would be lost: compact when it has ended"):
            compact(output, 20)

    night(output, asked(source, limit=4), "one")
    with pytest.raises(KeyboardInterrupt):
        night(output, asked(source), "broken", stop_after=1)
    with pytest.raises(AnotherRun, match="The run broken in .* was broken off, and its work would be lost: run it again as it was"):
        compact(output, 20)
    night(output, asked(source), "again", before_publishing=meanwhile)
    assert compact(output, 20)


def test_files_of_up_to_half_the_rows_are_small_and_one_alone_stays() -> None:
    def file(name: str, num_rows: int) -> DataFile:
        return DataFile("rejects" if name.startswith("rejects") else "scores", name, name, num_rows, 1, "r")

    a, b, c = file("scores/model=m/run_date=1/a", 5), file("scores/model=m/run_date=2/b", 4), file("scores/model=m/run_date=3/c", 6)
    d, e = file("scores/model=n/run_date=9/d", 1), file("rejects/run_date=4/e", 1)
    assert small_files([a, b, c, d, e], 10) == {"scores/model=m/run_date=2": [a, b]}
    assert small_files([a, file("rejects/run_date=4/f", 3), e], 10) == {"rejects/run_date=4": [file("rejects/run_date=4/f", 3), e]}


def test_clean_takes_old_claims_and_leaves_those_that_somebody_may_go_on_with(source: Store, output: Store, small_shards: None) -> None:
    def claims() -> set[str]:
        return {info.key.rpartition("/")[2].partition(".")[0] for info in output.list("_artquant/intents")}

    for name in ("one", "two", "three"):
        source.put(f"{name}.jpg", name.encode())
        night(output, asked(source), name)
    for _ in range(2):
        assert isinstance(night(output, asked(source), "nothing"), PlanSummary)
    nights_and_two_in_vain = {"000000000001-0001", "000000000002-0001", "000000000003-0001", "000000000004-0001", "000000000004-0002"}
    assert claims() == nights_and_two_in_vain
    assert operations.clean(output) == 0, "what is young stays"
    operations.clean(output, timedelta(0))
    assert claims() == {"000000000003-0001", "000000000004-0002"}, "an epoch is used once"
    for number in range(8):
        source.put(f"new-{number}.jpg", bytes([number]))
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            night(output, asked(source), "broken", stop_after=1)
        operations.clean(output, timedelta(0))
    assert {"000000000004-0003", "000000000004-0004"} < claims(), "a run that is broken off is open"
    assert last_of(output).number == 3 and published(night(output, asked(source), "again")).run_id == "broken"


def test_clean_goes_by_the_stores_clock_and_by_how_long_runs_take(source: Store) -> None:
    backend = Memory()
    output = memory_store(backend)
    night(output, asked(source, limit=4), "one", after_planning=lambda work: set_forward(backend, timedelta(hours=40)))
    set_forward(backend, timedelta(hours=30))
    night(output, asked(source), "two")
    assert operations.clean(output) == 0, "a run took 40 hours, so what is 70 hours old may be at work"
    set_forward(backend, timedelta(hours=52))
    assert operations.clean(output) > 0
    left = {info.key.split("/")[2][:3] for info in output.list("_artquant/runs") if "/attempts/" in info.key}
    assert left == {"two"}


def set_forward(backend: Memory, by: timedelta) -> None:
    backend.now += by


def test_clean_reads_the_last_snapshot_again_before_it_deletes(source: Store, output: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    night(output, asked(source, limit=4), "one")

    def meanwhile(store: Store, last: Snapshot) -> Needed:
        monkeypatch.setattr("artquant.results.clean.needed_by", needed_by)
        needed = needed_by(store, last)
        published(night(store, asked(source), "meanwhile"))
        return needed

    monkeypatch.setattr("artquant.results.clean.needed_by", meanwhile)
    assert operations.clean(output, timedelta(0)) > 0
    last = last_of(output)
    assert last.run_id == "meanwhile" and all(output.exists(key) for key in (*last.ledger, *(file.data for file in last.files)))


def test_pages_of_every_run_whose_rows_are_forgotten_go_after_compacting_too(source: Store, output: Store) -> None:
    for name, limit in (("one", 4), ("two", 3), ("three", 3)):
        night(output, asked(source, limit=limit), name)
        output.put(f"runs/{name}/report.html", b"a page")
    compact(output, 20)
    operations.clean(output, timedelta(0))
    forgot = operations.forget(output, ["1.jpg", "9.jpg"])
    assert (forgot.num_rows, forgot.pages) == (2, ("one", "three"))
    assert [info.key for info in output.list("runs") if info.key.endswith("report.html")] == ["runs/two/report.html"]
    output.put("runs/one/report.html", b"a page")
    assert operations.forget(output, ["0.jpg"]).pages == ("one",), "its rows are in the merged file alone"


def test_what_is_forgotten_leaves_staging_of_runs_that_never_ended_and_nothing_else_does(
    source: Store, output: Store, small_shards: None
) -> None:
    night(output, asked(source, limit=4), "one")
    with pytest.raises(KeyboardInterrupt):
        night(output, asked(source), "broken", stop_after=2)
    before = {info.key for info in output.list("_artquant/runs") if "/attempts/" in info.key}
    operations.forget(output, ["4.jpg"])
    gone = before - {info.key for info in output.list("_artquant/runs")}
    assert len(gone) == 1 and len(before) == 4


def test_an_adopted_files_rows_give_way_and_come_back(source: Store, output: Store) -> None:
    (file,) = [file for file in published(night(output, asked(source, limit=3), "one")).files]
    older = memory_store(Memory())
    older.put(file.view, output.get(file.data))
    described = {"kind": "scores", "key": file.view, "num_rows": file.num_rows, "num_bytes": file.num_bytes}
    manifest = {"run_id": "one", "published_at": "2026-11-01", "identity": vars(nights.IDENTITY), "files": [described]}
    older.put("runs/one/manifest.json", json.dumps(manifest).encode())
    opened(older)
    before = identities_by_glob(older)
    made = published(night(older, asked(source, force=True), "forced"))
    assert made.counts["superseded"] == 3 and {run for run, _ in identities_by_glob(older).values()} == {"forced"}
    operations.rollback(older)
    assert identities_by_glob(older) == before


def test_compacting_keeps_columns_that_only_some_files_carry(tmp_path: Path) -> None:
    manifest, output = tmp_path / "m.csv", open_store(str(tmp_path / "out"))
    manifest.write_text("id,uri,etag,title\n1,u,a,Old\n2,v,b,Two\n")
    night(output, asked(Source("manifest", str(manifest)), limit=1), "one")
    night(output, asked(Source("manifest", str(manifest), carry=("title",))), "two")
    before = open_snapshot(output.uri).to_table().sort_by(ARTWORK_ID)
    made = compact(output, 100)
    assert made and len(made.files) == 1 and made.carried == ("title",)
    after = open_snapshot(output.uri).to_table().sort_by(ARTWORK_ID)
    assert after.column("title").to_pylist() == [None, "Two"] and after.to_pylist() == before.to_pylist()
