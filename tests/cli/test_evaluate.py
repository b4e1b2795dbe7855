"""The evaluate job's entry: what a person can get wrong is refused before Ray is started, and the table says what was found."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from artquant.agreement.held_out import ErrorInterval, Pit
from artquant.agreement.information import Information
from artquant.agreement.metrics import Interval
from artquant.agreement.records import EvaluationReport, Theory
from artquant.cli.evaluate import print_evaluation
from artquant.cli.main import main
from artquant.cli.places import evaluate_places
from artquant.config import EvaluateSpec
from artquant.core.errors import UserError
from artquant.paintings import jpeg, paint
from artquant.storage.embedded import EmbeddedStore
from artquant.storage.store import Store, open_store
from tests.checkpoints import save_random_checkpoint
from tests.cli.conftest import Refused


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ratings and pictures of four paintings, a model, and an output in which the evaluation `taken` lies."""
    folder = tmp_path_factory.mktemp("evaluate")
    for seed in range(4):
        open_store(f"file:{folder}/pictures").put(f"{seed}.jpg", jpeg(paint(seed), 64))
    (folder / "ratings.csv").write_text("artwork_id,score\n" + "".join(f"{seed}.jpg,{seed + 2}\n" for seed in range(4)))
    save_random_checkpoint(folder / "model")
    open_store(f"file:{folder}/out").put("evaluations/taken/spec.yaml", b"")
    return folder


GOOD = {
    "annotations.uri": "{folder}/ratings.csv",
    "annotations.images": "{folder}/pictures",
    "output": "{folder}/out",
    "model": "{folder}/model",
    "split": "all",
}
CASES: dict[str, tuple[dict[str, str | None], list[str]]] = {
    "ratings without pictures": ({"annotations.images": None}, ["annotations.images is needed"]),
    "pictures without ratings": ({"annotations.uri": None}, ["annotations.uri is needed"]),
    "no such split": ({"split": "exam"}, ["split", "'exam'", "'test'"]),
    "no such setting": ({"annotation.uri": "x"}, ["'annotation.uri'", "did you mean annotations.uri?"]),
    "levels that are no scale": ({"annotations.level_values": "[5,4,3,3,1]"}, ["annotations.level_values", "strictly falling"]),
    "no such ratings": ({"annotations.uri": "{folder}/none.csv"}, ["none.csv"]),
    "no such pictures": ({"annotations.images": "{folder}/nowhere"}, ["/nowhere"]),
    "no such model": ({"model": "{folder}/no-model"}, ["no-model", "there is no folder"]),
    "no such column": ({"subgroups": "school"}, ["'school'"]),
    "nothing in the split": ({"split": "test", "annotations.test_fraction": "0"}, ["'test'", "0 of the 4"]),
    "an evaluation that exists": ({"run_id": "taken"}, ["/out", "taken", "another run_id"]),
    "another store beside the embedded one": (
        {"annotations.uri": None, "annotations.images": None, "output": None, "model": "s3://museum/model"},
        ["s3://museum/model", "output"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_is_refused_with_exit_code_2_and_one_sentence(name: str, folder: Path, refused: Refused) -> None:
    changes, wanted = CASES[name]
    before = {str(path) for path in folder.rglob("*")}
    arguments = [f"{key}={value.format(folder=folder)}" for key, value in {**GOOD, **changes}.items() if value is not None]
    said = refused(["evaluate", *arguments])
    assert all(part in said for part in wanted), said
    assert {str(path) for path in folder.rglob("*")} == before


@pytest.mark.parametrize("lacking", ["annotations.uri", "annotations.images", "output"])
def test_a_cluster_elsewhere_is_sent_nothing_without_all_addresses(lacking: str, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:9")
    arguments = [f"{key}=s3://museum/x" for key in ("annotations.uri", "annotations.images", "output") if key != lacking]
    assert main(["evaluate", *arguments]) == 2
    assert f"{lacking} is needed where the job runs on a cluster" in capsys.readouterr().err


def test_without_a_model_the_registrys_current_one_is_evaluated(tmp_path: Path, s3_server: EmbeddedStore, s3_folder: Store) -> None:
    from artquant.registry import Registry

    annotations = {"uri": "r.csv", "images": str(tmp_path)}
    spec = EvaluateSpec.model_validate({"annotations": annotations, "output": str(tmp_path), "registry": s3_folder.uri})

    def model(spec: EvaluateSpec) -> str | None:
        with evaluate_places(spec) as (placed, _):
            return placed.model

    assert model(spec) is None
    with pytest.raises(UserError, match="no current model"):
        model(spec.model_copy(update={"model": "current"}))
    registry = Registry(s3_folder)
    registry.publish("first", save_random_checkpoint(tmp_path / "first"), {"model_digest": "d"})
    assert model(spec) is None  # published, not promoted
    registry.promote("first")
    assert model(spec) == registry.uri_of("first")
    assert model(spec.model_copy(update={"model": "elsewhere"})) == "elsewhere"
    assert model(spec.model_copy(update={"model": "current"})) == registry.uri_of("first")


def test_the_table_says_the_figures_their_intervals_and_who_is_missing(tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTQUANT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    now = datetime(2026, 11, 21, tzinfo=UTC)
    told = Information(Interval(0.5, 0.4, 0.6), 0.021)
    theory = Theory(70, told, told, told, Information(Interval(31.5, 30.0, 33.0), 1.2), Interval(0.6, 0.5, 0.7))
    metrics = {"srcc": Interval(0.8712, 0.81, 0.91), "krcc": Interval(*[float("nan")] * 3), "level_accuracy": Interval(0.55, 0.4, 0.7)}
    report = EvaluationReport(
        "r1", "tiny", "d", "torch on cpu", "test", now, now + timedelta(seconds=12), 40, 2, metrics,
        [], [], [], [], [ErrorInterval(0.5, 0.42, 0.61)], Pit(320, (0.1,) * 10, 0.034), [], [], [], theory, [], {},
    )  # fmt: skip
    document = {
        "spread": {"predicted_std": 1.5, "raters_std": 0.75, "share_covered": 0.9},
        "open_set_mass": {"mean": 0.98, "least": 0.7},
        "rejects_by_class": {"truncated": 2},
    }
    store = open_store(f"file:{tmp_path}/out")
    store.put("evaluations/r1/report.html", b"<title>page</title>")
    print_evaluation(SimpleNamespace(report=report, document=document), store.uri, "reopen me")  # type: ignore[arg-type]
    said = re.sub(r" +", " ", capsys.readouterr().out)
    for line in (
        "tiny on 40 artworks of the test split, 2 artworks without a score, in 12 s.",
        "SRCC 0.871 0.810 to 0.910",
        "KRCC - - to -",
        "level accuracy 55% 40% to 70%",
        "50% lie within 0.42 of people's mean; on artworks held out 61%",
        "single ratings 0.034 from calibrated (PIT), 320 ratings",
        "texts about score 0.500 0.400 to 0.600 nats; by chance 0.021",
        "picture about texts 31.500 30.000 to 33.000 nats; by chance 1.200",
        "without a score: truncated 2",
        f"predictions {store.uri}/evaluations/r1/scores.parquet",
        "open the store again reopen me",
    ):
        assert line in said, line
    assert (tmp_path / "home" / "reports" / "evaluation-r1.html").read_bytes() == b"<title>page</title>"
