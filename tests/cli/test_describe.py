"""What the describe job says without asking anybody: its plan, and how far a person agrees with its judge."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from artquant.agreement.wilson import wilson
from artquant.cli.main import main
from artquant.core.errors import RunFailed
from tests.cli.conftest import Refused
from tests.pipelines.describing import make_world


def test_the_plan_prices_what_is_due_and_sends_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    world = make_world(tmp_path / "world")
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    places = [f"annotations.uri={world.root}/ratings.parquet", f"annotations.images={world.root}/art", f"output={world.root}/out"]
    players = [f"{name}.{setting}" for name in ("generator", "judge") for setting in ("base_url=https://api.example.com/v1", "model=m")]
    assert main(["plan", "describe", *places, *players, "generator.input_price=10", "generator.output_price=30"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "12 artworks to describe, by m and m." in said and "new 12 never described" in said
    once, thrice = (float(said.partition(f"{name} ")[2].split(" tokens")[0].replace(",", "")) for name in ("one round each", "all rounds"))
    assert thrice == pytest.approx(3 * once, abs=3) and 12 * 4000 < once < 12 * 8000
    assert "needs allow_external=true" in said and not (world.root / "out" / "runs").exists()


def sheet(path: Path, rows: list[tuple[str, str]]) -> str:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["artwork_id", "emotion", "judge", "fits"])
        writer.writerows([["a", "two\nlines", *row] for row in rows])
    return str(path)


def test_a_sheet_that_a_person_filled_in_gives_the_agreement_with_its_interval(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows = [("yes", "yes")] * 17 + [("yes", "No ")] * 2 + [("no", "no")] + [("yes", "")] * 5
    assert main(["sheet", sheet(tmp_path / "check.csv", rows)]) == 0
    said = capsys.readouterr().out
    assert "20 of 25 rows are answered; the person agrees with the judge on 18:" in said
    assert "90% (95 % interval 70% to 97%)" in said and "of what the judge kept, 89% fit" in said
    assert wilson(0, 10)[0] == 0.0 and wilson(10, 10)[1] == pytest.approx(1.0)


def test_a_sheet_without_answers_is_turned_away(tmp_path: Path, refused: Refused):
    assert "has no answers: write yes or no" in refused(["sheet", sheet(tmp_path / "check.csv", [("yes", "")])])
    assert "cannot be read" in refused(["sheet", str(tmp_path / "none.csv")])


def test_a_run_that_fails_is_named_to_its_hooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def no_ray() -> None:
        raise RunFailed("Ray did not start.")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("artquant.cli.local_ray.running_ray", no_ray)
    world = make_world(tmp_path / "world")
    places = [f"annotations.uri={world.root}/ratings.parquet", f"annotations.images={world.root}/art", f"output={world.root}/out"]
    players = [f"{name}.{setting}" for name in ("generator", "judge") for setting in ("base_url=http://127.0.0.1:9/v1", "model=m")]
    assert main(["describe", *places, *players, "run_id=tonight", f"watch.command=cat > {tmp_path}/heard"]) == 1
    heard = json.loads((tmp_path / "heard").read_text())
    assert (heard["status"], heard["run_id"], heard["message"]) == ("failed", "tonight", "Ray did not start.")
