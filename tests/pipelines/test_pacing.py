"""What fits into a night, and whose texts come first; no store, no Ray."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artquant.core.moments import moment
from artquant.core.schema import score_schema
from artquant.pipelines.pacing import FIRST, Piece, fitting, pieces
from artquant.results.queue import Queue, next_in_line
from tests.pipelines.engines import RED

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("06:00", "2026-11-28T06:00+00:00"),  # the next one
        ("13:30", "2026-11-27T13:30+00:00"),
        ("12:00", "2026-11-28T12:00+00:00"),
        ("6:00 Europe/Berlin", "2026-11-28T05:00+00:00"),
        ("06:00+02:00", "2026-11-28T04:00+00:00"),
        ("06:00Z", "2026-11-28T06:00+00:00"),
        ("2026-11-29T06:00", "2026-11-29T06:00+00:00"),
        ("2026-11-29T06:00:30-05:00", "2026-11-29T11:00:30+00:00"),
    ],
)
def test_a_deadline_is_the_next_such_moment_in_its_zone(text: str, expected: str) -> None:
    assert moment(text, NOON) == datetime.fromisoformat(expected)


@pytest.mark.parametrize("text", ["tomorrow", "25:00", "06:00 Europe/Nowhere", "2026-11-28", "6", "06:00 am"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        moment(text, NOON)


@pytest.mark.parametrize(
    "seconds, texts, pace, overhead, expected",
    [
        (1000, True, 10, 0, 8000),
        (1000, True, 10, 200, 6400),
        (250, True, 10, 200, 0),
        (1000, False, None, 60, FIRST),  # whose rate is not known
        (160, False, None, 60, 400),
        (160, True, None, 60, 40),
        (60, False, None, 60, 0),
        (-5, True, 10, 0, 0),
    ],
)
def test_what_fits_leaves_time_for_publishing_and_for_slower_hours(
    seconds: float, texts: bool, pace: float, overhead: float, expected: int
) -> None:
    assert fitting(seconds, texts, pace, overhead) == expected


class Night:
    """Runs that take the time that their rates say, of which the first one or more may be thought to be faster."""

    def __init__(self, seconds: float, num_scores: int, num_texts: int, true_paces: dict[bool, float], overhead: float = 30.0) -> None:
        self.seconds, self.due, self.true_paces, self.overhead = seconds, {False: num_scores, True: num_texts}, true_paces, overhead
        self.calls: list[tuple[bool, int]] = []

    def run(self, texts: bool, room: int) -> Piece:
        num = min(room, self.due[texts])
        self.calls.append((texts, num))
        self.due[texts] -= num
        if not texts:
            self.due[True] += num
        self.seconds -= self.overhead + num / self.true_paces[texts]
        return Piece(num, self.due[texts], self.true_paces[texts])

    def play(self, **options: bool) -> dict[bool, int | None]:
        return pieces(self.run, lambda: self.seconds, {False: None, True: None}, self.overhead, **options)


@given(
    st.floats(0, 40_000),
    st.integers(0, 200_000),
    st.integers(0, 50_000),
    st.floats(5, 500),
    st.floats(0.5, 50),
)
def test_a_night_ends_in_time_does_scores_first_and_knows_what_is_left(
    seconds: float, num_scores: int, num_texts: int, score_pace: float, text_pace: float
) -> None:
    night = Night(seconds, num_scores, num_texts, {False: score_pace, True: text_pace})
    left = night.play()
    assert night.seconds >= min(0, seconds) - 1e-6
    assert all(left[texts] == night.due[texts] for texts in left if left[texts] is not None)
    kinds = [texts for texts, _ in night.calls]
    assert kinds == sorted(kinds), "scores come first"
    if night.due[False]:
        assert left[False] is None or left[False] > 0
    assert len(night.calls) < 30


def test_texts_that_were_broken_off_are_finished_first_and_scores_come_before_more_of_them() -> None:
    night = Night(10_000, 50, 3000, {False: 10, True: 10})
    night.play(begin_with_texts=True)
    assert [texts for texts, _ in night.calls][:3] == [True, False, True]
    night = Night(10_000, 50, 3000, {False: 10, True: 10})
    night.play(with_texts=False)
    assert [texts for texts, _ in night.calls] == [False]


def scores(*rows: tuple[str, str, bool, datetime, str]) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {"artwork_id": name, "reason": reason, "needs_review": unsure, "scored_at": at, "critique_status": status, **vars(RED)}
            for name, reason, unsure, at, status in rows
        ],
        score_schema(),
    )


def test_new_artworks_come_first_then_uncertain_ones_then_the_rest_and_those_with_texts_never() -> None:
    old = NOON - timedelta(days=3)
    first = scores(
        ("a-rest", "new", False, old, "not_requested"),
        ("b-has-texts", "new", True, NOON, "ok"),
        ("c-uncertain", "model", True, old, "not_requested"),
        ("d-new", "new", False, NOON, "not_requested"),
    )
    second = scores(("e-changed", "changed", True, NOON, "not_requested"), ("f-rest", "model", False, NOON, "not_requested"))
    other = second.set_column(second.schema.get_field_index("model_digest"), "model_digest", pa.array(["another", "another"]))
    since = NOON - timedelta(hours=24)

    def line(room: int) -> list[str]:
        return next_in_line([first, other, second], RED, Queue(room, since)).to_pylist()

    assert line(9) == ["d-new", "e-changed", "c-uncertain", "a-rest", "f-rest"]
    assert line(3) == ["d-new", "e-changed", "c-uncertain"]
    assert line(0) == []
