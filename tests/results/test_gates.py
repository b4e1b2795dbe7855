"""A run that looks unlike the last one is held: nothing of it is visible until somebody releases it."""

from __future__ import annotations

from pathlib import Path

import pytest

from artquant.agreement.drift import Tally
from artquant.config import GateSpec
from artquant.core.errors import AnotherRun, Held, UserError
from artquant.results import gates, layout, operations
from artquant.results.gates import Judged
from artquant.results.ledger import scorer_digest
from artquant.results.nights import Work
from artquant.results.snapshots import head, history
from artquant.storage.store import Store, open_store
from tests.results import nights

SCORER = scorer_digest(nights.IDENTITY)


def judge(work: Work, tally: Tally, min_count: int = 10) -> Judged:
    return gates.judge(GateSpec(min_count=min_count), SCORER, work.parent, work.summary, tally)


def lenient(work: Work, tally: Tally) -> Judged:
    return judge(work, tally, 1_000)


@pytest.fixture
def places(tmp_path: Path) -> tuple[Store, Store]:
    """A collection of 60 of which the first night scored 30 with a score of about 8, and the second is to find scores of 2."""
    source, output = open_store(str(tmp_path / "art")), open_store(str(tmp_path / "out"))
    for number in range(30):
        source.put(f"a{number:02}.jpg", b"12345678" if number % 2 else b"123456789")
    nights.night(output, nights.asked(source), "first", judge=judge)
    for number in range(30):
        source.put(f"b{number:02}.jpg", b"12")
    return source, output


def test_a_held_run_is_invisible_until_it_is_released_and_nothing_is_scored_again(places: tuple[Store, Store]) -> None:
    source, output = places
    before = nights.rows_by_glob(output)
    with pytest.raises(Held, match="score distribution .PSI. .* artquant snapshots release .* second") as held:
        nights.night(output, nights.asked(source), "second", judge=judge)
    assert held.value.exit_code == 4
    assert nights.rows_by_glob(output) == before and len(history(output)) == 1
    scored = sorted(info.key for info in output.list(layout.ROOT) if "/attempts/" in info.key)
    with pytest.raises(Held):
        nights.night(output, nights.asked(source), "again", judge=judge)
    assert sorted(info.key for info in output.list(layout.ROOT) if "/attempts/" in info.key) == scored

    with pytest.raises(AnotherRun, match="second is held"):
        nights.night(output, nights.asked(source, limit=5), "other", judge=judge)
    snapshot = operations.release(output, "second")
    assert (snapshot.number, snapshot.run_id, snapshot.kind) == (2, "second", "run")
    assert len(nights.rows_by_glob(output)) == 60
    assert {check["name"] for check in snapshot.gates if check["outcome"] == "beyond"} >= {"score distribution (PSI)"}
    assert output.exists(layout.run_key("second", "manifest.json"))
    assert nights.night(output, nights.asked(source), "third", judge=judge).num_planned == 0


def test_a_wider_bound_publishes_what_was_held(places: tuple[Store, Store]) -> None:
    source, output = places
    with pytest.raises(Held):
        nights.night(output, nights.asked(source), "second", judge=judge)
    assert nights.night(output, nights.asked(source), "again", judge=lenient).run_id == "second"
    assert not any(info.key.endswith("held.json") for info in output.list(layout.ROOT))


def test_what_was_held_cannot_be_released_once_the_parent_moved(places: tuple[Store, Store]) -> None:
    source, output = places
    with pytest.raises(Held):
        nights.night(output, nights.asked(source), "second", judge=judge)
    operations.rollback(output)
    with pytest.raises(UserError, match="Something was published after second was held"):
        operations.release(output, "second")
    assert nights.rows_by_glob(output) == []


def test_a_held_run_that_is_given_up_is_scored_anew(places: tuple[Store, Store]) -> None:
    source, output = places
    with pytest.raises(Held):
        nights.night(output, nights.asked(source), "second", judge=judge)
    assert operations.abandon(output) == "second"
    assert nights.night(output, nights.asked(source), "third", judge=lenient).run_id == "third"
    assert len(nights.rows_by_glob(output)) == 60


def test_a_small_night_adds_to_what_the_next_is_compared_with_and_a_rollback_takes_it_out(places: tuple[Store, Store]) -> None:
    source, output = places
    source.delete([f"b{number:02}.jpg" for number in range(5, 30)])
    first = head(output)
    second = nights.night(output, nights.asked(source), "second", judge=judge)
    assert [sum(one.tallies[SCORER]["levels"]) for one in (first, second)] == [30, 35]
    assert {check["outcome"] for check in second.gates if check["num"] == 5} == {"reported"}
    assert operations.rollback(output).tallies == first.tallies
