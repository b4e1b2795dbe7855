"""What is spent is known after a kill and never too low; what was answered is not asked again."""

from __future__ import annotations

import threading

import pytest

from artquant.descriptions import Answer
from artquant.descriptions.cache import Asker, Decoding
from artquant.descriptions.endpoint import Endpoint
from artquant.descriptions.purse import Limit, Purse, read_spent
from tests.descriptions.conftest import KNOWN, asking, spec_of
from tests.model_server import ModelServer


def test_many_threads_together_never_pass_either_limit(store):
    purse = Purse(store, Limit(tokens=1000, money=0.5))
    granted: list[tuple[int, float]] = []

    def work() -> None:
        for _ in range(30):
            if purse.reserve(20, 0.02):
                granted.append((20, 0.02))
                assert purse.tokens <= 1000 and purse.money <= 0.5 + 1e-9
                purse.settle((20, 0.02), (15, 0.01))

    threads = [threading.Thread(target=work) for _ in range(8)]
    [one.start() for one in threads]
    [one.join() for one in threads]
    assert len(granted) * 0.01 <= 0.5 and 45 <= len(granted) <= 50 and purse.num_refused == 240 - len(granted)


def test_after_a_kill_the_mark_covers_all_that_was_granted_and_a_larger_budget_goes_on(store):
    purse = Purse(store, Limit(tokens=1000))
    assert purse.reserve(300, 0) and purse.reserve(100, 0)
    purse.settle((300, 0.0), (250, 0.0))
    after = Purse(store, Limit(tokens=1000))  # the first process is gone
    assert 400 <= after.tokens <= 400 + 10 + 10
    assert not after.reserve(700, 0)
    assert Purse(store, Limit(tokens=2000)).reserve(700, 0)


def test_what_was_used_is_written_down_at_the_end(store):
    purse = Purse(store, Limit(tokens=1000))
    assert purse.reserve(300, 0.0)
    purse.settle((300, 0.0), (123, 0.25))
    assert purse.close().tokens == 123
    assert (read_spent(store).tokens, read_spent(store).money) == (123, 0.25)


def test_repeated_work_costs_nothing_and_another_model_template_or_decoding_gets_no_old_answer(store, purse):
    with ModelServer(KNOWN) as server:

        def asker(template: str = "t", tokens: int = 200, model: str = "m") -> Asker:
            return Asker(Endpoint(spec_of(server.url, model=model), 32), store, purse, Decoding(tokens, 0.0, 32), template)

        asked = [asking(1), asking(2), asking(1)]
        first = asker().ask(asked)
        assert len(server.requests) == 2 and first[0] == first[2]
        spent = purse.tokens
        again = asker()
        assert again.ask(asked) == first and (again.num_cached, again.num_asked) == (2, 0) and purse.tokens == spent
        assert len(server.requests) == 2
        for changed in (asker(template="u"), asker(tokens=100), asker(model="n")):
            changed.ask(asked[:1])
        assert len(server.requests) == 5
        asker().ask([asking(1, seed=1)])
        assert len(server.requests) == 6


def test_an_answer_is_kept_as_soon_as_it_is_there(store, purse):
    class Killed(BaseException):
        pass

    class Dying:
        digest, image_size = "d", 32

        def ask(self, requests, budget, keep):
            keep(requests[0], Answer("one", 1, 1))
            raise Killed

    class Living:
        digest, image_size = "d", 32

        def ask(self, requests, budget, keep):
            assert [one.artwork_id for one in requests] == ["2"]
            return [Answer("two", 1, 1)]

    how = Decoding(1, 0.0, 32)
    with pytest.raises(Killed):
        Asker(Dying(), store, purse, how, "t").ask([asking(1), asking(2)])
    assert [one.text for one in Asker(Living(), store, purse, how, "t").ask([asking(1), asking(2)])] == ["one", "two"]
