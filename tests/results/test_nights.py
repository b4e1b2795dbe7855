"""Nights: what is due, that nothing is scored twice, and that a broken night goes on."""

from __future__ import annotations

import json
from pathlib import Path

import deltalake
import duckdb
import pyarrow as pa
import pytest

from artquant.core.errors import AnotherRun, RunFailed, UserError
from artquant.core.identity import Identity
from artquant.core.schema import score_schema
from artquant.results import open_snapshot
from artquant.results.build import check_files
from artquant.results.catalog import Source
from artquant.results.claims import last_intent
from artquant.results.nights import draft, opened
from artquant.results.plan import PlanSummary, _PlanWriter
from artquant.results.readers import export_delta
from artquant.results.snapshots import Snapshot, head, history
from artquant.storage.store import Store, open_store
from tests.results.nights import BROKEN, asked, night, rows_by_glob


@pytest.fixture
def source(store: Store) -> Store:
    collection = store.child("art")
    for number in range(10):
        collection.put(f"{number}.jpg", b"x" * (number + 1))
    return collection


@pytest.fixture
def output(store: Store) -> Store:
    return store.child("out")


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artquant.results.plan.SMALL_SHARD", 2)


def published(made: Snapshot | PlanSummary) -> Snapshot:
    assert isinstance(made, Snapshot)
    return made


def test_the_second_night_scores_what_is_new_or_changed_and_nothing_twice(source: Store, output: Store) -> None:
    first = published(night(output, asked(source), "one"))
    assert first.counts == {"planned": 10, "scored": 10, "rejected": 0}
    for number in range(10, 20):
        source.put(f"{number}.jpg", b"y" * number)
    source.put("5.jpg", b"another picture")
    source.delete("7.jpg")
    second = published(night(output, asked(source), "two"))
    assert second.counts == {"planned": 11, "scored": 11, "rejected": 0}
    rows = rows_by_glob(output)
    assert len(rows) == 21 == len({(name, etag) for name, etag, _ in rows})
    assert {run for name, _, run in rows if name == "5.jpg"} == {"one", "two"}
    assert [run for name, _, run in rows if name == "7.jpg"] == ["one"], "rows of what is gone stay"
    nothing = night(output, asked(source), "three")
    assert isinstance(nothing, PlanSummary) and (nothing.num_planned, nothing.num_reused) == (0, 19)
    assert head(output) == second, "a night without anything due writes no snapshot"


def test_each_row_says_why_it_was_due(source: Store, output: Store, tmp_path: Path) -> None:
    night(output, asked(source), "one")

    def reasons(**identity: str) -> dict[str, int]:
        question = asked(source, identity=Identity(**{**vars(asked(source).identity), **identity}))
        return draft(output, opened(output), question, tmp_path).summary.reasons

    assert reasons() == {}
    assert reasons(model_id="another name of the same weights") == {}
    assert reasons(model_digest="model-2") == {"model": 10}
    assert reasons(prompt_digest="prompt-2") == {"prompt": 10}
    assert reasons(preprocessing_digest="pre-2") == {"preprocessing": 10}
    assert reasons(dtype="bfloat16") == {"dtype": 10}
    source.put("new.jpg", b"new")
    source.put("0.jpg", b"changed")
    assert reasons() == {"new": 1, "changed": 1}
    assert reasons(dtype="bfloat16") == {"new": 1, "changed": 1, "dtype": 9}


def test_a_model_that_comes_back_scores_nothing_that_it_scored_before(source: Store, output: Store) -> None:
    night(output, asked(source), "one")
    other = asked(source, identity=Identity("red", "model-2", "prompt-1", "pre-1", "float32"))
    assert published(night(output, other, "two")).counts["scored"] == 10
    assert isinstance(night(output, asked(source), "three"), PlanSummary)


def test_transient_rejects_are_tried_again_and_permanent_ones_when_the_object_changes(source: Store, output: Store, tmp_path: Path) -> None:
    source.put("broken.jpg", BROKEN)
    source.put("slow.jpg", b"slow")
    first = published(night(output, asked(source), "one"))
    assert first.counts == {"planned": 12, "scored": 10, "rejected": 2}
    made = draft(output, opened(output), asked(source), tmp_path).summary
    assert made.reasons == {"retry": 1} and made.counts == {"reused": 10, "rejected for good": 1}
    again = draft(output, opened(output), asked(source, retry=frozenset({"not_an_image"})), tmp_path).summary
    assert again.reasons == {"retry": 2}
    source.put("slow.jpg", b"quick")
    source.put("broken.jpg", b"mended")
    assert published(night(output, asked(source), "two")).counts["scored"] == 2
    assert isinstance(night(output, asked(source), "three"), PlanSummary)


def test_gone_is_what_tonights_collection_has_no_more(source: Store, output: Store, store: Store, tmp_path: Path) -> None:
    night(output, asked(source), "one")
    other = store.child("more")
    other.put("another.jpg", b"a")
    assert draft(output, opened(output), asked(other), tmp_path).summary.counts == {}, "another input makes nothing gone"
    limited = draft(output, opened(output), asked(source, limit=3), tmp_path).summary
    assert limited.counts == {"reused": 10}
    source.delete("3.jpg")
    assert draft(output, opened(output), asked(source), tmp_path).summary.counts == {"reused": 9, "gone": 1}


def test_an_input_that_joins_or_leaves_makes_nothing_gone(source: Store, output: Store, store: Store, tmp_path: Path) -> None:
    night(output, asked(source), "one")
    more = store.child("more")
    more.put("another.jpg", b"a")
    both = Source("input", source.uri, others=(more.uri,))
    assert draft(output, opened(output), asked(both), tmp_path).summary.counts == {"reused": 10}
    with_others = published(night(output, asked(both), "two"))
    assert with_others.counts["scored"] == 1 and {one["uri"] for one in with_others.collections.values()} == {source.uri, more.uri}
    assert draft(output, opened(output), asked(source), tmp_path).summary.counts == {"reused": 10}, "what is not listed is not gone"
    assert draft(output, opened(output), asked(more), tmp_path).summary.counts == {"reused": 1}
    more.delete("another.jpg")
    more.put("a third.jpg", b"a")
    assert draft(output, opened(output), asked(both), tmp_path).summary.counts == {"reused": 10, "gone": 1}
    assert asked(both).digest == asked(Source("input", more.uri, others=(source.uri,))).digest != asked(source).digest


def test_an_artwork_that_went_to_another_input_is_not_gone_where_it_was(source: Store, output: Store, store: Store, tmp_path: Path) -> None:
    night(output, asked(source), "one")
    more = store.child("more")
    more.put("3.jpg", b"painted over")
    source.delete("3.jpg")
    night(output, asked(more), "two")
    assert draft(output, opened(output), asked(source), tmp_path).summary.counts == {"reused": 9}


@pytest.mark.parametrize(
    ("first", "then", "reasons"),
    [
        ("id,uri\n1,u", "id,uri\n1,u", {}),
        ("id,uri,etag\n1,u,a", "id,uri,etag\n1,u,b", {"changed": 1}),
        ("id,uri,etag\n1,u,a", "id,uri,etag\n1,u,", {}),
        ("id,uri,etag\n1,u,", "id,uri,etag\n1,u,a", {"changed": 1}),
        ("id,uri,etag,size\n1,u,,5", "id,uri,etag,size\n1,u,,5", {}),
        ("id,uri,etag,size\n1,u,,5", "id,uri,etag,size\n1,u,,6", {"changed": 1}),
        ("id,uri,etag,size\n1,u,a,5", "id,uri,etag,size\n1,u,a,6", {}),
    ],
)
def test_what_a_manifest_says_of_the_content_decides_what_changed(first: str, then: str, reasons: dict[str, int], tmp_path: Path) -> None:
    manifest, output = tmp_path / "m.csv", open_store(str(tmp_path / "out"))
    manifest.write_text(first)
    question = asked(Source("manifest", str(manifest)))
    night(output, question, "one")
    manifest.write_text(then)
    assert draft(output, opened(output), question, tmp_path).summary.reasons == reasons


def test_carried_columns_cost_no_scoring_and_come_with_the_next_row(tmp_path: Path) -> None:
    manifest, output = tmp_path / "m.csv", open_store(str(tmp_path / "out"))
    manifest.write_text("id,uri,etag,title,artist\n1,u,a,Old,Ada\n2,u,b,Two,\n")
    plain, carrying = Source("manifest", str(manifest)), Source("manifest", str(manifest), carry=("title",))
    night(output, asked(plain, limit=1), "one")
    published(night(output, asked(carrying), "two"))
    manifest.write_text("id,uri,etag,title,artist\n1,u,a,New,Ada\n2,u2,b2,Two again,\n")
    both = Source("manifest", str(manifest), carry=("artist", "title"))
    assert asked(plain).digest != asked(carrying).digest != asked(both).digest
    last = published(night(output, asked(both), "three"))
    assert last.counts["scored"] == 1 and last.carried == ("title", "artist")
    rows = open_snapshot(output.uri).to_table().sort_by([("run_id", "ascending")]).to_pylist()
    found = {row["run_id"]: (row["artwork_id"], row["title"], row["artist"]) for row in rows}
    assert found == {"one": ("1", None, None), "two": ("2", "Two", None), "three": ("2", "Two again", "")}
    assert open_snapshot(output.uri, as_of=1).to_table().column_names == score_schema().names
    query = f"SELECT run_id, artwork_id, title, artist FROM read_parquet('{tmp_path}/out/scores/**/*.parquet', union_by_name = true)"
    assert {run: rest for run, *rest in duckdb.sql(query).fetchall()} == {run: list(row) for run, row in found.items()}
    target, _ = export_delta(output.uri)
    table = deltalake.DeltaTable(target).to_pyarrow_table()
    assert {row["run_id"]: (row["artwork_id"], row["title"], row["artist"]) for row in table.to_pylist()} == found


def test_the_delta_table_gains_the_columns_of_a_later_night(tmp_path: Path) -> None:
    manifest, output = tmp_path / "m.csv", open_store(str(tmp_path / "out"))
    manifest.write_text("id,uri,title\n1,u,One\n2,u,Two\n")
    night(output, asked(Source("manifest", str(manifest)), limit=1), "one")
    export_delta(output.uri)
    night(output, asked(Source("manifest", str(manifest), carry=("title",))), "two")
    target, number = export_delta(output.uri)
    assert number == 2
    assert sorted(deltalake.DeltaTable(target).to_pyarrow_table().column("title").to_pylist(), key=str) == [None, "Two"]


def test_a_broken_night_goes_on_and_scores_no_shard_again(source: Store, output: Store, small_shards: None) -> None:
    with pytest.raises(KeyboardInterrupt):
        night(output, asked(source), "broken", stop_after=3, run_date="2026-11-26")
    assert head(output) is None and not list(output.list("scores"))
    done = {info.key: info.etag for info in output.list("_artquant/runs") if "/shards/" in info.key}
    assert len(done) == 3
    said: list[str] = []
    snapshot = published(night(output, asked(source), "again", said=said))
    assert said == ["Going on with the run broken: 3 of 5 shards are done"]
    after = {info.key: info.etag for info in output.list("_artquant/runs") if "/shards/" in info.key}
    assert len(after) == 5 and after.items() >= done.items()
    assert snapshot.run_id == "broken" and all("run_date=2026-11-26" in file.view for file in snapshot.files)
    assert len(rows_by_glob(output)) == 10


def test_a_broken_night_that_was_asked_for_something_else_is_named(source: Store, output: Store, small_shards: None) -> None:
    with pytest.raises(KeyboardInterrupt):
        night(output, asked(source), "broken", stop_after=1)
    with pytest.raises(AnotherRun, match="The run broken in .* was asked for something else: run it again as it was, or give it up"):
        night(output, asked(source, limit=4), "other")


def test_a_broken_night_with_nothing_done_stands_in_nobodys_way(source: Store, output: Store, small_shards: None) -> None:
    with pytest.raises(KeyboardInterrupt):
        night(output, asked(source), "broken", stop_after=0)
    assert published(night(output, asked(source, limit=4), "other")).counts["scored"] == 4


def test_a_second_run_is_told_at_its_start(source: Store, output: Store) -> None:
    def second(_: object) -> None:
        with pytest.raises(AnotherRun, match=r"The run first on .* \(process \d+\) is at work on .*/out"):
            night(output, asked(source), "second")

    assert published(night(output, asked(source), "first", before_publishing=second)).run_id == "first"


def test_who_finds_the_number_taken_says_who_was_first_and_leaves_nothing_visible(source: Store, output: Store) -> None:
    def another(work: object) -> None:
        intent = last_intent(output, 1)
        assert intent
        output.put("_artquant/intents/000000000001-0001.end", b"")  # as if somebody had given it up
        published(night(output, asked(source, limit=2), "quick"))

    with pytest.raises(AnotherRun, match="The run quick was first on .*: nothing of this run is visible"):
        night(output, asked(source), "slow", before_publishing=another)
    assert {run for _, _, run in rows_by_glob(output)} == {"quick"}
    assert json.loads(output.get("CURRENT"))["run_id"] == "quick"


@pytest.mark.parametrize("name", ["scores-00001", "rejects-00000", "ledger-00000"])
@pytest.mark.parametrize("lost", [1, 20_000])
def test_a_file_that_the_store_holds_in_part_is_found_before_the_commit(
    source: Store, output: Store, monkeypatch: pytest.MonkeyPatch, name: str, lost: int
) -> None:
    source.put("broken.jpg", BROKEN)
    put_file = Store.put_file

    def put_part(self: Store, key: str, path: Path) -> str:
        if name not in key:
            return put_file(self, key, path)
        return self.put(key, path.read_bytes()[: -min(lost, path.stat().st_size - 1)])

    with monkeypatch.context() as patch:
        patch.setattr(Store, "put_file", put_part)
        with pytest.raises(RunFailed, match=rf"{name}\.parquet .* read back|{name}\.parquet is not what was written"):
            night(output, asked(source), "one")
    assert head(output) is None and not list(output.list("scores"))
    assert published(night(output, asked(source), "again")).counts == {"planned": 11, "scored": 10, "rejected": 1}


def test_files_whose_ids_do_not_increase_are_found(source: Store, output: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = published(night(output, asked(source), "one"))
    check_files(output, snapshot.files, 10)
    with pytest.raises(RunFailed, match="the ids of .* do not increase"):
        check_files(output, snapshot.files[::-1], 10)
    with pytest.raises(RunFailed, match="11 artworks were due, and the files hold 10 rows"):
        check_files(output, snapshot.files, 11)


def test_a_plan_that_holds_an_artwork_twice_is_not_published(source: Store, output: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the comparison with the ledger had gone wrong."""
    add = _PlanWriter.add
    monkeypatch.setattr(_PlanWriter, "add", lambda self, due: add(self, pa.concat_tables([due.slice(0, 1), due])))
    with pytest.raises(RunFailed, match="the ids of shard 0 do not increase"):
        night(output, asked(source), "one")
    assert head(output) is None


def test_snapshots_are_a_chain_and_each_file_is_there(source: Store, output: Store) -> None:
    for number in range(4):
        source.put(f"new-{number}.jpg", b"n")
        night(output, asked(source), f"night-{number}")
    chain = history(output)
    assert [(snapshot.number, snapshot.parent) for snapshot in chain] == [(1, 0), (2, 1), (3, 2), (4, 3)]
    sizes = {info.key: info.size_bytes for info in output.list()}
    assert all(sizes[file.data] == sizes[file.view] == file.num_bytes for file in chain[-1].files)


def test_current_and_the_view_are_repaired_and_never_trusted(source: Store, output: Store) -> None:
    snapshot = published(night(output, asked(source), "one"))
    before = rows_by_glob(output)
    output.put("CURRENT", b"{nonsense")
    output.delete(snapshot.files[0].view)
    assert opened(output) == snapshot
    assert rows_by_glob(output) == before and json.loads(output.get("CURRENT"))["snapshot"] == 1


def test_a_newer_output_is_refused(source: Store, output: Store) -> None:
    night(output, asked(source), "one")
    output.put("_artquant/format.json", b'{"format": 9, "min_reader": 9, "min_writer": 9}')
    with pytest.raises(UserError, match="is written in format 9, and this program knows format 1: install a newer artquant-jobs"):
        opened(output)


def test_many_nights_keep_a_small_ledger(source: Store, output: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artquant.results.build.MAX_LEDGERS", 2)
    for number in range(5):
        source.put(f"new-{number}.jpg", b"n")
        snapshot = published(night(output, asked(source), f"night-{number}"))
        assert len(snapshot.ledger) <= 2
    assert isinstance(night(output, asked(source), "last"), PlanSummary)
