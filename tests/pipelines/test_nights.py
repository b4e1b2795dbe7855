"""Nights on Ray: a manifest whose pictures lie in two places, and a second night that scores what is new."""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path

import pytest

from artquant.config import ResolvedScoreSpec
from artquant.core.errors import UserError
from artquant.core.schema import RejectClass
from artquant.pipelines.score import asked_of, claimed_night
from artquant.results import open_snapshot, operations
from artquant.results.nights import draft, opened
from artquant.results.plan import PlanSummary
from artquant.results.snapshots import head
from artquant.storage.store import Store, open_store
from tests.pipelines.engines import RED, REDS, red_picture, red_score
from tests.pipelines.runs import Scorer, read_by_glob, spec_for

pytestmark = pytest.mark.filterwarnings("ignore:.ray_remote_args")


def test_two_nights_over_a_manifest(scorer: Scorer, s3_folder: Store, tmp_path: Path) -> None:
    score_two_nights(scorer, s3_folder, tmp_path, {"num_workers": 1})


def test_two_nights_over_a_manifest_in_one_process(scorer_here: Scorer, s3_folder: Store, tmp_path: Path) -> None:
    score_two_nights(scorer_here, s3_folder, tmp_path, {"num_workers": 0})


def score_two_nights(scorer: Scorer, s3_folder: Store, tmp_path: Path, fetch: dict) -> None:
    here, there = open_store(str(tmp_path / "art")), s3_folder.child("art")
    lines = ["id,uri,etag"]
    for number, (name, red) in enumerate(list(REDS.items())[:12]):
        store = here if number % 2 else there
        store.put(name, red_picture(red))
        lines.append(f"{name},{store.uri_of(name)},v1")
    lines.append(f"nowhere.png,{there.uri_of('nowhere.png')},v1")
    manifest, output = tmp_path / "manifest.csv", s3_folder.child("out")
    manifest.write_text("\n".join(lines))
    spec = spec_for(here, output, input=None, manifest=str(manifest), fetch=fetch | {"threads": 4})
    first = scorer.score(spec)
    expected = {name: pytest.approx(red_score(red)) for name, red in list(REDS.items())[:12]}
    assert {name: row["score"] for name, row in first.rows("scores").items()} == expected
    assert {name: row["reject_class"] for name, row in first.rows("rejects").items()} == {"nowhere.png": "missing"}

    name, red = list(REDS.items())[20]
    here.put(name, red_picture(red))
    manifest.write_text("\n".join([*lines, f"{name},{here.uri_of(name)},v1"]))
    second = scorer.score(spec.model_copy(update={"run_id": "second"}))
    assert (second.report.num_planned, second.report.num_scored, second.report.num_reused) == (2, 1, 12)  # and the missing one again
    assert second.report.reasons == {"new": 1, "retry": 1}
    assert read_by_glob(output, "scores").num_rows == 13
    assert second.rows("scores")[name]["reason"] == "new"


def test_a_night_of_an_inventory_and_one_of_a_manifest_that_carries_columns_and_retries(scorer: Scorer, s3_folder: Store) -> None:
    art, output = s3_folder.child("art"), s3_folder.child("out")
    reds = dict(list(REDS.items())[:6])
    for name, red in reds.items():
        art.put(name, red_picture(red))
    art.put("notes.png", b"no picture")
    bucket, _, prefix = art.uri.removeprefix("s3://").partition("/")
    infos = list(art.list())
    lines = [f'"{bucket}","{prefix}/{info.key}","{info.size_bytes}","{info.etag}"' for info in infos]
    s3_folder.put("inventory/1.csv.gz", gzip.compress("\n".join(lines).encode()))
    document = {"sourceBucket": bucket, "destinationBucket": f"arn:aws:s3:::{bucket}", "fileFormat": "CSV"}
    document |= {"fileSchema": "Bucket, Key, Size, ETag", "files": [{"key": f"{s3_folder.uri.split('/', 3)[3]}/inventory/1.csv.gz"}]}
    s3_folder.put("inventory/manifest.json", json.dumps(document).encode())
    spec = spec_for(art, output, input=None, inventory=s3_folder.uri_of("inventory/manifest.json"), max_rejected_fraction=1)
    first = scorer.score(spec)
    assert {name: row["score"] for name, row in first.rows("scores").items()} == {
        f"{prefix}/{name}": pytest.approx(red_score(red)) for name, red in reds.items()
    }
    assert {name: row["reject_class"] for name, row in first.rows("rejects").items()} == {f"{prefix}/notes.png": "not_an_image"}

    rows = [f"{prefix}/{info.key},{art.uri_of(info.key)},{info.etag},No. {number}" for number, info in enumerate(infos)]
    s3_folder.put("m.csv", "\n".join(["id,uri,etag,title", *rows, f"{prefix}/new.png,{art.uri_of('000.png')},n,New"]).encode())
    again = spec_for(art, output, input=None, manifest=s3_folder.uri_of("m.csv"), run_id="second", carry=["title"], max_rejected_fraction=1)
    assert "retry" not in planned(again).reasons, "it is rejected for good"
    second = scorer.score(again.model_copy(update={"retry": (RejectClass.NOT_AN_IMAGE,)}))
    assert second.report.reasons == {"new": 1, "retry": 1}
    table = open_snapshot(output.uri).to_table()
    found = dict(zip(table.column("artwork_id").to_pylist(), table.column("title").to_pylist(), strict=True))
    assert found == {f"{prefix}/{name}": None for name in reds} | {f"{prefix}/new.png": "New"}
    rates = head(output).rates  # type: ignore[union-attr]
    assert rates["driver_peak_bytes"] > 1e8 and rates["worker_peak_bytes"] > 1e7, "what the plan says of memory was measured"


def planned(spec: ResolvedScoreSpec) -> PlanSummary:
    store = open_store(spec.output)
    with tempfile.TemporaryDirectory() as folder:
        return draft(store, opened(store), asked_of(spec, RED), Path(folder)).summary


def test_a_night_without_anything_due_needs_no_engine(scorer_here: Scorer, source: Store, output: Store) -> None:
    scorer_here.score(spec_for(source, output))
    with claimed_night(spec_for(source, output, run_id="second"), RED) as work:
        assert isinstance(work, PlanSummary) and (work.num_planned, work.num_reused) == (0, len(REDS))


def test_what_decides_the_rows_makes_another_run_and_nothing_else_does(source: Store, output: Store) -> None:
    spec = spec_for(source, output)

    def digest(**changes: object) -> str:
        return asked_of(spec_for(source, output, **changes), RED).digest

    assert digest() == asked_of(spec, RED).digest
    same = {"run_id": "x", "run_date": "2020-01-01", "rows_per_file": 3, "stall_minutes": 1, "price_per_hour": 3, "stale_seconds": 5}
    assert digest(**same, engine={"batch_size": 2, "num_workers": 3}, fetch={"threads": 9}) == digest()
    others = [
        {"exclude": ["*.tsv"]},
        {"limit": 3},
        {"retry": ["poison"]},
        {"force": True},
        {"review": {"max_score_std": 1.0}},
        {"fetch": {"max_pixels": 99}},
        {"engine": {"critique": False}},
        {"input": None, "manifest": "m.csv"},
        {"input": None, "manifest": "m.csv", "carry": ["title"]},
        {"input": [source.uri, "/more"]},
        {"input": None, "inventory": "s3://b/manifest.json"},
    ]
    assert len({digest(), *(digest(**other) for other in others)}) == 1 + len(others)


def test_a_model_that_was_taken_back_is_scored_with_when_that_is_accepted(scorer_here: Scorer, source: Store, output: Store) -> None:
    scorer_here.score(spec_for(source, output))
    operations.rollback(output)
    with pytest.raises(UserError, match="say accept_rolled_back=true"), claimed_night(spec_for(source, output), RED):
        pass
    with claimed_night(spec_for(source, output, accept_rolled_back=True), RED) as work:
        assert work.summary.num_planned == len(REDS)
