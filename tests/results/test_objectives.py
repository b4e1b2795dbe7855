"""What was promised of the nights, held against what they published."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest

from artquant.agreement.drift import Check
from artquant.cli.main import main
from artquant.core.errors import Held
from artquant.results import layout
from artquant.results.gates import Judged
from artquant.results.objectives import Night, Objective, nights_of, objectives
from artquant.results.snapshots import head
from artquant.results.state import held_run_of, quiet_nights
from artquant.storage.store import Store, open_store
from tests.progress.test_watch import web
from tests.results import nights

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
BY = time(6)


def at(days_ago: int, hour: int = 3) -> datetime:
    return NOW.replace(hour=hour) - timedelta(days=days_ago)


def night(days_ago: int, hour: int = 3, **changes: float) -> Night:
    given = {"num_planned": 100, "num_scored": 100, "num_lost": 0, "num_passing": 0, "seconds": 100.0}
    return Night(published_at=at(days_ago, hour), **(given | changes))  # type: ignore[arg-type]


def held_to(found: list[Night], quiet: list[datetime] | None = None) -> dict[str, Objective]:
    return {one.name.split()[0]: one for one in objectives(found, quiet or [], BY, NOW)}


def test_a_day_without_an_end_before_its_hour_is_one_that_was_missed() -> None:
    every = held_to([night(days) for days in range(10)])["over"]
    assert (every.good, every.num, every.is_met) == (10, 10, True)
    late = held_to([night(days, hour=7 if days == 4 else 3) for days in range(10)])["over"]
    assert (late.good, late.num, late.is_met) == (9, 10, False), "the late one came on the day of the next, which has its own"


def test_nothing_due_is_a_night_and_a_chain_that_is_old_counts_for_its_last_days_only() -> None:
    one = held_to([night(60), night(1)], [at(days) for days in range(2, 28)])["over"]
    assert (one.num, one.good) == (29, 27)


def test_rows_that_are_lost_or_twice_break_the_promise_and_no_budget_is_left() -> None:
    one = held_to([night(1), night(0, num_lost=1)])["neither"]
    assert (one.good, one.num, one.is_met, one.budget_left) == (199, 200, False, 0.0)


def test_rejects_that_pass_count_and_those_for_good_do_not() -> None:
    assert held_to([night(0, num_scored=90)])["due"].share == 1.0
    one = held_to([night(0, num_scored=95, num_passing=5)])["due"]
    assert one.share == 0.95 and not one.is_met and one.budget_left < -10


def test_the_view_is_to_follow_within_minutes() -> None:
    assert held_to([night(0, view_seconds=299.0)])["in"].is_met and not held_to([night(0, view_seconds=301.0)])["in"].is_met
    assert held_to([night(0)])["in"].num == 0


def test_a_night_is_dear_beside_the_seven_before_it() -> None:
    week = [night(8 - number) for number in range(7)]
    assert held_to([*week, night(0, seconds=119.0)])["within"].is_met
    dear = held_to([*week, night(0, seconds=121.0)])["within"]
    assert (dear.good, dear.num) == (0, 1) and held_to(week)["within"].num == 0


@pytest.fixture
def places(tmp_path: Path) -> tuple[Store, Store]:
    source, output = open_store(str(tmp_path / "art")), open_store(str(tmp_path / "out"))
    for number in range(4):
        source.put(f"{number}.jpg", nights.BROKEN if number == 3 else b"x" * (number + 1))
    return source, output


def test_nights_are_read_from_the_chain_and_forced_ones_too(places: tuple[Store, Store]) -> None:
    source, output = places
    nights.night(output, nights.asked(source), "first")
    output.put(layout.run_key("first", "metrics.json"), b'{"seconds": 4.0, "rejects_by_class": {"not_an_image": 1, "timeout": 0}}')
    nights.night(output, nights.asked(source), "quiet")
    nights.night(output, nights.asked(source, force=True), "again")
    first, again = nights_of(output)
    assert (first.num_planned, first.num_scored, first.num_lost, first.num_passing, first.seconds) == (4, 3, 0, 0, 4.0)
    assert (again.num_planned, again.num_lost, again.seconds) == (4, 0, None)
    assert again.view_seconds is not None and 0 <= again.view_seconds < 60 and first.view_seconds is None
    assert len(quiet_nights(output)) == 1


def test_the_command_shows_them_and_refuses_what_is_no_time(places: tuple[Store, Store], capsys: pytest.CaptureFixture[str]) -> None:
    source, output = places
    nights.night(output, nights.asked(source), "first")
    assert main(["snapshots", "slo", output.uri, "05:30"]) == 0
    said = capsys.readouterr().out
    assert "over by 05:30 UTC" in said and "neither lost nor twice" in said and "kept" in said and "nothing to measure yet" in said
    assert main(["snapshots", "slo", output.uri, "early"]) == 2
    assert "no time of day" in capsys.readouterr().err


def test_a_probe_says_of_the_store_what_a_run_would(
    places: tuple[Store, Store], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = places
    nights.night(output, nights.asked(source), "first")
    source.put("new.jpg", b"new")
    beyond = Judged((Check("psi", 1.0, 0.25, 400, 400, "beyond"),))
    with pytest.raises(Held):
        nights.night(output, nights.asked(source), "second", judge=lambda *given: beyond)
    assert held_run_of(output, head(output)) == "second"
    assert main(["snapshots", "metrics", output.uri]) == 0
    said = capsys.readouterr().out
    for line in ("artquant_run_held 1.0", 'artquant_snapshot_number{which="head"} 1.0', 'artquant_snapshot_number{which="view"} 1.0'):
        assert line in said
    assert "artquant_last_publish_timestamp_seconds" in said and "artquant_orphan_objects" in said
    file = tmp_path / "probe.prom"
    assert main(["snapshots", "metrics", output.uri, str(file)]) == 0
    assert "artquant_last_success_timestamp_seconds" in file.read_text()
    with web() as (address, asked):
        assert main(["snapshots", "metrics", output.uri, address]) == 0
    method, path, body = asked[-1]
    assert (method, path) == ("POST", "/metrics/job/artquant-probe") and b"artquant_run_held 1.0" in body
    assert main(["snapshots", "metrics", output.uri, address]) == 2, "nobody is there any more"
    assert main(["snapshots", "metrics", output.uri, "$NO_SUCH_GATEWAY"]) == 2
    assert capsys.readouterr().err.count("push gateway does not take") == 2
