"""Nights on Ray: a manifest whose pictures lie in two places, and a second night that scores what is new."""

from __future__ import annotations

from pathlib import Path

import pytest

from artquant.core.errors import UserError
from artquant.pipelines.score import asked_of, claimed_night
from artquant.results import operations
from artquant.results.plan import PlanSummary
from artquant.storage.store import Store, open_store
from tests.pipelines.engines import RED, REDS, red_picture, red_score
from tests.pipelines.runs import Scorer, read_by_glob, spec_for

pytestmark = pytest.mark.filterwarnings("ignore:.ray_remote_args")


@pytest.mark.parametrize("fetch", [{"num_workers": 0}, {"num_workers": 1}], ids=["in one process", "apart"])
def test_two_nights_over_a_manifest(scorer: Scorer, s3_folder: Store, tmp_path: Path, fetch: dict) -> None:
    here, there = open_store(str(tmp_path / "art")), s3_folder.child("art")
    lines = ["id,uri,etag"]
    for number, (name, red) in enumerate(list(REDS.items())[:12]):
        store = here if number % 2 else there
        store.put(name, red_picture(red))
        lines.append(f"{name},{store.uri_of(name)},v1")
    lines.append(f"nowhere.png,{there.uri_of('nowhere.png')},v1")
    manifest, output = tmp_path / "manifest.csv", s3_folder.child("out")
    manifest.write_text("\n".join(lines))
    spec = spec_for(here, output, input=None, manifest=str(manifest), fetch=fetch | {"threads": 4})
    first = scorer.score(spec)
    expected = {name: pytest.approx(red_score(red)) for name, red in list(REDS.items())[:12]}
    assert {name: row["score"] for name, row in first.rows("scores").items()} == expected
    assert {name: row["reject_class"] for name, row in first.rows("rejects").items()} == {"nowhere.png": "missing"}

    name, red = list(REDS.items())[20]
    here.put(name, red_picture(red))
    manifest.write_text("\n".join([*lines, f"{name},{here.uri_of(name)},v1"]))
    second = scorer.score(spec.model_copy(update={"run_id": "second"}))
    assert (second.report.num_planned, second.report.num_scored, second.report.num_reused) == (2, 1, 12)  # and the missing one again
    assert second.report.reasons == {"new": 1, "retry": 1}
    assert read_by_glob(output, "scores").num_rows == 13
    assert second.rows("scores")[name]["reason"] == "new"


def test_a_night_without_anything_due_needs_no_engine(scorer: Scorer, source: Store, output: Store) -> None:
    scorer.score(spec_for(source, output))
    with claimed_night(spec_for(source, output, run_id="second"), RED) as work:
        assert isinstance(work, PlanSummary) and (work.num_planned, work.num_reused) == (0, len(REDS))


def test_what_decides_the_rows_makes_another_run_and_nothing_else_does(source: Store, output: Store) -> None:
    spec = spec_for(source, output)

    def digest(**changes: object) -> str:
        return asked_of(spec_for(source, output, **changes), RED).digest

    assert digest() == asked_of(spec, RED).digest
    same = {"run_id": "x", "run_date": "2020-01-01", "rows_per_file": 3, "stall_minutes": 1, "price_per_hour": 3, "stale_seconds": 5}
    assert digest(**same, engine={"batch_size": 2, "num_workers": 3}, fetch={"threads": 9}) == digest()
    others = [
        {"exclude": ["*.tsv"]},
        {"limit": 3},
        {"retry": ["poison"]},
        {"review": {"max_score_std": 1.0}},
        {"fetch": {"max_pixels": 99}},
        {"engine": {"critique": False}},
        {"input": None, "manifest": "m.csv"},
        {"input": None, "inventory": "s3://b/manifest.json"},
    ]
    assert len({digest(), *(digest(**other) for other in others)}) == 1 + len(others)


def test_a_model_that_was_taken_back_is_scored_with_when_that_is_accepted(scorer: Scorer, source: Store, output: Store) -> None:
    scorer.score(spec_for(source, output))
    operations.rollback(output)
    with pytest.raises(UserError, match="say accept_rolled_back=true"), claimed_night(spec_for(source, output), RED):
        pass
    with claimed_night(spec_for(source, output, accept_rolled_back=True), RED) as work:
        assert work.summary.num_planned == len(REDS)
