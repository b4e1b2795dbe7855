"""The score job on the real Ray and the real stores: what is in the output after a night that went well."""

from __future__ import annotations

import base64
import io
import json
import math
import os
from datetime import UTC
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

import artquant
from artquant.core.schema import CRITIQUE_PARTS, LEVELS, PROBABILITY_COLUMNS, CritiqueStatus, reject_schema, score_schema
from artquant.engines.torch_engine import TorchEngine
from artquant.images import square as images
from artquant.model.checkpoint import Checkpoint
from artquant.records.run import THUMBNAIL_SIZE
from artquant.storage.store import Store, open_store
from tests.picture_files import make_picture_files
from tests.pipelines.runs import Run, Scorer, spec_for, spelled_out
from tests.reference import SHARED
from tests.stores import contents

pytestmark = pytest.mark.filterwarnings("ignore:.ray_remote_args", "ignore:The minimum number of concurrent actors", "ignore:Corrupt EXIF")


def test_every_file_is_one_score_or_one_reject_of_the_expected_class(published: Run) -> None:
    files = make_picture_files()
    assert set(published.rows("scores")) == {name for name, (_, refused) in files.items() if refused is None}
    found = {name: row["reject_class"] for name, row in published.rows("rejects").items()}
    assert found == {name: refused.value for name, (_, refused) in files.items() if refused is not None}


def test_pictures_at_hand_get_the_rows_that_the_job_writes(published: Run) -> None:
    model = artquant.load(str(published.spec.model))
    for kind in ("scores", "rejects"):
        written = published.rows(kind)
        rows = model.score([published.source.get(name) for name in written], critique=published.spec.engine.critique)
        for row, expected in zip(rows, written.values(), strict=True):
            assert row == {"artwork_id": row["artwork_id"]} | {name: expected[name] for name in row if name != "artwork_id"}
            assert len(row) == (24 if kind == "scores" else 3)


def test_a_pil_image_is_taken_upright_with_its_profile_and_transparency(published: Run) -> None:
    model = artquant.load(str(published.spec.model))
    for name in ("rgba.png", "cmyk_adobe.jpg", "adobe_rgb.jpg", "orientation_6.jpg", "palette_transparent.png", "grey.png"):
        data = make_picture_files()[name][0]
        of_bytes, of_image = model.score([data, Image.open(io.BytesIO(data))])
        assert of_image["score"] == pytest.approx(of_bytes["score"], abs=0.02), name
        assert (of_image["width"], of_image["height"]) == (of_bytes["width"], of_bytes["height"])


def test_the_files_have_the_declared_schemas(published: Run) -> None:
    files = published.document("manifest.json")["files"]
    assert {file["kind"] for file in files} == {"scores", "rejects"}
    for file in files:
        declared = score_schema() if file["kind"] == "scores" else reject_schema()
        written = pq.read_schema(published.output.open_input(file["key"]))
        assert written.equals(declared)
        assert declared.metadata.items() <= written.metadata.items()


def test_score_rows_hold_what_the_columns_promise(published: Run) -> None:
    listed = {info.key: info for info in published.source.list()}
    rows = published.rows("scores")
    for name, row in rows.items():
        picture = images.load(published.source.get(name), 56)
        probabilities = [row[column] for column in PROBABILITY_COLUMNS]
        assert math.isclose(sum(probabilities), 1, abs_tol=1e-9) and min(probabilities) >= 0
        assert row["level"] == LEVELS[int(np.argmax(probabilities))]
        assert math.isclose(row["score"], np.dot(probabilities, published.report.findings.level_values), abs_tol=1e-9)
        assert (row["width"], row["height"]) == (picture.width, picture.height)
        assert row["etag"] == listed[name].etag != ""
        assert row["uri"] == published.source.uri_of(name)
        assert 0 < row["open_set_mass"] <= 1 and row["entropy"] >= 0
        assert all(isinstance(row[part], str) for part in CRITIQUE_PARTS) and row["critique_status"] != CritiqueStatus.NOT_REQUESTED
    assert len({round(row["score"], 6) for row in rows.values()}) > 10  # the random model tells pictures apart


@pytest.mark.parametrize(("kind", "at"), [("scores", "scored_at"), ("rejects", "rejected_at")])
def test_every_row_says_which_run_made_it_when_and_why(published: Run, kind: str, at: str) -> None:
    report = published.report
    for row in published.rows(kind).values():
        assert (row["reason"], row["run_id"], row["model_id"]) == ("new", report.run_id, report.model_id)
        assert str(row["run_date"]) == published.spec.run_date.isoformat()
        assert row[at].utcoffset() == UTC.utcoffset(None) and report.started_at <= row[at] <= report.finished_at
    if kind == "scores":
        identity = {**published.document("manifest.json")["identity"], "model": report.model_id}
        assert all({name: row[name] for name in identity} == identity for row in published.rows("scores").values())
    else:
        assert all(row["message"] and row["attempts"] >= 1 and row["etag"] for row in published.rows("rejects").values())


def test_current_leads_to_the_manifest_and_its_files(published: Run) -> None:
    pointer, run = json.loads(published.output.get("CURRENT")), f"runs/{published.spec.run_id}"
    assert pointer == {"run_id": published.spec.run_id, "manifest": f"{run}/manifest.json", "snapshot": 1}
    objects = {info.key: info.size_bytes for info in published.output.list()}
    files = json.loads(published.output.get(pointer["manifest"]))["files"]
    assert {key for key in objects if not key.startswith("_artquant/")} == {file["key"] for file in files} | {"CURRENT"} | {
        f"{run}/{name}" for name in ("spec.yaml", "manifest.json", "report.html", "metrics.json")
    }
    for file in files:
        assert file["num_bytes"] == objects[file["key"]]
        assert file["num_rows"] == pq.read_metadata(published.output.open_input(file["key"])).num_rows


def test_the_kept_spec_is_the_runs_spec(published: Run) -> None:
    document = yaml.safe_load(published.output.get(f"runs/{published.spec.run_id}/spec.yaml"))
    assert type(published.spec).model_validate(document) == published.spec


def test_no_written_object_holds_the_secret_key(published: Run) -> None:
    secret = os.environ["AWS_SECRET_ACCESS_KEY"]
    for key, data in contents(published.output).items():
        text = spelled_out(key, data)
        assert secret not in text and (len(text) > 5 or key.endswith((".beat", ".left"))), key


def test_report_metrics_and_manifest_count_what_is_in_the_parquet(published: Run) -> None:
    scores, rejects = published.table("scores"), published.table("rejects")
    counts = {"num_scored": scores.num_rows, "num_rejected": rejects.num_rows, "num_reused": 0}
    metrics, manifest, report = published.document("metrics.json"), published.document("manifest.json"), published.report
    for document in (metrics, manifest, vars(report)):
        assert {name: document[name] for name in counts} == counts
    num_planned = scores.num_rows + rejects.num_rows
    assert num_planned == metrics["num_planned"] == manifest["plan"]["num_planned"] == report.num_planned
    levels, classes = scores.column("level").to_pylist(), rejects.column("reject_class").to_pylist()
    assert metrics["level_counts"] == {level: levels.count(level) for level in LEVELS}
    assert metrics["rejects_by_class"] == {name: classes.count(name) for name in set(classes)}
    assert metrics["num_needs_review"] == sum(scores.column("needs_review").to_pylist())
    assert metrics["mean_score"] == pytest.approx(np.mean(scores.column("score").to_pylist()), abs=1e-4)


def test_the_gallery_shows_each_artwork_with_its_own_picture(published: Run) -> None:
    page, rows = published.output.get(f"runs/{published.spec.run_id}/report.html").decode(), published.rows("scores")
    gallery = published.report.findings.gallery
    assert all(gallery.values())
    assert [work.artwork_id for work in gallery["best"]] == sorted(rows, key=lambda name: (-rows[name]["score"], name))[
        : len(gallery["best"])
    ]
    for work in {work.artwork_id: work for works in gallery.values() for work in works}.values():
        picture = images.load(published.source.get(work.artwork_id), THUMBNAIL_SIZE, simd=False)
        assert work.thumbnail == images.thumbnail(picture, THUMBNAIL_SIZE)
        assert base64.b64encode(work.thumbnail).decode() in page


def test_many_workers_and_small_parts_give_the_same_scores_as_one_and_as_the_engine_alone(
    scorer: Scorer, checkpoint: Path, published: Run, s3_folder: Store, small_shards: None
) -> None:
    spec = spec_for(
        published.source,
        s3_folder,
        model=checkpoint,
        rows_per_file=9,
        fetch={"num_workers": 2, "threads": 3},
        engine={"num_workers": 2, "batch_size": 7, "critique": False},
    )
    run = scorer.score(spec)
    files = run.document("manifest.json")["files"]
    names = {kind: sorted(Path(file["key"]).name for file in files if file["kind"] == kind) for kind in ("scores", "rejects")}
    assert all(found == [f"part-{spec.run_id}-{number:05d}.s1.parquet" for number in range(len(found))] for found in names.values())
    assert len(names["scores"]) > 2

    alone, rows = published.rows("scores"), run.rows("scores")
    assert set(rows) == set(alone) and set(run.rows("rejects")) == set(published.rows("rejects"))
    assert {row["critique_status"] for row in rows.values()} == {"not_requested"}
    engine = TorchEngine.load(Checkpoint.open(str(checkpoint)))
    pixels = [images.load(run.source.get(name), engine.image_size).pixels for name in rows]
    direct = engine.assess(np.stack(pixels)).probabilities @ np.array(engine.scale.values)
    for row, score in zip(rows.values(), direct, strict=True):
        assert row["score"] == pytest.approx(alone[row["artwork_id"]]["score"], abs=1e-5) == pytest.approx(score, abs=1e-5)


@pytest.mark.skipif(not (SHARED / "images").is_dir(), reason="the sample pictures (../shared/images) are not here")
def test_a_folder_of_pictures_becomes_a_folder_that_duckdb_reads(scorer_here: Scorer, checkpoint: Path, tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    source, output = open_store(f"file:{SHARED}/images"), open_store(f"file:{tmp_path}/results")
    run = scorer_here.score(spec_for(source, output, model=checkpoint, exclude="*.tsv", engine={"critique": False}))
    names = {info.key for info in source.list() if not info.key.endswith(".tsv")}
    assert len(names) == 64
    assert set(run.rows("scores")) == names and not run.rows("rejects")
    query = "SELECT artwork_id, model, run_date::VARCHAR, isfinite(score) FROM read_parquet(?, hive_partitioning = true) ORDER BY ALL"
    found = duckdb.execute(query, [f"{tmp_path}/results/scores/**/*.parquet"]).fetchall()
    assert found == [(name, run.report.model_id, run.spec.run_date.isoformat(), True) for name in sorted(names)]
