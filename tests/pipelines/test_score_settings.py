"""What the settings of a night change: one night with many of them turned; no Ray runs here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from artquant.agreement.drift import Tally
from artquant.config import ResolvedScoreSpec, ReviewSpec
from artquant.core.identity import Identity
from artquant.pipelines import score
from artquant.pipelines.score import scoring_run
from artquant.results.gates import judge
from artquant.results.ledger import scorer_digest
from artquant.results.plan import PlanSummary
from artquant.results.snapshots import Snapshot
from artquant.storage.store import Store, open_store
from tests.pipelines.engines import RED, REDS, red_picture
from tests.pipelines.runs import Run, Scorer, spec_for


def test_the_chain_is_given_the_nights_settings(tmp_path: Path) -> None:
    spec = ResolvedScoreSpec.model_validate(
        {
            "input": "file:///in",
            "output": "file:///out",
            "stall_minutes": 2.0,
            "fetch": {"threads": 3},
            "review": {"max_score_std": 1.0},
        }
    )
    run = scoring_run(spec, "tonight")
    assert (run.input, run.output, run.run_id, run.stall_minutes) == ("file:///in", "file:///out", "tonight", 2.0)
    assert run.fetch == spec.fetch and run.review == ReviewSpec(max_score_std=1.0)


def test_the_night_is_claimed_with_its_settings(source: Store, output: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    @contextmanager
    def claimed(store: Store, parent: object, question: object, **given: Any) -> Iterator[None]:
        asked.update(given)
        yield None

    monkeypatch.setattr(score, "claimed", claimed)
    spec = spec_for(source, output, run_id="tonight", run_date="2020-02-29", rows_per_file=9, stale_seconds=7.5)
    with score.claimed_night(spec, RED):
        pass
    assert {name: asked[name] for name in ("run_id", "run_date", "rows_per_file", "stale_seconds")} == {
        "run_id": "tonight",
        "run_date": "2020-02-29",
        "rows_per_file": 9,
        "stale_seconds": 7.5,
    }


def test_a_run_that_goes_on_keeps_its_name_its_date_and_its_files_size(
    source: Store, output: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(score, "check_capacity", lambda *_: None)
    monkeypatch.setattr(score, "start_counter", stop)
    recipe: Any = SimpleNamespace(engine=None)
    for run_id, run_date, price in (("broken", "2020-02-29", 1.0), ("again", "2020-03-01", 2.0)):
        spec = spec_for(source, output, run_id=run_id, run_date=run_date, rows_per_file=len(run_id), price_per_hour=price)
        with pytest.raises(KeyboardInterrupt), score.claimed_night(spec, RED) as work:
            score.run_score(spec, recipe, work)
    assert {info.key for info in output.list("runs")} == {"runs/broken/spec.yaml"}
    kept = yaml.safe_load(output.get("runs/broken/spec.yaml"))
    assert (kept["run_id"], str(kept["run_date"]), kept["rows_per_file"], kept["price_per_hour"]) == ("broken", "2020-02-29", 6, 2.0)


@pytest.fixture(scope="module")
def turned(scorer_here: Scorer, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Of forty artworks two are left out and of the others ten scored, of which five are damaged: just as many as are allowed."""
    folder = tmp_path_factory.mktemp("turned")
    source = open_store(f"file:{folder}/collection")
    for number, (name, red) in enumerate(REDS.items()):
        source.put(name, red_picture(red) if number % 2 else b"<html>")
    spec = spec_for(
        source,
        open_store(f"file:{folder}/results"),
        exclude="00*,*.txt",
        limit=10,
        run_id="turned",
        run_date="2020-02-29",
        max_rejected_fraction=0.5,
        review={"max_score_std": 2.8},
    )
    return scorer_here.score(spec)


def test_as_many_rejects_as_are_allowed_are_published(turned: Run) -> None:
    assert (turned.report.status, turned.report.num_scored, turned.report.num_rejected) == ("published", 5, 5)


def test_the_first_so_many_artworks_are_scored_of_those_that_are_not_excluded(turned: Run) -> None:
    assert set(turned.rows("scores")) | set(turned.rows("rejects")) == set(sorted(REDS)[2:12])


def test_the_rows_lie_in_the_partition_of_the_runs_date_and_name(turned: Run) -> None:
    files = [file["key"] for file in turned.document("manifest.json")["files"]]
    assert len(files) == 2 and all("run_date=2020-02-29" in key and "turned" in key for key in files)
    assert {str(row["run_date"]) for row in turned.rows("scores").values()} == {"2020-02-29"}


def test_a_person_is_asked_where_the_nights_limits_say_so(turned: Run) -> None:
    rows = turned.rows("scores").values()
    assert {row["needs_review"] for row in rows} == {True, False}
    assert all(row["needs_review"] == (row["score_std"] > 2.8) for row in rows)
    assert turned.document("metrics.json")["num_needs_review"] == sum(row["needs_review"] for row in rows)


def test_where_none_is_allowed_a_night_without_rejects_is_published(scorer_here: Scorer, source: Store, output: Store) -> None:
    assert scorer_here.score(spec_for(source, output, limit=4, max_rejected_fraction=0)).report.status == "published"


@pytest.mark.parametrize(
    "wider",
    [{"enabled": False}, {"min_count": 5_000}, {"max_psi": 99}, {"max_level_shift": 1}, {"max_mass_shift": 1}, {"max_reject_rise": 1}]
    + [{"max_gone_fraction": 1}],
    ids=lambda wider: next(iter(wider)),
)
def test_each_gate_holds_what_is_beyond_it_and_a_wider_one_does_not(wider: dict[str, Any]) -> None:
    calm = Tally((0, 500, 500, 0, 0), (0, 0, 0, 0, 500, 0, 0, 500, 0, 0), 990.0, 980.1, 1_000, 0)
    drifted = Tally((900, 0, 100, 0, 0), (0, 0, 0, 0, 100, 0, 0, 0, 0, 900), 500.0, 250.0, 2_000, 1_000)
    identity = Identity("m", "d", "p", "q", "float32")
    parent = Snapshot(1, 0, "run", "first", "w", "", (), tallies={scorer_digest(identity): calm.to_document()})
    plan = PlanSummary(1_000, 0, 1, {"changed": 1_000}, {"gone": 900})

    def beyond(gates: dict[str, Any]) -> set[str]:
        spec = ResolvedScoreSpec(input="/a", output="/b", model="m", gates=gates)
        checks = judge(spec.gates, scorer_digest(identity), parent, plan, drifted).checks
        return {check.name for check in checks if check.outcome == "beyond"}

    held = beyond({})
    assert len(held) == 7 and beyond(wider) < held
