"""When a run ends over its rejects: early, at its end, or not at all."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artquant.core.schema import reject_schema
from artquant.results import tally as tallying
from artquant.results.tally import EARLY_AFTER, KeptRejects, Tally, TooManyRejects


def outcomes(num_scored: int = 0, reason: str = "new", **rejected: int) -> pa.Table:
    classes = [""] * num_scored + [name for name, count in rejected.items() for _ in range(count)]
    return pa.table({"reason": pa.array([reason] * len(classes), pa.string()), "reject_class": pa.array(classes, pa.string())})


def fails(tally: Tally, is_over: bool = False) -> str:
    with pytest.raises(TooManyRejects) as failure:
        tally.check(is_over)
    return str(failure.value)


def test_a_broken_collection_ends_after_its_first_artworks_with_the_top_reasons() -> None:
    tally = Tally(0.5, 10, 1_000_000)
    tally.add(outcomes(200, empty=9, missing=30, truncated=50, not_an_image=EARLY_AFTER - 290))
    tally.check(is_over=False)  # one short of the first that are looked at
    tally.add(outcomes(1))
    assert fails(tally).startswith(
        "799 of the first 1,000 artworks were rejected (not_an_image 710, truncated 50, missing 30), more than max_rejected_fraction=0.5"
    )


def test_as_many_as_are_allowed_end_nothing_early_or_late() -> None:
    tally = Tally(0.5, 10, 2 * EARLY_AFTER)
    tally.add(outcomes(EARLY_AFTER, poison=EARLY_AFTER))
    for is_over in (False, True):
        tally.check(is_over)
    tally.add(outcomes(poison=1))
    assert "1,001 of 2,000 artworks were rejected (poison 1,001)" in fails(tally, is_over=True)


def test_a_small_collection_is_tried_to_its_end() -> None:
    tally = Tally(0.1, 10, 200)
    tally.add(outcomes(empty=200))
    tally.check(is_over=False)
    assert fails(tally, is_over=True).startswith("200 of 200 artworks")


def test_retries_and_a_few_artworks_are_no_broken_collection() -> None:
    retries = Tally(0.5, 1, 0)
    retries.add(outcomes(reason="retry", missing=11))
    few = Tally(0.5, 10, 3)
    few.add(outcomes(missing=3))
    for tally in (retries, few):
        for is_over in (False, True):
            tally.check(is_over)


def test_a_run_that_rejects_late_is_judged_by_all_its_rows() -> None:
    """At the end the rejects alone are added: from the files."""
    tally = Tally(0.5, 10, 10_000)
    tally.add(outcomes(empty=4_000))
    tally.check(is_over=True)


def test_the_rejects_of_a_failed_run_are_kept_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallying, "MAX_KEPT_REJECTS", 5)
    kept = KeptRejects()
    for start in (0, 3, 6):
        rows = [{"artwork_id": f"{number}.jpg", "reject_class": "empty"} for number in range(start, start + 3)]
        kept.add(pa.Table.from_pylist(rows, reject_schema()))
    assert (kept.num_kept, kept.num_seen) == (5, 9)
    table = pq.read_table(pa.BufferReader(kept.to_parquet()))
    assert table.column("artwork_id").to_pylist() == [f"{number}.jpg" for number in range(5)]
