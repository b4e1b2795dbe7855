"""Nights as a person types them: the plan, the snapshots, and their exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from artquant.cli.main import main
from artquant.core.errors import AnotherRun, OutcomeUnknown
from artquant.results.nights import opened
from artquant.results.snapshots import Snapshot
from artquant.storage.store import Store, open_store
from tests.checkpoints import save_random_checkpoint
from tests.results import nights


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Store, Store, list[str]]:
    """A collection of four, an empty output, and the settings that name them and a model."""
    monkeypatch.setenv("ARTQUANT_HOME", str(tmp_path / "home"))
    source, output = open_store(str(tmp_path / "art")), open_store(str(tmp_path / "out"))
    for number in range(4):
        source.put(f"{number}.jpg", b"x" * 1_000)
    model = save_random_checkpoint(tmp_path / "random")
    return source, output, [f"input={source.uri}", f"output={output.uri}", f"model={model}"]


def rows_of(text: str) -> dict[str, str]:
    """The first words of a table's line -> the number beside them."""
    lines = [line.split("  ", 1) for line in text.splitlines() if "  " in line]
    return {name.strip(): rest.strip().split("  ")[0] for name, rest in lines}


def test_the_plan_says_what_is_due_and_what_is_unknown(places: tuple[Store, Store, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    source, output, settings = places
    assert main(["plan", "score", *settings, "exclude=3.jpg"]) == 0
    said = capsys.readouterr().out
    found = rows_of(said)
    assert "3 artworks due" in said and "the first of this output" in said
    assert (found["new"], found["excluded"], found["object reads"], found["output files"]) == ("3", "1", "3", "1")
    assert found["time"] == found["peak memory"] == "unknown" and "3.0 kB" in said
    assert not list(output.list("_artquant/snapshots")) and not list(output.list("_artquant/intents")), "nothing is claimed"
    assert {info.key for info in source.list()} == {f"{number}.jpg" for number in range(4)}


def test_the_plan_reckons_with_what_earlier_runs_measured(
    places: tuple[Store, Store, list[str]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from artquant.cli import plan

    source, output, settings = places
    nights.night(output, nights.asked(source), "one")
    parent = opened(output)
    assert parent
    for number in range(4, 104):
        source.put(f"{number}.jpg", b"y")
    rates = {"score_per_worker": 0.5, "driver_peak_bytes": 6e8, "worker_peak_bytes": 2e9}
    monkeypatch.setattr("artquant.results.nights.opened", lambda store: Snapshot(**vars(parent) | {"rates": rates}))
    assert main(["plan", "score", *settings, "price_per_hour=36", "engine.num_workers=2"]) == 0
    said = capsys.readouterr().out
    found = rows_of(said)
    assert found["peak memory"] == "2.0 GB" and "driver 600" in said
    assert found["time"] == "1 min 44 s" and found["cost"] == "1.04"  # 104 at one a second: the four are due for another model
    assert (found["new"], found["model"]) == ("100", "4")
    assert plan.seconds_of(10, None, None) is None  # type: ignore[arg-type]


def test_a_plan_of_another_job_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "train"]) == 2
    assert "artquant plan knows the jobs score and describe, not 'train'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["input=/a", "manifest=/m.csv", "output=/o"], "input and manifest are given: one of them says what the collection is"),
        (["inventory=s3://b/manifest.json"], "inventory is given and output is not: give both"),
    ],
)
def test_two_collections_or_half_of_the_places_are_refused(settings: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", *settings]) == 2
    assert sentence in capsys.readouterr().err


def test_snapshots_are_listed_taken_back_and_brought_again(
    places: tuple[Store, Store, list[str]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    source, output, _ = places
    assert main(["snapshots", "history", output.uri]) == 0
    assert "has no snapshots yet" in capsys.readouterr().out
    nights.night(output, nights.asked(source, limit=2), "one")
    nights.night(output, nights.asked(source), "two")
    assert main(["snapshots", "rollback", output.uri]) == 0
    said = capsys.readouterr().out
    assert "Snapshot 3 holds what was published before: 2 rows." in said and "taken back" in said
    assert main(["snapshots", "release", output.uri, "two"]) == 0
    assert "Snapshot 4 publishes two." in capsys.readouterr().out
    assert main(["snapshots", "compact", output.uri]) == 0
    assert "Snapshot 5 holds the same rows in 1 file instead of 2." in capsys.readouterr().out
    assert main(["snapshots", "compact", output.uri]) == 0
    assert "nothing is to be merged" in capsys.readouterr().out
    for name in ("one", "two"):
        output.put(f"runs/{name}/report.html", b"a page")
    copy = tmp_path / "home" / "reports" / "one.html"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(b"a page")
    assert main(["snapshots", "forget", output.uri, "1.jpg"]) == 0
    said = capsys.readouterr().out
    assert "Snapshot 6 has forgotten 1 artwork, 1 row." in said and "The pages of one are deleted as a whole" in said
    assert not copy.exists() and output.exists("runs/two/report.html")
    assert main(["snapshots", "clean", output.uri]) == 0
    assert {name for name, _, _ in nights.rows_by_glob(output)} == {"0.jpg", "2.jpg", "3.jpg"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["burn", "OUT"], "invalid choice: 'burn'"),
        (["release", "OUT"], "needs the run: say which behind the output"),
        (["release", "OUT", "no-such-run"], "has no snapshots yet"),
        (["compact", "OUT", "many"], "takes how many rows a file is to hold"),
        (["abandon", "OUT"], "there is nothing to give up"),
        (["rollback"], "say artquant snapshots history|rollback"),
    ],
)
def test_what_cannot_be_done_is_refused(
    places: tuple[Store, Store, list[str]], arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["snapshots", *(places[1].uri if part == "OUT" else part for part in arguments)]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(("error", "code"), [(AnotherRun("It is another's."), 3), (OutcomeUnknown("Nobody knows."), 5)])
def test_each_end_has_its_exit_code(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: list[str]) -> int:
        raise error

    monkeypatch.setattr("artquant.cli.snapshots.run", fail)
    assert main(["snapshots"]) == code
    assert capsys.readouterr().err == f"artquant: {error}\n"
