"""One budget of requests: with a clock of its own, and before a server that complains."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from artquant.storage import patience
from artquant.storage.budget import Budget
from artquant.storage.embedded import EmbeddedStore
from artquant.storage.store import Store, open_store
from tests.s3_proxy import worse_store


class Clock:
    """A clock that only waiting moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def sent(budget: Budget, clock: Clock, seconds: float) -> int:
    """How many requests get through in so many seconds."""
    end, num = clock.now + seconds, 0
    while clock.now < end:
        budget.take()
        num += 1
    return num


def test_no_more_than_the_limit_are_sent(clock: Clock) -> None:
    budget = Budget(clock, clock.sleep)
    budget.limit(50)
    assert sent(budget, clock, 20) == pytest.approx(50 * 20, rel=0.02)
    budget.limit(10)
    assert sent(budget, clock, 20) == pytest.approx(10 * 20, rel=0.1)


def test_without_a_limit_nothing_waits_until_the_store_complains(clock: Clock) -> None:
    budget = Budget(clock, clock.sleep)
    for _ in range(3_000):
        budget.take()
        clock.sleep(0.01)  # a hundred a second, as fast as the store answers
    assert budget.rate is None and budget.drain() == 0
    budget.slow_down()
    assert budget.rate == pytest.approx(50, rel=0.1)
    assert sent(budget, clock, 1) == pytest.approx(50, rel=0.2)
    assert budget.drain() == pytest.approx(1, abs=0.2)
    assert budget.drain() == 0


def test_each_complaint_halves_and_quiet_adds_the_same_each_second(clock: Clock) -> None:
    budget = Budget(clock, clock.sleep)
    budget.limit(80)
    for expected in (40, 20, 10):
        budget.slow_down()
        budget.slow_down()  # about the same burst
        assert budget.rate == pytest.approx(expected, rel=0.2)
        clock.sleep(1.1)
    before = [budget.rate]
    for _ in range(4):
        clock.sleep(10)
        before.append(budget.rate)
    steps = [after - rate for rate, after in zip(before, before[1:], strict=False)]
    assert steps == [pytest.approx(steps[0])] * 4 and steps[0] > 1
    clock.sleep(10_000)
    assert budget.rate == 80, "never above the limit"


def test_a_store_that_always_complains_is_still_asked_now_and_then(clock: Clock) -> None:
    budget = Budget(clock, clock.sleep)
    for _ in range(100):
        budget.slow_down()
        clock.sleep(1.1)
    assert sent(budget, clock, 60) >= 10


def test_two_processes_that_hear_the_same_come_to_the_same_rate(clock: Clock) -> None:
    greedy, modest = Budget(clock, clock.sleep), Budget(clock, clock.sleep)
    greedy.limit(1_000)
    modest.limit(1_000)
    for _ in range(3):
        modest.slow_down()
        clock.sleep(1.1)
    rates = []
    for _ in range(200):
        clock.sleep(1.1)
        if (greedy.rate or 0) + (modest.rate or 0) > 400:  # what the store can do
            greedy.slow_down()
            modest.slow_down()
        rates.append((greedy.rate or 0) / (modest.rate or 1))
    assert rates[0] > 4 and rates[-1] < 2


def test_a_store_that_complains_about_a_fifth_loses_nothing_and_is_asked_less(
    s3_server: EmbeddedStore, s3_folder: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"{number}.jpg" for number in range(60)]
    for key in keys:
        s3_folder.put(key, key.encode())
    budget = Budget()
    monkeypatch.setattr(patience, "BUDGET", budget)
    with worse_store(s3_server, monkeypatch, answer=lambda number: 503 if number % 5 == 0 else 0) as proxy:
        store = open_store(s3_folder.uri)
        with ThreadPoolExecutor(8) as pool:
            assert [fetched.data for fetched in pool.map(store.fetch, keys)] == [key.encode() for key in keys]
    assert proxy.number >= 74 and budget.rate is not None
    assert budget.drain() > 0 and threading.active_count() < 100
