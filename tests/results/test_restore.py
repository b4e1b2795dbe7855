"""A backup is a copy of `_artquant/`; restored elsewhere, readers have the same rows and the next night scores nothing twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from artquant.cli.main import main
from artquant.results import operations
from artquant.results.plan import PlanSummary
from artquant.results.snapshots import head, history
from artquant.storage.store import Store, open_store
from tests.results import nights


@pytest.fixture
def source(tmp_path: Path) -> Store:
    store = open_store(str(tmp_path / "art"))
    for number in range(7):
        store.put(f"{number}.jpg", nights.BROKEN if number == 6 else b"x" * (number + 1))
    return store


def copied(output: Store, target: Store) -> Store:
    """As `aws s3 sync s3://bucket/scores/_artquant s3://backup/_artquant` does: no view, no CURRENT, no order."""
    for info in sorted(output.list("_artquant"), key=lambda info: info.key[::-1]):
        target.put(info.key, output.get(info.key))
    return target


def test_a_restored_output_has_the_same_rows_the_same_chain_and_goes_on(source: Store, tmp_path: Path) -> None:
    output = open_store(str(tmp_path / "out"))
    nights.night(output, nights.asked(source), "first")
    source.put("new.jpg", b"new")
    nights.night(output, nights.asked(source), "second")
    operations.rollback(output)
    operations.release(output, "second")
    restored = copied(output, open_store(str(tmp_path / "restored")))
    assert main(["snapshots", "clean", restored.uri]) == 0  # the view comes with any command that writes
    assert nights.rows_by_glob(restored) == nights.rows_by_glob(output) and nights.rows_by_glob(output)
    assert nights.rows_by_glob(restored, "rejects") == nights.rows_by_glob(output, "rejects")
    assert [one.write_id for one in history(restored)] == [one.write_id for one in history(output)]
    assert isinstance(nights.night(restored, nights.asked(source), "after"), PlanSummary), "nothing is due"
    source.put("late.jpg", b"late")
    nights.night(restored, nights.asked(source), "later")
    last = head(restored)
    assert last is not None and last.counts["planned"] == 1
    assert operations.rollback(restored).number == last.number + 1


def test_a_copy_that_was_made_while_a_run_worked_is_the_last_whole_night(source: Store, tmp_path: Path) -> None:
    output = open_store(str(tmp_path / "out"))
    nights.night(output, nights.asked(source), "first")
    before = nights.rows_by_glob(output)
    source.put("new.jpg", b"new")
    with pytest.raises(KeyboardInterrupt):
        nights.night(output, nights.asked(source), "second", stop_after=0)
    restored = copied(output, open_store(str(tmp_path / "restored")))
    nights.opened(restored)
    assert nights.rows_by_glob(restored) == before
    nights.night(restored, nights.asked(source), "second")
    assert len(nights.rows_by_glob(restored)) == len(before) + 1
