"""What the jobs do with the settings that say where things are and which model is meant, up to where Ray would be started."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from artquant.cli import places
from artquant.cli.main import main
from artquant.cli.places import evaluate_places, score_places, train_places
from artquant.config import EvaluateSpec, ScoreSpec, TrainSpec
from artquant.core.errors import UserError
from artquant.model.checkpoint import Checkpoint
from artquant.paintings import jpeg, paint
from artquant.registry import Registry
from artquant.storage.store import open_store
from tests.checkpoints import save_random_checkpoint

NUM = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, what people said of them, and a model."""
    folder = tmp_path_factory.mktemp("jobs")
    for seed in range(NUM):
        open_store(f"file:{folder}/pictures").put(f"{seed}.jpg", jpeg(paint(seed), 32))
    (folder / "ratings.csv").write_text("artwork_id,score\n" + "".join(f"{seed}.jpg,{1 + seed % 9}\n" for seed in range(NUM)))
    save_random_checkpoint(folder / "model")
    return folder


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTQUANT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


JOBS = {
    "score": {"input": "{folder}/pictures", "output": "{out}"},
    "evaluate": {"annotations.uri": "{folder}/ratings.csv", "annotations.images": "{folder}/pictures", "output": "{out}"},
    "train": {"annotations.uri": "{folder}/ratings.csv", "annotations.images": "{folder}/pictures", "output": "{out}"},
}
SPECS: dict[str, tuple[type, Callable[[Any], Any]]] = {
    "score": (ScoreSpec, score_places),
    "evaluate": (EvaluateSpec, evaluate_places),
    "train": (TrainSpec, train_places),
}
RUNS = {
    "score": "artquant.pipelines.score.run_score",
    "evaluate": "artquant.pipelines.evaluate.run_evaluation",
    "train": "artquant.pipelines.train.run_training",
}


def arguments(job: str, folder: Path, out: Path, **more: Any) -> list[str]:
    given = {key: value.format(folder=folder, out=out) for key, value in JOBS[job].items()}
    return [job, *(f"{key}={value}" for key, value in {**given, **more}.items())]


@pytest.mark.parametrize("job", JOBS)
def test_the_checkpoint_and_the_base_that_are_named_are_opened(
    job: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def open_checkpoint(*given: Any) -> Checkpoint:
        opened.append(given)
        raise UserError("It was looked at.")

    monkeypatch.setattr("artquant.engines.recipe.open_checkpoint", open_checkpoint)
    assert main(arguments(job, folder, tmp_path / "out", model="an-adapter", base="its-base")) == 2
    assert opened == [("an-adapter", "its-base")]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path) -> Callable[..., tuple[Any, ...]]:
    """`started(job, **settings)`: what the pipeline is given, once Ray would be up."""

    def started(job: str, **more: Any) -> tuple[Any, ...]:
        seen: list[tuple[Any, ...]] = []

        def run(*given: Any) -> None:
            seen.append(given)
            raise UserError("It was looked at.")

        monkeypatch.setattr("artquant.cli.local_ray.running_ray", nullcontext)
        monkeypatch.setattr(RUNS[job], run)
        out = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
        settings = {"model": folder / "model", "annotations.validation_fraction": 0.3, "annotations.test_fraction": 0.3, **more}
        if job == "score":
            settings = {key: value for key, value in settings.items() if not key.startswith("annotations")}
        assert main(arguments(job, folder, out, **settings)) == 2 and seen
        return seen[0]

    return started


@pytest.mark.parametrize("job", ["score", "evaluate"])
def test_workers_open_the_model_with_the_engine_and_the_preprocessing_of_the_settings(
    job: str, started: Callable[..., tuple[Any, ...]], folder: Path
) -> None:
    plain, turned = (
        started(job, **more)[1] for more in ({}, {"engine.dtype": "bfloat16", "engine.batch_size": 5, "fetch.full_decode": "true"})
    )
    digest = Checkpoint.open(str(folder / "model")).model_digest
    assert plain.identity.model_digest == digest == turned.identity.model_digest
    assert (plain.identity.dtype, turned.identity.dtype) == ("float32", "bfloat16") and turned.engine.batch_size == 5
    assert plain.identity.preprocessing_digest != turned.identity.preprocessing_digest


def test_a_training_is_judged_by_the_engine_and_the_preprocessing_of_its_settings(
    started: Callable[..., tuple[Any, ...]], folder: Path
) -> None:
    changes = {"engine.batch_size": 5, "run_id": "mine", "fit.batch_size": 2, "fetch.full_decode": "true"}
    spec, splits, checkpoint, _, recipe_of = started("train", **changes)
    recipe = recipe_of(str(folder / "model"))
    assert recipe.engine.batch_size == 5 and recipe.identity == checkpoint.identity("float32", full_decode=True)
    assert spec.run_id == "mine" and checkpoint.location == str(folder / "model")
    assert len(splits.train) + len(splits.validation) + len(splits.test) == NUM


def test_a_training_without_a_model_starts_from_nothing(started: Callable[..., tuple[Any, ...]]) -> None:
    assert started("train", model="null", **{"fit.batch_size": 2})[2] is None


@pytest.mark.parametrize("job", JOBS)
def test_the_current_model_is_that_of_the_registry_that_is_named(job: str, folder: Path, tmp_path: Path) -> None:
    named, usual = Registry(open_store(f"{tmp_path}/named")), Registry(open_store(f"{tmp_path}/out/models"))
    for registry, model_id in ((named, "theirs"), (usual, "ours")):
        registry.publish(model_id, folder / "model", {"model_digest": "d"})
        registry.promote(model_id)
    kind, places_of = SPECS[job]
    given = {**{key: value.format(folder=folder, out=tmp_path / "out") for key, value in JOBS[job].items()}, "model": "current"}
    annotations = {key.partition(".")[2]: given.pop(key) for key in list(given) if key.startswith("annotations.")}
    document = {**given, **({"annotations": annotations} if annotations else {})}
    for registry, address, more in ((named, "named", {"registry": f"{tmp_path}/named"}), (usual, "out/models", {})):
        with places_of(kind.model_validate({**document, **more})) as (spec, _):
            assert spec.model == registry.current_uri() and spec.registry == f"file://{tmp_path}/{address}"


@pytest.mark.parametrize("job", ["evaluate", "train"])
def test_so_many_paintings_of_the_sample_are_rated_where_no_annotations_are_given(
    job: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    painted = []

    def fill(bucket: Any, num: int) -> tuple[str, str]:
        painted.append(num)
        return bucket.uri_of("ratings"), bucket.uri_of("gallery")

    @contextmanager
    def bucket() -> Any:
        store = open_store(f"{tmp_path}/bucket")
        store.put("gallery/a.jpg", b"a picture")
        yield store, "the command"

    monkeypatch.setattr(places, "fill_annotations", fill)
    monkeypatch.setattr(places, "embedded_bucket", bucket)
    kind, places_of = SPECS[job]
    with places_of(kind(sample_size=123)) as (spec, _):
        assert painted == [123]
        assert spec.output.endswith("/bucket/results") and spec.registry.endswith("/bucket/models")
        assert spec.annotations.uri.endswith("/ratings") and spec.annotations.images.endswith("/gallery")
