"""The registry on the command line, and `model=current` in the score job."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from artquant.cli.main import main
from artquant.cli.places import meant_model, score_places
from artquant.config import ScoreSpec, load_spec
from artquant.core.errors import UserError
from artquant.model.checkpoint import Checkpoint
from artquant.registry import Registry
from artquant.storage.embedded import EmbeddedStore
from artquant.storage.store import Store, open_store
from tests.checkpoints import save_random_checkpoint
from tests.processes import ROOT
from tests.recipes import recipe_for

SRCC = {"value": 0.87123, "low": 0.81, "high": 0.905}
CARDS = {
    "first": {"parent": None, "metrics": {"srcc": {"value": float("nan"), "low": 0, "high": 1}}},
    "second": {"parent": {"location": "s3://museum/models/first", "digest": "d"}, "metrics": {"srcc": SRCC}},
    "third": {"parent": "second"},
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test looks into this machine's own registry."""
    monkeypatch.setenv("ARTQUANT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def fill(store: Store, tmp_path: Path) -> Registry:
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "config.json").write_text("{}")
    registry = Registry(store)
    for model_id, card in CARDS.items():
        registry.publish(model_id, tmp_path / "checkpoint", card)
    return registry


def lines(text: str) -> list[str]:
    return [re.sub(r" +", " ", line).strip() for line in text.splitlines()]


def row_of(text: str, model_id: str) -> str:
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "DATE", next(line for line in lines(text) if f"{model_id} 20" in line))


def test_a_person_promotes_looks_and_goes_back(store: Store, tmp_path: Path, capsys) -> None:
    registry = fill(store, tmp_path)
    assert main(["models", "--registry", store.uri]) == 0
    out = capsys.readouterr().out
    assert "none is current: make promote MODEL=id" in out and f"registry {store.uri}" in lines(out)
    assert main(["promote", "first", "--registry", store.uri]) == 0
    assert "first is current now." in lines(capsys.readouterr().out)
    assert main(["--registry", store.uri, "promote", "second"]) == 0
    out = capsys.readouterr().out
    assert "second is current now. first was before it: make rollback goes back." in lines(out)
    assert row_of(out, "second") == "current second DATE 0.871 0.810 to 0.905 first"
    assert row_of(out, "first") == "before first DATE - -"
    assert row_of(out, "third") == "third DATE - second"
    assert main(["promote", "second", "--registry", store.uri]) == 0
    assert "second was current already." in lines(capsys.readouterr().out)
    assert main(["rollback", "--registry", store.uri]) == 0
    out = capsys.readouterr().out
    assert "first is current again, in the place of second." in lines(out)
    assert row_of(out, "first").startswith("current ") and not row_of(out, "second").startswith(("current", "before"))
    assert registry.current() == "first"


def test_a_current_model_that_is_gone_is_told(store: Store, tmp_path: Path, capsys) -> None:
    fill(store, tmp_path).promote("first")
    store.delete("first/card.json")
    assert main(["models", "--registry", store.uri]) == 0
    assert "first is current, but is in the registry no more" in capsys.readouterr().out


def test_an_id_is_never_cut_or_folded_and_a_row_is_a_line_where_it_is_piped(
    tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    registry, name = fill(open_store(f"{tmp_path}/models"), tmp_path), "x" * 100
    registry.publish(name, tmp_path / "checkpoint", {"parent": "y" * 100})
    assert main(["models", "--registry", f"{tmp_path}/models"]) == 0
    assert f"{name} DATE - {'y' * 100}" == row_of(capsys.readouterr().out, name)
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal, for rich
    assert main(["models", "--registry", f"{tmp_path}/models"]) == 0
    assert name in capsys.readouterr().out


def test_an_empty_registry_says_where_models_come_from(store: Store, capsys) -> None:
    store.put("card", b"of another kind")
    assert main(["models", "--registry", store.uri]) == 0
    assert f"{store.uri} holds no models yet: make submit JOB=train" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ([], "No job was named"),
        (["demote", "first"], "did you mean promote"),
        (["promote"], "model"),
        (["promote", ""], "No model was named"),
        (["promote", "fourth"], "has no model 'fourth': it has third, second, first"),
        (["promote", "../first"], "'../first' is no model's id"),
        (["rollback"], "Nothing is current"),
        (["rollback", "--registry"], "--registry"),
        (["models", "--registry", "hdfs://museum/models"], "hdfs:"),
        (["models", "--registry", "s3://no-such-bucket/models"], "bucket does not exist"),
    ],
)
def test_what_cannot_be_done_is_refused_with_exit_code_2_and_one_sentence(
    arguments: list[str], wanted: str, tmp_path: Path, s3_server: EmbeddedStore, capsys
) -> None:
    fill(open_store(f"file:{tmp_path}/models"), tmp_path)
    place = [] if "--registry" in arguments or not arguments else ["--registry", f"{tmp_path}/models"]
    assert main([*arguments, *place]) == 2
    streams = capsys.readouterr()
    assert streams.out == "" and len(streams.err.splitlines()) == 1
    assert streams.err.startswith("artquant: ") and wanted in streams.err and streams.err.endswith(".\n")
    assert not open_store(f"{tmp_path}/models").exists("current")


def make(*arguments: str) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MODEL", "REGISTRY")}
    ready = ["-o", ".venv/.ready"]  # the environment of the tests is the one to use, whatever its age
    return subprocess.run(["make", *ready, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.skipif(not (ROOT / ".venv" / "bin" / "python").exists(), reason="make uses .venv")
def test_make_takes_the_model_and_a_registry_whose_name_has_a_space(tmp_path: Path) -> None:
    folder = tmp_path / "our models"
    registry = fill(open_store(str(folder)), tmp_path)
    assert (done := make("promote", "MODEL=second", f"REGISTRY={folder}")).returncode == 0, done.stderr
    assert "second is current now." in done.stdout and registry.current() == "second"
    refused = make("promote", f"REGISTRY={folder}")
    assert refused.returncode != 0 and "artquant: No model was named: say artquant promote MODEL or make promote MODEL=id" in refused.stderr


def test_current_is_the_address_of_the_promoted_model_and_stays_so_after_a_promotion(
    tmp_path: Path, s3_server: EmbeddedStore, s3_folder: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARTQUANT_CACHE", str(tmp_path / "cache"))
    registry = Registry(s3_folder.child("models"))
    for seed, model_id in enumerate(("night-1", "night-2")):
        folder = save_random_checkpoint(tmp_path / model_id, seed=seed)
        registry.publish(model_id, folder, {"model_digest": Checkpoint.open(str(folder)).model_digest})
    registry.promote("night-1")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(b"a picture")
    given = ["model=current", f"input={tmp_path}/in", f"output={s3_folder.uri}/"]  # whose models are below <output>/models
    with score_places(load_spec(ScoreSpec, None, given)) as (spec, _):
        registry.promote("night-2")
    assert (spec.model, spec.registry) == (registry.uri_of("night-1"), s3_folder.uri_of("models"))
    identity = recipe_for(spec).identity
    assert (identity.model_id, identity.model_digest) == ("night-1", registry.entry("night-1").digest)
    assert meant_model("current", s3_folder.uri_of("models")) == registry.uri_of("night-2")
    for model in (None, "./current", "s3://museum/models/current"):
        assert meant_model(model, s3_folder.uri_of("models")) == model


def test_where_none_is_current_the_sentence_says_what_to_do(tmp_path: Path) -> None:
    models = f"{tmp_path}/models"
    with pytest.raises(UserError, match=f"/models has no current model: make promote MODEL=id REGISTRY=file://{tmp_path}/models, or"):
        meant_model("current", models)
    registry = fill(open_store(f"{tmp_path}/models"), tmp_path)
    registry.promote("second")
    open_store(f"{tmp_path}/models").delete("second/card.json")
    with pytest.raises(UserError, match="has no model 'second': it has third, first"):
        meant_model("current", models)


def test_a_registry_in_another_store_than_the_embedded_one_is_refused(capsys) -> None:
    assert main(["score", "model=current", "registry=s3://museum/models"]) == 2
    assert "registry=s3://museum/models lies in another store than the embedded one" in capsys.readouterr().err
