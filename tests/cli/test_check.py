"""`artquant check`: what a training would learn and refuse, said without training."""

from pathlib import Path

import pytest

from artquant.cli.main import main
from artquant.paintings import jpeg, paint

SMALL = ["fit.batch_size=1", "fit.gradient_accumulation_steps=1", "annotations.validation_fraction=0.2", "annotations.test_fraction=0.2"]


@pytest.fixture
def rated(tmp_path: Path) -> list[str]:
    (tmp_path / "art").mkdir()
    rows = ["id,score,comment"]
    for seed in range(40):
        (tmp_path / "art" / f"{seed}.jpg").write_bytes(jpeg(paint(seed), 48))
        rows.append(f"{seed}.jpg,{seed % 9},{'I like it.' if seed % 2 else ''}")
    (tmp_path / "r.csv").write_text("\n".join([*rows, "40.jpg,eleven,"]) + "\n")
    return [f"annotations.uri={tmp_path / 'r.csv'}", f"annotations.images={tmp_path / 'art'}", *SMALL]


def test_what_would_be_learnt_is_said_and_nothing_is_written(rated: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert main(["check", *rated]) == 0
    said = capsys.readouterr().out
    assert "41" in said and "the score is not a number" in said and "split by content" in said
    assert "comment" in said and "perception, not learnt" in said and sorted(tmp_path.rglob("*")) == before


def test_all_that_a_training_would_refuse_is_said(rated: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    wrong = ["loss.parts=[emotion]", "fit.batch_size=64", "annotations.max_rejected_fraction=0.01"]
    assert main(["check", *rated, *wrong]) == 2
    said = capsys.readouterr()
    flat = " ".join(said.out.split())
    assert "1 of 41 rows are refused" in flat and "fewer than one step takes (64)" in flat and "loss.parts asks for emotion" in flat
    assert "A training would refuse this: 1 of 41 rows are refused" in said.err
