"""What the settings of a night change: one night with many of them turned, and what needs no Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from artquant.config import ResolvedScoreSpec, ReviewSpec
from artquant.pipelines.score import make_plan, scoring_run
from artquant.results.plan import Plan
from artquant.storage.store import Store, open_store
from tests.pipelines.engines import REDS, red_picture
from tests.pipelines.runs import Run, Scorer, spec_for

pytestmark = pytest.mark.filterwarnings("ignore:.ray_remote_args")


def planned(source: Store, output: Store, **changes: Any) -> list[str]:
    spec = spec_for(source, output, **changes)
    make_plan(spec, source, output, "plan.parquet")
    plan = Plan(output, "plan.parquet")
    return [row["artwork_id"] for shard in range(plan.summary.num_shards) for row in plan.shard(shard)]


def test_the_first_so_many_artworks_are_planned_of_those_that_are_not_excluded(source: Store, output: Store) -> None:
    names = sorted(REDS)
    assert planned(source, output) == names
    assert planned(source, output, limit=3) == names[:3]
    assert planned(source, output, exclude="00*,*5.png") == [name for name in names if not name.startswith("00") and name[-5] != "5"]
    assert planned(source, output, exclude="00*", limit=2) == ["010.png", "015.png"]


def test_the_chain_is_given_the_nights_settings(tmp_path: Path) -> None:
    spec = ResolvedScoreSpec.model_validate(
        {
            "input": "file:///in",
            "output": "file:///out",
            "run_id": "tonight",
            "rows_per_file": 9,
            "stall_minutes": 2.0,
            "fetch": {"threads": 3},
            "review": {"max_score_std": 1.0},
        }
    )
    run = scoring_run(spec)
    assert (run.input, run.output, run.run_id, run.rows_per_file, run.stall_minutes) == ("file:///in", "file:///out", "tonight", 9, 2.0)
    assert run.fetch == spec.fetch and run.review == ReviewSpec(max_score_std=1.0)


@pytest.fixture(scope="module")
def turned(scorer: Scorer, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Of forty artworks ten are scored, of which five are damaged: just as many as are allowed."""
    folder = tmp_path_factory.mktemp("turned")
    source = open_store(f"file:{folder}/collection")
    for number, (name, red) in enumerate(REDS.items()):
        source.put(name, red_picture(red) if number % 2 else b"<html>")
    spec = spec_for(
        source,
        open_store(f"file:{folder}/results"),
        limit=10,
        run_id="turned",
        run_date="2020-02-29",
        max_rejected_fraction=0.5,
        review={"max_score_std": 2.8},
    )
    return scorer.score(spec)


def test_as_many_rejects_as_are_allowed_are_published(turned: Run) -> None:
    assert (turned.report.status, turned.report.num_scored, turned.report.num_rejected) == ("published", 5, 5)


def test_only_so_many_artworks_are_scored(turned: Run) -> None:
    assert set(turned.rows("scores")) | set(turned.rows("rejects")) == set(sorted(REDS)[:10])


def test_the_rows_lie_in_the_partition_of_the_runs_date_and_name(turned: Run) -> None:
    files = [file["key"] for file in turned.document("manifest.json")["files"]]
    assert len(files) == 2 and all("run_date=2020-02-29" in key and "turned" in key for key in files)
    assert {str(row["run_date"]) for row in turned.rows("scores").values()} == {"2020-02-29"}


def test_a_person_is_asked_where_the_nights_limits_say_so(turned: Run) -> None:
    rows = turned.rows("scores").values()
    assert {row["needs_review"] for row in rows} == {True, False}
    assert all(row["needs_review"] == (row["score_std"] > 2.8) for row in rows)
    assert turned.document("metrics.json")["num_needs_review"] == sum(row["needs_review"] for row in rows)


def test_where_none_is_allowed_a_night_without_rejects_is_published(scorer: Scorer, source: Store, output: Store) -> None:
    assert scorer.score(spec_for(source, output, limit=4, max_rejected_fraction=0)).report.status == "published"
