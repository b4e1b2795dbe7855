"""The evaluate job on the real Ray and the real stores: a small painted collection that people have rated."""

from __future__ import annotations

import io
import json
import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from artquant.agreement import metrics
from artquant.config import ResolvedAnnotationSpec, ResolvedEvaluateSpec
from artquant.core.errors import RunFailed, UserError
from artquant.core.schema import CRITIQUE_PARTS, PROBABILITY_COLUMNS, evaluation_schema
from artquant.engines.theory import TheoryEngine
from artquant.engines.torch_engine import TorchEngine
from artquant.images import square as images
from artquant.model.checkpoint import Checkpoint
from artquant.paintings import jpeg, paint
from artquant.storage.store import Store, open_store
from tests.pipelines.here import without_ray
from tests.recipes import recipe_for

pytestmark = pytest.mark.filterwarnings("ignore:.ray_remote_args", "ignore:The minimum number of concurrent actors")

NUM, THEORY_LIMIT = 30, 10
ON_A_GPU = {"num_gpus": 1, "device": "cpu", "critique": False}  # a logical one
DAMAGED, GONE, LATE = "damaged.jpg", "gone.jpg", "gone-later.jpg"
UNUSABLE = {DAMAGED, GONE, LATE}


@dataclass(frozen=True)
class Rated:
    """Pictures in the bucket, and what people said of them; one is damaged, one is not there, one will go."""

    pictures: Store
    rows: dict[str, dict[str, Any]]
    annotations: ResolvedAnnotationSpec


@pytest.fixture(scope="module")
def rated(s3_store: Store) -> Rated:
    root = s3_store.child(f"rated-{secrets.token_hex(6)}")
    pictures, rows = root.child("pictures"), {}
    for seed in range(NUM):
        painting = paint(seed)
        name = f"{painting.latents.subject}/{seed:03d}.jpg"
        pictures.put(name, jpeg(painting, 96))
        rows[name] = {
            "artwork_id": name,
            "score": painting.score,
            "score_std": painting.score_std if seed % 3 else None,
            **{part: getattr(painting, part) if seed % 2 else None for part in CRITIQUE_PARTS},
            "light": painting.latents.light,
            "title": f"number {seed}",
            "seed": seed,
        }
    pictures.put(DAMAGED, b"<!doctype html>")
    pictures.put("nobody-rated.jpg", jpeg(paint(99), 96))
    pictures.put(LATE, jpeg(paint(77), 96))
    for name in UNUSABLE:
        rows[name] = {**rows[next(iter(rows))], "artwork_id": name}
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows.values())), sink)
    root.put("ratings.parquet", sink.getvalue())
    return Rated(pictures, rows, ResolvedAnnotationSpec(uri=root.uri_of("ratings.parquet"), images=pictures.uri))


def spec_for(rated: Rated, output: Store, checkpoint: Path, **changes: Any) -> ResolvedEvaluateSpec:
    fixed = {"output": output.uri, "model": str(checkpoint), "fetch": {"num_workers": 1, "threads": 4}, "bootstrap_rounds": 50}
    return ResolvedEvaluateSpec.model_validate(
        {"annotations": rated.annotations, "split": "all", "registry": output.uri_of("models"), **fixed, **changes}
    )


@dataclass(frozen=True)
class Evaluated:
    spec: ResolvedEvaluateSpec
    output: Store
    evaluation: Any

    def read(self, name: str) -> bytes:
        return self.output.get(f"evaluations/{self.spec.run_id}/{name}")

    def rows(self, name: str) -> dict[str, dict[str, Any]]:
        rows = pq.read_table(io.BytesIO(self.read(name))).to_pylist()
        assert len({row["artwork_id"] for row in rows}) == len(rows)
        return {row["artwork_id"]: row for row in rows}

    @property
    def document(self) -> dict[str, Any]:
        return json.loads(self.read("metrics.json"))


def evaluate(spec: ResolvedEvaluateSpec, between: Callable[[], object] = lambda: None) -> Evaluated:
    """What the job does once Ray is up; `between` happens when the artworks are chosen."""
    from artquant.pipelines.evaluate import choose, run_evaluation

    chosen = choose(spec)
    between()
    evaluation = run_evaluation(spec, recipe_for(spec), chosen)
    return Evaluated(spec, open_store(str(spec.output)), evaluation)


@pytest.fixture(scope="module")
def evaluated(local_ray: None, rated: Rated, checkpoint: Path, s3_store: Store) -> Evaluated:
    output = s3_store.child(f"evaluated-{secrets.token_hex(6)}")
    spec = spec_for(rated, output, checkpoint, run_id="first", theory_limit=THEORY_LIMIT, num_misses=3, engine=ON_A_GPU)
    late = rated.pictures.get(LATE)
    try:
        return evaluate(spec, between=lambda: rated.pictures.delete(LATE))
    finally:
        rated.pictures.put(LATE, late)


@pytest.fixture(scope="module")
def engine(checkpoint: Path) -> TorchEngine:
    return TorchEngine.load(Checkpoint.open(str(checkpoint)))


def test_every_annotated_artwork_has_a_score_or_is_named_with_the_reason(evaluated: Evaluated, rated: Rated) -> None:
    scores, rejects = evaluated.rows("scores.parquet"), evaluated.rows("rejects.parquet")
    assert set(scores) == set(rated.rows) - UNUSABLE
    found = {name: row["reject_class"] for name, row in rejects.items()}
    assert found == {DAMAGED: "not_an_image", GONE: "missing", LATE: "missing"}
    document = evaluated.document
    assert document["rejects_by_class"] == {"not_an_image": 1, "missing": 2}
    assert (document["num_planned"], document["num_artworks"], document["num_rejected"]) == (NUM + 2, NUM, 3)
    assert document["annotations"]["num_vanished"] == 1 and document["annotations"]["num_artworks"] == NUM + 3
    assert (evaluated.evaluation.report.num_artworks, evaluated.evaluation.report.num_rejected) == (NUM, 3)


def test_nothing_is_published_and_nothing_is_left_in_the_staging_area(evaluated: Evaluated) -> None:
    names = ("spec.yaml", "scores.parquet", "rejects.parquet", "report.html", "metrics.json")
    assert {info.key for info in evaluated.output.list()} == {f"evaluations/first/{name}" for name in names}
    assert ResolvedEvaluateSpec.model_validate(yaml.safe_load(evaluated.read("spec.yaml"))) == evaluated.spec


def test_each_row_joins_the_models_answer_to_what_people_said_of_the_same_picture(
    evaluated: Evaluated, rated: Rated, engine: TorchEngine
) -> None:
    assert pq.read_schema(io.BytesIO(evaluated.read("scores.parquet"))).equals(evaluation_schema())
    for name, row in evaluated.rows("scores.parquet").items():
        pixels = images.load(rated.pictures.get(name), engine.image_size).pixels[None]
        probabilities = engine.assess(pixels).probabilities[0]
        assert np.allclose([row[column] for column in PROBABILITY_COLUMNS], probabilities, atol=1e-4)
        assert row["predicted_score"] == row["score"] == pytest.approx(probabilities @ engine.scale.values, abs=1e-3)
        said = rated.rows[name]
        assert (row["human_score"], row["human_std"]) == (said["score"], said["score_std"])
        levels = engine.scale.level(np.array([said["score"], row["score"]])).tolist()
        assert [row["human_level"], row["predicted_level"]] == levels


def test_the_figures_are_those_of_the_written_rows(evaluated: Evaluated) -> None:
    rows, document = list(evaluated.rows("scores.parquet").values()), evaluated.document
    predicted, human = (np.array([row[name] for row in rows]) for name in ("predicted_score", "human_score"))
    assert [row["fitted_score"] for row in rows] == pytest.approx(metrics.logistic_fit(predicted, human).tolist())
    slow = {
        "srcc": metrics.srcc(predicted, human),
        "plcc": np.corrcoef(predicted, human)[0, 1],
        "mae": np.abs(predicted - human).mean(),
        "rmse": math.sqrt(((predicted - human) ** 2).mean()),
        "level_accuracy": np.mean([row["predicted_level"] == row["human_level"] for row in rows]),
    }
    assert {name: document["metrics"][name]["value"] for name in slow} == pytest.approx(slow)
    assert set(document["metrics"]) == {*slow, "krcc", "plcc_fitted", "rmse_fitted"}
    assert all(interval["low"] <= interval["high"] for interval in document["metrics"].values())
    assert document["spread"]["num"] == sum(row["human_std"] is not None for row in rows) == 20
    assert document["open_set_mass"]["mean"] == pytest.approx(np.mean([row["open_set_mass"] for row in rows]))
    assert sum(one["num"] for one in document["calibration"]) == NUM and [one["share"] for one in document["errors"]] == [0.5, 0.8, 0.95]


def test_texts_with_few_values_are_looked_at_apart(evaluated: Evaluated, rated: Rated) -> None:
    groups = evaluated.document["subgroups"]
    lights = [said["light"] for name, said in rated.rows.items() if name not in UNUSABLE]
    assert {group["column"] for group in groups} == {"light"}
    assert {group["value"]: group["num"] for group in groups} == {light: lights.count(light) for light in set(lights)}


def test_the_theorys_terms_are_the_networks_own_for_so_many_artworks_with_texts(
    evaluated: Evaluated, rated: Rated, engine: TorchEngine
) -> None:
    rows = evaluated.rows("scores.parquet")
    asked = {name: row for name, row in rows.items() if row["description_nll"] is not None}
    assert len(asked) == THEORY_LIMIT and all(rated.rows[name]["perception"] for name in asked)
    theory = TheoryEngine(engine)
    for name, row in asked.items():
        pixels = images.load(rated.pictures.get(name), engine.image_size).pixels[None]
        nll, tokens = theory.description_nll(pixels, [rated.rows[name]])
        assert (row["description_nll"], row["num_description_tokens"]) == (pytest.approx(nll[0], rel=1e-4), tokens[0])
    drawn = sum(row["other_description_nll"] != pytest.approx(row["description_nll"], rel=1e-6) for row in asked.values())
    assert drawn == THEORY_LIMIT, "another picture makes another likelihood"
    found = evaluated.document["theory"]
    gains = [row["other_description_nll"] - row["description_nll"] for row in asked.values()]
    assert found["generation"]["nats"]["value"] == pytest.approx(np.mean(gains))
    tokens = sum(row["num_description_tokens"] for row in asked.values())
    assert found["generation_per_token"]["value"] == pytest.approx(sum(gains) / tokens)
    assert found["num"] == THEORY_LIMIT


def test_the_worst_misses_are_on_the_page_with_their_pictures(evaluated: Evaluated) -> None:
    rows = evaluated.rows("scores.parquet")
    errors = {name: abs(row["predicted_score"] - row["human_score"]) for name, row in rows.items()}
    worst = sorted(errors, key=lambda name: -errors[name])[:3]
    shown = evaluated.evaluation.report.misses
    assert [miss.artwork_id for miss in shown] == worst == [miss["artwork_id"] for miss in evaluated.document["misses"]]
    assert all(miss.thumbnail.startswith(b"\xff\xd8\xff") for miss in shown)
    page = evaluated.read("report.html").decode()
    assert all(name.rpartition("/")[2] in page for name in worst) and page.count("data:image/jpeg") >= 3


def test_too_many_rejects_fail_the_run_and_say_where_the_reasons_are(checkpoint: Path, tmp_path: Path) -> None:
    pictures = open_store(f"file:{tmp_path}/pictures")
    for name in "abc":
        pictures.put(name, b"no picture " + name.encode())
    (tmp_path / "ratings.csv").write_text("artwork_id,score\na,3\nb,4\nc,5\n")
    rated = Rated(pictures, {}, ResolvedAnnotationSpec(uri=str(tmp_path / "ratings.csv"), images=pictures.uri))
    output = open_store(f"file:{tmp_path}/out")
    with without_ray(), pytest.raises(RunFailed, match=r"3 of 3 artworks got no score.*evaluations/second/rejects.parquet"):
        evaluate(spec_for(rated, output, checkpoint, run_id="second"))
    assert {info.key for info in output.list()} == {"evaluations/second/spec.yaml", "evaluations/second/rejects.parquet"}
    pictures.put("a", jpeg(paint(1), 96))
    with without_ray(), pytest.raises(RunFailed, match=r"1 of 3 artworks got a score, and it takes 2"):
        evaluate(spec_for(rated, output, checkpoint, run_id="third", max_rejected_fraction=1.0))


def choose(rated: Rated, checkpoint: Path, **changes: Any):
    from artquant.pipelines.evaluate import choose

    return choose(spec_for(rated, open_store("file:/nowhere"), checkpoint, **changes))


def test_the_splits_part_the_annotated_artworks_that_are_there(rated: Rated, checkpoint: Path) -> None:
    halves = rated.annotations.model_copy(update={"validation_fraction": 0.3, "test_fraction": 0.3})
    parts = [choose(rated, checkpoint, annotations=halves, split=split) for split in ("train", "validation", "test")]
    ids = [set(part.annotations.column("artwork_id").to_pylist()) for part in parts]
    assert set.union(*ids) == set(rated.rows) - {GONE} and sum(map(len, ids)) == NUM + 2
    assert all(part.vanished == [GONE] for part in parts)
    few = choose(rated, checkpoint, annotations=halves, split="train", limit=4)
    assert few.annotations.num_rows == 4 and set(few.content) < ids[0] and few.facts["num_in_split"] == len(ids[0])


def test_what_cannot_be_evaluated_is_refused_with_a_sentence(rated: Rated, checkpoint: Path, s3_folder: Store) -> None:
    def said(**changes: Any) -> str:
        with pytest.raises(UserError) as error:
            choose(rated, checkpoint, **changes)
        assert str(error.value).endswith(".") and "\n" not in str(error.value)
        return str(error.value)

    assert "'style'" in said(subgroups=["light", "style"]) and "light, title, seed" in said(subgroups=["style"])
    empty = rated.annotations.model_copy(update={"test_fraction": 0.0})
    assert "The split 'test' holds 0 of the 32" in said(annotations=empty, split="test")
    s3_folder.put("other.jpg", b"")
    elsewhere = rated.annotations.model_copy(update={"images": s3_folder.uri})
    assert f"is below {s3_folder.uri}" in said(annotations=elsewhere)
