"""Rollback, release, abandon, forget and clean: what readers see, and what the next night does."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from artquant.core.errors import AnotherRun, UserError
from artquant.core.identity import Identity
from artquant.results import layout, operations
from artquant.results.nights import opened
from artquant.results.plan import PlanSummary
from artquant.results.snapshots import Snapshot, head, history
from artquant.results.view import repair, tombstone
from artquant.storage.store import Store
from tests.results.nights import asked, night, rows_by_glob


@pytest.fixture
def source(store: Store) -> Store:
    collection = store.child("art")
    for number in range(7):
        collection.put(f"{number}.jpg", b"x" * (number + 1))
    return collection


@pytest.fixture
def output(store: Store, source: Store) -> Store:
    """Two nights: seven artworks, and three more."""
    output = store.child("out")
    night(output, asked(source), "one")
    for number in range(7, 10):
        source.put(f"{number}.jpg", b"y" * number)
    night(output, asked(source), "two")
    return output


def test_rollback_is_seen_by_glob_and_forward_again_too(output: Store) -> None:
    both = rows_by_glob(output)
    assert len(both) == 10
    assert operations.rollback(output).kind == "rollback"
    assert {run for _, _, run in rows_by_glob(output)} == {"one"} and len(rows_by_glob(output)) == 7
    assert operations.release(output, "two").number == 4
    assert rows_by_glob(output) == both
    assert [one.kind for one in history(output)] == ["run", "run", "rollback", "release"]


def test_a_named_run_is_taken_back_once_however_often_it_is_said(output: Store) -> None:
    newest, before = head(output), len(history(output))
    with pytest.raises(UserError, match=f"The newest run of .* is {newest.run_id}, not one"):
        operations.rollback(output, "one")
    first = operations.rollback(output, newest.run_id)
    assert operations.rollback(output, newest.run_id) == first and len(history(output)) == before + 1


def test_a_stale_writer_cannot_undo_a_rollback(output: Store) -> None:
    second = history(output)[1]
    operations.rollback(output)
    for file in second.files:
        with pytest.raises(Exception, match="another writer was first"):
            output.put_if_absent(file.view, output.get(file.data))  # as a slow copier does
    repair(output)
    assert {run for _, _, run in rows_by_glob(output)} == {"one"}
    (gone,) = [file for file in second.files if file.run_id == "two"]
    assert output.get(gone.view) == tombstone("scores")


def test_what_was_taken_back_is_due_again(output: Store, source: Store) -> None:
    operations.rollback(output)
    again = night(output, asked(source), "three")
    assert isinstance(again, Snapshot) and again.counts["scored"] == 3
    assert len(rows_by_glob(output)) == 10
    with pytest.raises(UserError, match="two was not taken back|Something was published after two was taken back"):
        operations.release(output, "two")


def test_a_model_that_was_taken_back_is_not_published_again_in_silence(output: Store, source: Store) -> None:
    other = asked(source, identity=Identity("blue", "model-2", "prompt-1", "pre-1", "float32"))
    night(output, other, "blue")
    operations.rollback(output)
    with pytest.raises(UserError, match="The run blue was taken back, and it was the first of blue: score with another model, publish"):
        night(output, other, "blue-again")
    operations.release(output, "blue")
    assert isinstance(night(output, other, "nothing"), PlanSummary)


def test_all_runs_can_be_taken_back_one_by_one(output: Store) -> None:
    operations.rollback(output)
    operations.rollback(output)
    assert rows_by_glob(output) == []
    with pytest.raises(UserError, match="holds no run that could be taken back"):
        operations.rollback(output)


def test_a_broken_run_is_given_up_and_the_next_plans_anew(store: Store, source: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artquant.results.plan.SMALL_SHARD", 2)
    output = store.child("other")
    with pytest.raises(UserError, match="there is nothing to give up"):
        operations.abandon(output)
    with pytest.raises(KeyboardInterrupt):
        night(output, asked(source), "broken", stop_after=1)
    with pytest.raises(AnotherRun):
        night(output, asked(source, limit=2), "next")
    assert operations.abandon(output) == "broken"
    made = night(output, asked(source, limit=2), "next")
    assert isinstance(made, Snapshot) and made.run_id == "next"


def test_a_run_that_is_alive_is_not_given_up(store: Store, source: Store) -> None:
    output = store.child("other")

    def give_up(_: object) -> None:
        with pytest.raises(AnotherRun, match="is at work: stop it first"):
            operations.abandon(output)

    night(output, asked(source), "one", before_publishing=give_up)


def test_what_is_forgotten_is_in_no_row_and_no_kept_object_and_is_not_scored_again(output: Store, source: Store) -> None:
    output.put("runs/two/report.html", b"a page with a picture of 8.jpg")
    answers = {name: f"{layout.answers_prefix(name)}/key.json" for name in ("8.jpg", "3.jpg")}
    for key in answers.values():
        output.put(key, b"what a model said of it")
    snapshot, num_rows, pages = operations.forget(output, ["8.jpg", "2.jpg", "unknown.jpg"])
    assert not output.exists(answers["8.jpg"]) and output.exists(answers["3.jpg"])
    assert num_rows == 2 and snapshot.kind == "forget"
    assert {name for name, _, _ in rows_by_glob(output)} == {f"{number}.jpg" for number in range(10)} - {"8.jpg", "2.jpg"}
    opened(output)
    for info in output.list():
        if info.key.endswith(".parquet") and "ledger" not in info.key:
            assert b"8.jpg" not in output.get(info.key) and b"2.jpg" not in output.get(info.key), info.key
    assert not output.exists("runs/two/report.html")
    nothing = night(output, asked(source), "three")
    assert isinstance(nothing, PlanSummary) and nothing.counts == {"reused": 8, "forgotten": 2}
    source.put("8.jpg", b"another content")
    assert isinstance(night(output, asked(source), "four"), PlanSummary)


def test_what_was_before_a_forgotten_artwork_cannot_be_had_back(output: Store) -> None:
    operations.forget(output, ["8.jpg"])
    operations.forget(output, ["8.jpg"])
    before = rows_by_glob(output)
    with pytest.raises(UserError, match="Snapshot 3 cannot be had back|Snapshot 2 cannot be had back"):
        operations.rollback(output)
        operations.rollback(output)
    assert {name for name, *_ in rows_by_glob(output)} == {name for name, *_ in before}


def test_clean_deletes_what_no_snapshot_needs_and_nothing_young(output: Store) -> None:
    before = rows_by_glob(output)
    assert operations.clean(output) == 0
    assert operations.clean(output, timedelta(0)) > 0
    assert not [info.key for info in output.list("_artquant/runs") if "/attempts/" in info.key or "/shards/" in info.key]
    assert rows_by_glob(output) == before and repair(output) == head(output)
    last = head(output)
    assert last and all(output.exists(file.data) for file in last.files) and all(output.exists(key) for key in last.ledger)
    operations.rollback(output)
    operations.release(output, "two")
    assert rows_by_glob(output) == before


def test_clean_leaves_a_broken_runs_shards(store: Store, source: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artquant.results.plan.SMALL_SHARD", 2)
    output = store.child("other")
    night(output, asked(source, limit=2), "one")
    with pytest.raises(KeyboardInterrupt):
        night(output, asked(source), "broken", stop_after=1)
    operations.clean(output, timedelta(0))
    said: list[str] = []
    assert isinstance(night(output, asked(source), "again", said=said), Snapshot)
    assert said and "Going on with the run broken" in said[0]


def test_a_slow_copier_that_wakes_after_a_rollback_brings_nothing_back(output: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    last = head(output)
    assert last
    (file,) = [file for file in last.files if file.run_id == "two"]
    output.delete(file.view)  # as it was before the copy
    seen: list[set[str]] = []
    get = Store.get

    def watching(store: Store) -> Snapshot | None:
        seen.append({run for *_, run in rows_by_glob(store)})
        return head(store)

    def slow_get(self: Store, key: str) -> bytes:
        data = get(self, key)
        if key == file.data:
            monkeypatch.setattr(Store, "get", get)
            operations.rollback(output)
            monkeypatch.setattr(
                "artquant.results.view.head", lambda store: seen.append({run for *_, run in rows_by_glob(store)}) or head(store)
            )
        return data

    monkeypatch.setattr(Store, "get", slow_get)
    repair(output)
    assert seen and all(runs == {"one"} for runs in seen)


def test_what_an_older_program_published_is_adopted_where_it_lies_and_cannot_be_taken_back(output: Store, source: Store) -> None:
    snapshots = history(output)
    older = output.child("older")
    for file in snapshots[0].files:
        older.put(file.view, output.get(file.data))
    files = [{"kind": file.kind, "key": file.view, "num_rows": file.num_rows, "num_bytes": file.num_bytes} for file in snapshots[0].files]
    manifest = {"run_id": "one", "published_at": "2026-11-01", "identity": vars(asked(source).identity), "files": files}
    older.put("runs/one/manifest.json", json.dumps(manifest).encode())
    before = rows_by_glob(older)
    adopted = opened(older)
    assert adopted and (adopted.kind, adopted.run_id, len(before)) == ("adopted", "one", 7)
    made = night(older, asked(source), "two")
    assert isinstance(made, Snapshot) and made.counts["scored"] == 3, "what was scored then is not scored again"
    operations.rollback(older)
    with pytest.raises(UserError, match="holds no run that could be taken back"):
        operations.rollback(older)
    assert rows_by_glob(older) == before
