"""An endpoint as a player, against a real server on loopback that misbehaves where it is told to."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from artquant.core.errors import Reject, UserError
from artquant.core.schema import RejectClass
from artquant.descriptions import Answer
from artquant.descriptions.endpoint import Endpoint, data_url, is_external, reservation
from artquant.descriptions.pace import Pace, pause_of
from artquant.descriptions.parsing import parse_texts
from artquant.descriptions.purse import Limit, Purse
from tests.descriptions.conftest import KNOWN, asking, flat, spec_of
from tests.model_server import ModelServer


def nothing(*_: object) -> None:
    pass


@pytest.mark.parametrize("trouble", ["429", "stall", "break off"])
def test_trouble_that_passes_is_tried_again_and_each_attempt_that_may_have_been_computed_is_paid(trouble, purse):
    with ModelServer(KNOWN, {0: trouble}) as server:
        spec = spec_of(server.url)
        (answer,) = Endpoint(spec, 32).ask([asking(3)], purse, nothing)
    assert isinstance(answer, Answer) and parse_texts(answer.text) == {k: KNOWN[2][1][k] for k in ("perception", "cognition", "emotion")}
    assert len(server.requests) == 2
    used = answer.input_tokens + answer.output_tokens
    assert purse.tokens == used + (0 if trouble == "429" else reservation(asking(3), spec)[0])


def test_trouble_that_stays_is_a_class_of_its_own(purse):
    with ModelServer(KNOWN, lambda number: "429") as server:
        (answer,) = Endpoint(spec_of(server.url, attempts=3), 32).ask([asking(1)], purse, nothing)
    assert isinstance(answer, Reject) and answer.reject_class is RejectClass.UNANSWERED and len(server.requests) == 3
    assert purse.tokens == 0


def test_a_key_that_is_refused_ends_the_job(purse):
    with ModelServer(KNOWN, lambda number: "key") as server, pytest.raises(UserError, match="Check the key"):
        Endpoint(spec_of(server.url), 32).ask([asking(1)], purse, nothing)


def test_refusals_and_answers_that_were_cut_off_are_told_apart(purse):
    with ModelServer(KNOWN, {0: "refuse", 1: "cut off"}) as server:
        answers = Endpoint(spec_of(server.url, concurrency=1), 32).ask([asking(1), asking(2), asking(3)], purse, nothing)
    assert [(one.is_refused, one.is_cut_off) for one in answers] == [(True, False), (False, True), (False, False)]


def test_what_a_server_does_not_know_is_left_out_and_the_verdict_is_read_from_the_words(purse):
    question = 'Is it 3.0 on a scale? {"agrees"} ' + " ".join(KNOWN[2][1][part] for part in ("perception", "cognition", "emotion"))
    with ModelServer(KNOWN, lambda number: "400 logprobs") as server:
        endpoint = Endpoint(spec_of(server.url), 32)
        first, second = (endpoint.ask([asking(3, question, "verdict", seed)], purse, nothing)[0] for seed in (0, 1))
    assert isinstance(first, Answer) and first.probability is None and '"yes"' in first.text and second == first
    assert ["logprobs" in body for body in server.requests] == [True, False, False]
    with ModelServer(KNOWN) as server:
        (answer,) = Endpoint(spec_of(server.url), 32).ask([asking(3, question, "verdict")], purse, nothing)
    assert answer.probability == pytest.approx(0.9)


def test_the_budget_is_never_passed_whatever_the_server_does(store):
    spec = spec_of("http://127.0.0.1:1/v1")
    for share in (0.4, 1.0, 2.5, 6.0):
        limit = int(reservation(asking(1), spec)[0] * share)
        purse = Purse(store.child(str(share)), Limit(tokens=limit))
        with ModelServer(KNOWN, lambda number: ("429", "break off", None, None)[number % 4]) as server:
            answers = Endpoint(spec_of(server.url, concurrency=4), 32).ask([asking(n) for n in range(1, 11)], purse, nothing)
        assert purse.tokens <= limit and server.tokens <= limit
        refused = [one for one in answers if isinstance(one, Reject) and one.reject_class is RejectClass.BUDGET]
        assert refused and (share > 1 or len(refused) >= 9)


def test_a_picture_travels_without_anything_but_its_pixels():
    picture = Image.open(io.BytesIO(base64.b64decode(data_url(flat(200)).partition(",")[2])))
    assert picture.size == (32, 32) and not picture.getexif() and set(picture.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


def test_only_loopback_is_this_machine():
    assert not is_external("http://127.0.0.1:80/v1") and not is_external("http://localhost/v1")
    assert is_external("https://api.example.com/v1") and is_external("http://127.0.0.1.example.com/v1")


def test_requests_keep_both_rates_and_the_pause_that_was_asked_for():
    now = [0.0]
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    pace = Pace(60, 6000, lambda: now[0], sleep)
    for tokens in (50, 300, 50):
        pace.wait(tokens)
    assert slept == [1.0, 3.0]
    pace.pause(10)
    pace.wait(1)
    assert slept[-1] == 10.0


def test_a_pause_is_what_the_header_says_or_grows_with_the_attempts():
    class Most:
        def uniform(self, low: float, high: float) -> float:
            return high

    assert pause_of("2.5", 1, Most()) == 2.5 and pause_of("9999", 1, Most()) == 120
    assert pause_of("Wed, 21 Oct 2015 07:28:00 GMT", 1, Most()) == 0
    assert [pause_of(None, attempt, Most()) for attempt in (1, 2, 3, 9)] == [1, 2, 4, 30]
    assert pause_of("soon", 2, Most()) == 2


def test_a_key_must_be_there_for_an_endpoint_outside(monkeypatch):
    monkeypatch.delenv("SOME_KEY", raising=False)
    with pytest.raises(UserError, match="set SOME_KEY"):
        Endpoint(spec_of("https://api.example.com/v1", environment_variable="SOME_KEY"), 32)
    monkeypatch.setenv("SOME_KEY", "secret")
    assert Endpoint(spec_of("https://api.example.com/v1", environment_variable="SOME_KEY"), 32).client.api_key == "secret"
