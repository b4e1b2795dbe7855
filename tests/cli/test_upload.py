"""What is sent to a cluster, what is refused before, and which submissions are the same run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from artquant.cli.main import main
from artquant.cli.score import read_spec
from artquant.cli.upload import pack, run_digest
from artquant.core.lock import LOCK, differences, lock_here, locked, versions_here

SETTINGS = ["input=s3://bucket/art", "output=s3://bucket/scores", "model=s3://bucket/models/a"]


def refusal(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *settings: str) -> str:
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:9")
    assert main(["score", *settings]) == 2
    streams = capfd.readouterr()
    assert "Submitted" not in streams.out
    return streams.err


@pytest.mark.parametrize(
    "changed, sentence",
    [
        ([], "did not take it"),
        (["input=/data/art"], "input=/data/art is a folder or file of this machine"),
        (["output=scores"], "output=scores is a folder or file of this machine"),
        (["input=[s3://bucket/art,art]"], "input=art is a folder or file of this machine"),
        ([f"model={Path(__file__).parent}"], "is a folder or file of this machine"),
        (["model=people/some-hub-name"], "did not take it"),
        (["registry=models"], "registry=models is a folder or file of this machine"),
        (["input=file:///mnt/art"], "did not take it"),
    ],
)
def test_what_no_other_machine_reaches_is_refused_before_anything_is_sent(changed, sentence, capfd, monkeypatch):
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    assert sentence in refusal(capfd, monkeypatch, *SETTINGS, *changed)


def test_a_store_on_loopback_and_the_embedded_one_are_refused(capfd, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:11000")
    assert "lies in the store at http://127.0.0.1:11000" in refusal(capfd, monkeypatch, *SETTINGS)
    assert "input is needed where the job runs on a cluster" in refusal(capfd, monkeypatch)


@pytest.mark.parametrize("same", ["run_id=other", "run_date=2026-01-01", "engine.num_workers=9", "engine.num_gpus=1", "fetch.threads=2"])
def test_two_submissions_that_score_the_same_rows_are_the_same_run(same):
    assert run_digest("score", read_spec([*SETTINGS, same])) == run_digest("score", read_spec(SETTINGS))


@pytest.mark.parametrize("other", ["input=s3://bucket/b", "limit=7", "force=true", "engine.critique=false", "fetch.full_decode=true"])
def test_what_decides_the_rows_makes_another_run(other):
    assert run_digest("score", read_spec([*SETTINGS, other])) != run_digest("score", read_spec(SETTINGS))


def test_the_code_its_lock_and_the_settings_are_packed_and_weights_only_where_they_are_asked_for(tmp_path):
    (tmp_path / "team.yaml").write_text("limit: 9")
    small, whole = tmp_path / "small", tmp_path / "whole"
    command = pack(small, "score", [f"config={tmp_path}/team.yaml", "exclude=*.txt", *SETTINGS])
    assert command == "exec python -m artquant score config=config.yaml 'exclude=*.txt' " + " ".join(SETTINGS)
    assert (small / "config.yaml").read_text() == "limit: 9\n"
    files = [path for path in small.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 2_000_000 and not [path for path in files if path.suffix == ".pyc"]
    assert locked((small / "constraints.txt").read_text()) == locked(LOCK.read_text())
    pack(whole, "score", ["model=tiny"])
    assert (whole / "artquant/checkpoints/artquant-tiny/config.json").exists()


def test_the_lock_is_held_against_every_node():
    lock = {"python": "3.11", "ray": "2.60.0", "torch": "2.13.0"}
    assert differences({"10.0.0.1": lock, "10.0.0.2": lock}, lock) is None
    sentence = differences({"b": lock | {"torch": ""}, "a": lock | {"ray": "2.59.1", "python": "3.12"}, "c": lock}, lock)
    assert sentence and sentence.startswith(
        "The node a has python 3.12 instead of 3.11, ray 2.59.1 instead of 2.60.0 (1 more differ too): "
    )


def test_this_environment_is_that_of_the_lock():
    assert lock_here() == versions_here()
    assert versions_here()["python"] == ".".join(map(str, sys.version_info[:2])) and all(versions_here().values())
    assert locked("ray==2.60.0\ntorchvision==1.0\ntorch==2.13.0+cpu\n") == {"ray": "2.60.0", "torch": "2.13.0"}
