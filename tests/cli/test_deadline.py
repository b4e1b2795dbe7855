"""Nights with an end: scores first, texts as far as the time goes, the rest on the next night; each piece is published, nothing twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from artquant.cli.deadline import end_of, score_until
from artquant.config import ResolvedScoreSpec, ScoreSpec, load_spec
from artquant.core.errors import UserError
from artquant.engines import Assessment
from artquant.engines.open import resolve
from artquant.engines.recipe import EngineRecipe
from artquant.pipelines import pacing
from artquant.pipelines.score import asked_of, run_score
from artquant.results.queue import Queue
from artquant.results.readers import open_snapshot
from artquant.results.snapshots import head
from artquant.storage.store import Store, open_store
from tests.pipelines.engines import RED, REDS, RedEngine, red_picture
from tests.pipelines.here import without_ray
from tests.pipelines.runs import read_by_glob, spec_for

TEXTS = {"perception": "Red and blue lie side by side.", "cognition": "It shows a plain field.", "emotion": "It feels calm and still."}


class Writer(RedEngine):
    """Writes the same texts for everything."""

    def assess(self, pixels: np.ndarray, critique: bool = False) -> Assessment:
        plain = super().assess(pixels)
        num = len(pixels)
        return Assessment(plain.probabilities, plain.open_set_mass, [TEXTS] * num, ["ok"] * num) if critique else plain


@pytest.fixture
def source(tmp_path: Path) -> Store:
    store = open_store(f"file:{tmp_path}/collection")
    for name, red in REDS.items():
        store.put(name, red_picture(red))
    return store


@pytest.fixture
def output(tmp_path: Path) -> Store:
    return open_store(f"file:{tmp_path}/results")


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "FIRST", 16)
    monkeypatch.setattr("artquant.results.plan.SMALL_SHARD", 8)
    monkeypatch.setattr("artquant.pipelines.score.check_capacity", lambda *given: None)


def night(source: Store, output: Store, num_runs: float, open_engine: Callable[[], Any] = Writer, critique: bool = True) -> list[str]:
    """A night that has time for so many runs; their names."""
    spec, runs = spec_for(source, output, run_id="night", engine={"batch_size": 8, "critique": critique}), []

    def recipe_of(piece: ResolvedScoreSpec) -> EngineRecipe:
        return EngineRecipe(open_engine, RED, RedEngine.image_size, RedEngine.scale.values, "red", resolve(piece.engine))

    def score(piece: ResolvedScoreSpec, work: Any, recipe: Any, reopen: None, ray: Any) -> Any:
        runs.append(piece.run_id)
        return run_score(piece, recipe(), work)

    def seconds_left() -> float:
        return 1e-2 if len(runs) < num_runs else 0.0  # so little that a rate never makes a piece large

    with without_ray(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(pacing, "fitting", lambda seconds, *given: 16 if seconds > 0 else 0)
        now, ask = datetime.now(UTC), partial(asked_of, identity=RED)
        assert score_until(now, spec, ask, recipe_of, score, nullcontext, now, seconds_left, 0.0) == 0
    return runs


def rows_of(output: Store) -> dict[str, str]:
    """artwork_id -> status of its texts, each artwork once, by glob and by snapshot."""
    tables = [read_by_glob(output, "scores"), open_snapshot(output.uri).to_table()]
    found = [{row["artwork_id"]: row["critique_status"] for row in table.to_pylist()} for table in tables]
    assert found[0] == found[1] and all(len(one) == table.num_rows for one, table in zip(found, tables, strict=True))
    return found[0]


def with_texts(output: Store) -> list[str]:
    return sorted(name for name, status in rows_of(output).items() if status == "ok")


def test_scores_come_first_and_texts_go_on_on_the_next_night_after_what_is_new(source, output, capfd):
    assert night(source, output, 4) == ["night-scores-1", "night-scores-2", "night-scores-3", "night-critiques-1"]
    assert sorted(rows_of(output)) == sorted(REDS) and with_texts(output) == sorted(REDS)[:16]
    assert f"{len(REDS) - 16} critiques left for the next night" in capfd.readouterr().err
    assert json.loads(output.get("runs/night-critiques-1/metrics.json"))["num_queued"] == len(REDS) - 16
    assert f"{len(REDS) - 16}&nbsp;more due" in output.get("runs/night-critiques-1/report.html").decode()
    source.put("new.png", red_picture(201))
    assert night(source, output, 2) == ["night-scores-1", "night-critiques-1"]
    assert with_texts(output) == sorted([*sorted(REDS)[:31], "new.png"]), "the new one before the rest of yesterday's"
    assert night(source, output, 9) == ["night-critiques-1"]
    assert set(with_texts(output)) == {*REDS, "new.png"}
    assert night(source, output, 9) == [] and (last := head(output)) and last.counts["superseded"] == len(REDS) - 31


def test_where_time_is_over_before_the_texts_they_are_counted_and_so_are_scores(source, output, capfd):
    assert night(source, output, 3) == [f"night-scores-{number}" for number in (1, 2, 3)]
    assert f"{len(REDS)} critiques left for the next night" in capfd.readouterr().err
    source.put("one.png", red_picture(202))
    assert night(source, output, 0) == []
    said = capfd.readouterr().err
    assert "1 score left for the next night" in said and f"{len(REDS)} critiques left" in said


def test_without_texts_a_night_has_scores_alone(source, output, capfd):
    assert night(source, output, 9, critique=False) == [f"night-scores-{number}" for number in (1, 2, 3)]
    assert "critiques" not in capfd.readouterr().err


class Interrupted(Writer):
    """Is stopped by Ctrl-C at its second batch with texts."""

    num = 0

    def assess(self, pixels: np.ndarray, critique: bool = False) -> Assessment:
        Interrupted.num += critique
        if Interrupted.num == 2:
            raise KeyboardInterrupt
        return super().assess(pixels, critique)


def test_a_piece_that_was_broken_off_is_finished_before_the_new_scores(source, output, capfd):
    with pytest.raises(KeyboardInterrupt):
        night(source, output, 9, Interrupted)
    assert sorted(rows_of(output)) == sorted(REDS) and with_texts(output) == []
    source.put("new.png", red_picture(203))
    capfd.readouterr()
    assert night(source, output, 9)[:3] == ["night-critiques-1", "night-scores-1", "night-critiques-2"]
    assert "1 of 2 shards are done" in capfd.readouterr().err
    assert set(with_texts(output)) == {*REDS, "new.png"}


def test_what_there_is_time_for_makes_no_other_run_and_texts_alone_do(source, output):
    asked, now = asked_of(spec_for(source, output), RED), datetime.now(UTC)
    texts = [replace(asked, queue=Queue(room, now)).digest for room in (1, 2)]
    assert replace(asked, room=5).digest == asked.digest and texts[0] == texts[1] != asked.digest


def test_the_end_is_the_deadline_or_when_the_money_is_spent():
    now = datetime(2026, 11, 27, 22, tzinfo=UTC)

    def end(*settings: str) -> datetime | None:
        spec = load_spec(ScoreSpec, None, ["input=a", "output=b", *settings])
        return end_of(ResolvedScoreSpec(**dict(spec)), now)

    assert end() is None
    assert end("deadline=06:00") == datetime(2026, 11, 28, 6, tzinfo=UTC)
    assert end("max_cost=12", "price_per_hour=24") == now + timedelta(minutes=30)
    assert end("deadline=06:00", "max_cost=12", "price_per_hour=24") == now + timedelta(minutes=30)
    for refused, said in (
        (["max_cost=12"], "max_cost cannot be '12'"),
        (["deadline=soon"], "deadline cannot be 'soon': write 06:00"),
        (["deadline=06:00", "force=true"], "force=true would score again"),
    ):
        with pytest.raises(UserError, match=said):
            end(*refused)
