"""The train job as a person types it: bad input is a sentence, and a job that was killed goes on with the same command."""

import csv
import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch
import yaml

from artquant.annotations.split import split_annotations
from artquant.cli.places import train_places
from artquant.cli.train import parent_of, read_spec
from artquant.paintings import jpeg, paint
from artquant.storage.store import open_store
from artquant.training import loop
from artquant.training.data import Task
from artquant.training.state import RunState
from tests.checkpoints import save_random_checkpoint
from tests.processes import start_job
from tests.training.conftest import FolderSource

SEEDS = range(5_000_000, 5_000_040)


@pytest.fixture(scope="module")
def collection(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("collection")
    (folder / "art").mkdir()
    for seed in SEEDS:
        (folder / "art" / f"{seed}.jpg").write_bytes(jpeg(paint(seed), 96, quality=85))
    write_ratings(folder / "ratings.csv", [paint(seed).score for seed in SEEDS])
    save_random_checkpoint(folder / "parent", scale=3.0, max_critique_tokens=8)
    return folder


def write_ratings(path: Path, scores: list) -> None:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["artwork_id", "score"])
        rows.writerows((f"{seed}.jpg", score) for seed, score in zip(SEEDS, scores, strict=True))


def settings(collection: Path, output: Path, **changes) -> list[str]:
    given = {
        "annotations.uri": collection / "ratings.csv",
        "annotations.images": collection / "art",
        "annotations.validation_fraction": 0.2,
        "annotations.test_fraction": 0.2,
        "output": output,
        "model": collection / "parent",
        "fit.steps": 40,
        "fit.batch_size": 2,
        "fit.gradient_accumulation_steps": 1,
        "fit.dtype": "float32",
        "fit.learning_rate": 0.001,
        "fit.checkpoint_interval": 5,
        "fetch.threads": 4,
        **changes,
    }
    return [f"{name}={value}" for name, value in given.items()]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"annotations.images": ""}, "annotations.images is needed too"),
        ({"annotations.uri": "nowhere.csv"}, "nowhere.csv"),
        ({"annotations.scale_high": 2}, "outside"),
        ({"annotations.level_values": "[5,4,3,3,1]"}, "annotations.level_values cannot be used"),
        ({"fit.batch_size": 500}, "fewer than one step takes (500)"),
        ({"model": "nowhere"}, "The model nowhere cannot be used: there is no folder nowhere."),
        ({"model": "current"}, "has no current model"),
        ({"run_id": "current"}, "current"),
        ({"fit.stepps": 3}, "There is no setting 'fit.stepps'"),
        ({"loss.parts": "[smell]"}, "loss.parts"),
    ],
)
def test_what_a_person_can_cause_ends_in_one_sentence_and_exit_code_2(changes, said, collection, tmp_path, refused):
    arguments = [setting for setting in settings(collection, tmp_path / "out", **changes) if setting != "annotations.images="]
    assert said in refused(["train", *arguments])


def test_scores_that_are_all_equal_teach_nothing(collection, tmp_path, refused):
    write_ratings(tmp_path / "same.csv", [5.0] * len(SEEDS))
    assert refused(["train", *settings(collection, tmp_path / "out", **{"annotations.uri": tmp_path / "same.csv"})])


def test_a_tokenizer_without_a_token_for_each_level_is_refused(collection, tmp_path, refused):
    folder = save_random_checkpoint(tmp_path / "odd", max_critique_tokens=8)
    document = json.loads((folder / "tokenizer.json").read_text())
    document["model"]["merges"] = [pair for pair in document["model"]["merges"] if "excellent" not in "".join(pair)]
    (folder / "tokenizer.json").write_text(json.dumps(document))
    assert "no single token for the level excellent" in refused(["train", *settings(collection, tmp_path / "out", model=folder)])


def test_a_checkpoint_of_another_architecture_is_refused(collection, tmp_path, refused):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"model_type": "llama"}')
    said = refused(["train", *settings(collection, tmp_path / "out", model=tmp_path / "other")])
    assert "is a checkpoint of 'llama', which is no image-text-to-text model" in said


def test_a_job_that_is_killed_goes_on_with_the_same_command_and_ends_with_the_same_weights(collection, tmp_path):
    arguments = settings(collection, tmp_path / "killed")
    killed = start_job("train", arguments, tmp_path / "home")
    while not (found := list((tmp_path / "killed" / "training").glob("*/state.json"))) or history_of(found[0]).last_step < 10:
        assert killed.poll() is None, killed.stderr.read()
        time.sleep(0.02)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not history_of(found[0]).is_finished, "the run was over before it could be killed"
    again = start_job("train", arguments, tmp_path / "home")
    _, said = again.communicate(timeout=300)
    assert again.returncode == 0, said
    (path,) = (tmp_path / "killed" / "training").glob("*/state.json")
    weights = RunState(open_store(str(tmp_path / "killed")), path.parent.name).load(40)["model"]
    expected = unbroken_weights(settings(collection, tmp_path / "unbroken"), collection)
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    models = [path.parent.name for path in (tmp_path / "killed" / "models").glob("*/card.json")]
    assert models == [path.parent.name]
    assert yaml.safe_load((path.parent / "spec.yaml").read_text())["run_id"] == models[0]


def unbroken_weights(arguments: list[str], collection: Path) -> dict[str, torch.Tensor]:
    """What the same settings come to in one go, in this process, with no cluster."""
    with train_places(read_spec(arguments)) as (spec, _):
        splits = split_annotations(spec.annotations)
        parent, source = parent_of(spec), FolderSource(str(collection / "art"))
        loop.run(Task(spec, "one", spec.output, "", splits.train, splits.validation, parent, source), 0, 1, torch.device("cpu"))
        return RunState(open_store(spec.output), "one").load(40)["model"]


def history_of(path: Path):
    return RunState(open_store(str(path.parents[2])), path.parent.name).history()
