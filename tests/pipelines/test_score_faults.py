"""The score job when objects change under it, artworks break the engine, and (on the real Ray) workers die."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from artquant.core.errors import RunFailed, UserError
from artquant.engines import Engine
from artquant.engines.golden import GoldenSet
from artquant.model.location import GOLDEN
from artquant.storage.store import Store
from tests.pipelines.engines import POISON_RED, REDS, Deadly, Dying, Patient, RefusingEngine, red_picture, red_score, unopenable
from tests.pipelines.runs import Run, Scorer, read_by_glob, spec_for
from tests.stores import contents

APART = pytest.mark.parametrize("fetch", [{"num_workers": 0}, {"num_workers": 1}], ids=["in one process", "apart"])


def scores_of(run: Run) -> dict[str, float]:
    return {name: row["score"] for name, row in run.rows("scores").items()}


def right_scores(*without: str) -> dict[str, Any]:
    return {name: pytest.approx(red_score(red)) for name, red in REDS.items() if name not in without}


def test_an_object_that_went_after_the_plan_is_missing_and_one_that_was_replaced_is_scored_as_it_is_now(
    scorer_here: Scorer, s3_folder: Store
) -> None:
    source = s3_folder.child("collection")
    for name, red in REDS.items():
        source.put(name, red_picture(red))
    before = {info.key: info.etag for info in source.list()}

    def change() -> None:
        source.delete(["010.png", "020.png"])
        source.put("030.png", red_picture(240))

    run = scorer_here.score(spec_for(source, s3_folder.child("results")), between=change)
    rejects, rows = run.rows("rejects"), run.rows("scores")
    assert {name: row["reject_class"] for name, row in rejects.items()} == {"010.png": "missing", "020.png": "missing"}
    assert scores_of(run) == right_scores("010.png", "020.png", "030.png") | {"030.png": pytest.approx(red_score(240))}
    now = {info.key: info.etag for info in source.list()}
    assert {name: row["etag"] for name, row in rows.items()} == now
    assert now["030.png"] != before["030.png"]
    assert rejects["010.png"]["etag"] == before["010.png"]


def test_an_engine_that_fails_the_models_golden_set_takes_no_work(
    scorer: Scorer, source: Store, output: Store, checkpoint: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(checkpoint, tmp_path / "model")
    (model / GOLDEN).parent.mkdir()
    golden = GoldenSet.of(np.zeros((4, 56, 56, 3), np.uint8), np.eye(5)[:4], "float32")  # no model says this of four equal pictures
    (model / GOLDEN).write_bytes(golden.to_bytes())
    with pytest.raises(RunFailed, match=r"^The .* engine on node \S+ \(cpu, float32\) fails the model's golden set: .*\.$"):
        scorer.score(spec_for(source, output, model=model, engine={"critique": False}, run_id="refused"))
    assert not output.exists("CURRENT") and not list(output.list("scores"))
    metrics = json.loads(output.get("runs/refused/metrics.json"))
    assert metrics["status"] == "failed" and metrics["is_model_checked"] is None


def test_a_run_with_too_many_rejects_fails_and_leaves_yesterday_as_it_was(scorer_here: Scorer, source: Store, output: Store) -> None:
    scorer_here.score(spec_for(source, output, run_id="yesterday", run_date="2026-11-20"))
    before, rows = contents(output), read_by_glob(output, "scores")
    assert rows.num_rows == len(REDS)
    for name in list(REDS)[: len(REDS) // 2]:
        source.put(name, b"<html>")
    with pytest.raises(RunFailed, match=r"20 of 20 .*max_rejected_fraction=0\.4"):
        scorer_here.score(spec_for(source, output, run_id="tonight", max_rejected_fraction=0.4))
    after = contents(output)
    assert {key: data for key, data in after.items() if not key.startswith(("runs/tonight", "_artquant/"))} == {
        key: data for key, data in before.items() if not key.startswith("_artquant/")
    }
    assert {key for key in after if key.startswith("_artquant/snapshots")} == {"_artquant/snapshots/000000000001.json"}
    rejected = pq.read_table(io.BytesIO(after["runs/tonight/rejects.parquet"])).column("reject_class").to_pylist()
    assert rejected == ["not_an_image"] * 20
    assert read_by_glob(output, "scores").equals(rows) and read_by_glob(output, "rejects").num_rows == 0
    assert json.loads(after["CURRENT"])["run_id"] == "yesterday"
    assert "20 of 20 artworks were rejected" in after["runs/tonight/report.html"].decode()
    assert json.loads(after["runs/tonight/metrics.json"])["status"] == "failed"
    assert "runs/tonight/manifest.json" not in after


def test_a_run_with_too_many_rejects_ends_before_all_are_tried_and_keeps_them(
    scorer: Scorer, source: Store, output: Store, small_shards: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in REDS:
        source.put(name, b"<html>")
    monkeypatch.setattr("artquant.results.tally.EARLY_AFTER", 12)
    spec = spec_for(source, output, run_id="early", min_rejected=5, engine={"batch_size": 4})
    with pytest.raises(RunFailed, match=r"(\d+) of the first \1 artworks were rejected \(not_an_image \1\)") as failure:
        scorer.score(spec)
    num = int(str(failure.value).split()[0])
    assert 12 <= num < len(REDS)
    rejects = pq.read_table(io.BytesIO(output.get("runs/early/rejects.parquet")))
    assert rejects.num_rows == num and len(set(rejects.column("artwork_id").to_pylist())) == num
    metrics = json.loads(output.get("runs/early/metrics.json"))
    assert (metrics["status"], metrics["rejects_by_class"]) == ("failed", {"not_an_image": num})
    assert "of the first" in output.get("runs/early/report.html").decode()
    for name, red in REDS.items():
        source.put(name, red_picture(red))
    assert scores_of(scorer.score(spec_for(source, output, run_id="mended"))) == right_scores(), "the same command plans anew"


@APART
def test_an_artwork_that_the_engine_refuses_is_one_poison_reject(scorer_here: Scorer, source: Store, output: Store, fetch: dict) -> None:
    source.put("poison.png", red_picture(POISON_RED))
    run = scorer_here.score(spec_for(source, output, engine={"batch_size": 16}, fetch=fetch), RefusingEngine)
    assert scores_of(run) == right_scores()
    (reject,) = run.rows("rejects").values()
    assert (reject["artwork_id"], reject["reject_class"]) == ("poison.png", "poison")
    assert "the poison was swallowed" in reject["message"]


@APART
def test_a_worker_that_dies_once_loses_and_doubles_nothing(
    scorer: Scorer, source: Store, output: Store, tmp_path: Path, small_shards: None, fetch: dict
) -> None:
    flag = tmp_path / "died"
    run = scorer.score(spec_for(source, output, engine={"batch_size": 4}, fetch=fetch, rows_per_file=8), Dying(once=flag))
    assert flag.exists()
    assert scores_of(run) == right_scores()
    assert not run.rows("rejects")
    assert run.report.num_scored == run.report.findings.num_scored == len(REDS)


def test_a_shard_is_stored_while_the_next_ones_are_scored(scorer: Scorer, source: Store, output: Store, small_shards: None) -> None:
    """Shards are of eight, batches of four, and two tasks of one shard each are at work: after twenty pictures two shards are done."""
    folder = output.uri.removeprefix("file:")
    run = scorer.score(spec_for(source, output, engine={"batch_size": 4}), Patient(num=20, folder=folder))
    assert scores_of(run) == right_scores() and not run.rows("rejects")


@pytest.mark.parametrize(
    "fetch, never_answers",
    [({"num_workers": 0}, False), ({"num_workers": 1}, False), ({"num_workers": 1}, True)],
    ids=["dies, in one process", "dies, apart", "never answers"],
)
def test_an_artwork_that_takes_its_worker_down_costs_itself_alone(
    scorer: Scorer, source: Store, output: Store, fetch: dict, never_answers: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("poison.png", "also.png"):
        source.put(name, red_picture(POISON_RED))
    spec = spec_for(source, output, engine={"batch_size": 16}, fetch=fetch, stall_minutes=0.05 if never_answers else 15.0)
    run = scorer.score(spec, Deadly(POISON_RED, never_answers))
    assert scores_of(run) == right_scores()
    rejects = run.rows("rejects")
    assert {name: row["reject_class"] for name, row in rejects.items()} == {"poison.png": "poison", "also.png": "poison"}
    why = "no answer within 0.05 minutes" if never_answers else "the process died"
    assert {row["message"] for row in rejects.values()} == {f"{why} while scoring this artwork alone"}
    page = output.get(f"runs/{run.spec.run_id}/report.html").decode().replace("<wbr>", "")
    assert "poison.png" in page and "also.png" in page
    said = capfd.readouterr().err
    assert f"A worker is lost ({why}) with " in said and "poison.png is rejected as poison" in said


@pytest.mark.parametrize("kept_from", ["report.html", "metrics.json"])
def test_what_fails_after_publishing_is_said_and_the_run_stays_published(
    scorer_here: Scorer, source: Store, output: Store, kept_from: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    put = Store.put

    def put_unless(self: Store, key: str, data: bytes) -> str:
        if key.endswith(kept_from):
            raise UserError(f"Cannot write {key}: the disk is full.")
        return put(self, key, data)

    monkeypatch.setattr(Store, "put", put_unless)
    run = scorer_here.score(spec_for(source, output))
    assert scores_of(run) == right_scores() and run.report.status == "published"
    assert json.loads(output.get("CURRENT"))["run_id"] == run.spec.run_id
    assert "artquant: The run is published, but " in capfd.readouterr().err


def test_a_page_that_cannot_be_written_does_not_hide_why_the_run_failed(
    scorer_here: Scorer, source: Store, output: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = Store.put

    def put_unless(self: Store, key: str, data: bytes) -> str:
        if key.endswith("report.html"):
            raise UserError("Cannot write report.html: the disk is full.")
        return put(self, key, data)

    monkeypatch.setattr(Store, "put", put_unless)
    source.put("web.png", b"<html>")
    with pytest.raises(RunFailed, match="1 of 41 artworks were rejected"):
        scorer_here.score(spec_for(source, output, max_rejected_fraction=0, min_rejected=1))
    assert not output.exists("CURRENT")


@APART
@pytest.mark.parametrize("open_engine", [Dying(once=None), partial(os._exit, 1)], ids=["at work", "while it opens"])
def test_an_engine_that_always_dies_ends_the_run_with_a_sentence(
    scorer: Scorer, source: Store, output: Store, open_engine: Callable[[], Engine], fetch: dict
) -> None:
    with pytest.raises(RunFailed, match=r"nothing was published: A worker was lost \d times in a row while (scoring|opening)"):
        scorer.score(spec_for(source, output, fetch=fetch), open_engine)
    assert not output.exists("CURRENT") and not list(output.list("scores"))


def test_an_engine_that_cannot_be_opened_ends_the_run_with_its_error(scorer: Scorer, source: Store, output: Store) -> None:
    with pytest.raises(RunFailed, match="the weights are locked away") as failure:
        scorer.score(spec_for(source, output, run_id="locked"), unopenable)
    assert "\n" not in str(failure.value)
    assert not output.exists("CURRENT") and not list(output.list("scores"))
    assert "the weights are locked away" in output.get("runs/locked/report.html").decode()
