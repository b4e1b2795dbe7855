"""A store in trouble that passes: what is waited for, for how long, and what is said where it does not."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from artquant.config import FetchSpec
from artquant.core.errors import UserError
from artquant.core.schema import RejectClass
from artquant.pipelines.loader import Loader
from artquant.storage import clients as storage_clients
from artquant.storage import store as storage
from artquant.storage.embedded import EmbeddedStore
from artquant.storage.errors import BROKEN_OFF, classify, user_message
from artquant.storage.patience import Exhausted, Outage, patiently
from artquant.storage.requests import REQUESTS
from artquant.storage.store import FetchError, Store, open_store


class Proxy:
    """Stands before a server; each connection may be refused, left without an answer, or reset."""

    def __init__(self, port: int):
        self.target, self.trouble, self.number = port, (lambda number: ""), 0
        self.trouble: Callable[[int], str]
        self.open()

    def open(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", getattr(self, "port", 0)))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client = listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self.target)) as server:
            while request := self.request(client):
                self.number += 1
                what = self.trouble(self.number)
                if what == "stall":
                    time.sleep(20)
                if what:
                    if what == "reset":
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                    return
                server.sendall(request)
                client.sendall(server.recv(1 << 16))  # the tests' answers are small

    def request(self, client: socket.socket) -> bytes:
        try:
            return client.recv(1 << 16)
        except OSError:
            return b""


@pytest.fixture
def proxy(s3_server: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    port = int(s3_server.environment["AWS_ENDPOINT_URL"].rpartition(":")[2])
    proxy = Proxy(port)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
    yield proxy
    proxy.close()


@pytest.fixture
def away(proxy: Proxy) -> Callable[[float], None]:
    def away(seconds: float) -> None:
        proxy.close()
        threading.Timer(seconds, proxy.open).start()

    return away


def test_a_store_that_is_away_for_a_while_costs_no_artwork(s3_folder: Store, proxy: Proxy, away: Callable[[float], None]) -> None:
    keys = [f"{number}.jpg" for number in range(40)]
    for key in keys:
        s3_folder.put(key, key.encode())
    store = open_store(s3_folder.uri)
    away(3)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda key: store.fetch(key, patience_seconds=30).data, keys))
    assert found == [key.encode() for key in keys]


def test_reads_writes_and_listings_wait_for_a_store_that_is_away(s3_folder: Store, away: Callable[[float], None]) -> None:
    s3_folder.put("k", b"v")
    store = open_store(s3_folder.uri)
    calls = {
        "get": lambda: store.get("k"),
        "put": lambda: store.put("new", b"v"),
        "head": lambda: store.head("k"),
        "list": lambda: list(store.list()),
        "create": lambda: store.put_if_absent("created", b"v"),
        "delete": lambda: store.delete("nothing"),
    }
    away(4)
    with ThreadPoolExecutor(len(calls)) as pool:
        for work in [pool.submit(call) for call in calls.values()]:
            work.result(timeout=40)
    assert {info.key for info in s3_folder.list()} == {"k", "new", "created"}


def test_requests_that_get_no_answer_cost_seconds_and_no_artwork(s3_folder: Store, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_clients, "_STALL_SECONDS", 0.5)
    for number in range(30):
        s3_folder.put(str(number), b"x")
    proxy.trouble = lambda number: "stall" if number % 5 == 0 else ""
    store, start = open_store(s3_folder.uri), time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda number: store.fetch(str(number)).data, range(30))) == [b"x"] * 30
    assert time.monotonic() - start < 15


def test_a_store_that_stays_away_ends_in_one_sentence_within_the_patience(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy.close()
    monkeypatch.setattr(storage, "PATIENCE_SECONDS", 1.5)
    monkeypatch.setattr(storage_clients, "PATIENCE_SECONDS", 1.5)
    store, start = open_store("s3://artquant/x"), time.monotonic()
    for call in (lambda: list(store.list()), lambda: store.put("k", b"")):
        with pytest.raises(UserError, match="no connection; check AWS_ENDPOINT_URL"):
            call()
    messages = set()
    for _ in range(20):  # the store has been away for longer than that: one try each
        with pytest.raises(FetchError) as error:
            store.fetch("k", patience_seconds=1.5)
        messages.add((error.value.reject_class, error.value.message))
    assert messages == {(RejectClass.TIMEOUT, "no connection")}
    assert 1.5 < time.monotonic() - start < 15
    proxy.open()


@pytest.mark.parametrize("trouble", ["reset", "close"])
def test_the_same_trouble_has_the_same_words_and_no_address(proxy: Proxy, trouble: str) -> None:
    proxy.trouble = lambda number: trouble
    messages = set()
    for number in range(6):
        with pytest.raises(FetchError) as error:
            open_store("s3://artquant/secret-place").fetch(str(number), attempts=1, patience_seconds=0)
        messages.add(error.value.message)
    assert len(messages) == 1 and "http:" not in str(messages) and "secret" not in str(messages), messages


def test_the_tries_end_when_both_their_number_and_the_patience_are_used_up() -> None:
    def fail(attempt: int) -> None:
        raise TimeoutError("kind: Timeout")

    for attempts, patience_seconds, least in ((3, 0.0, 3), (1, 1.0, 3)):
        start = time.monotonic()
        with pytest.raises(Exhausted) as error:
            patiently(fail, Outage(), attempts=attempts, patience_seconds=patience_seconds)
        assert error.value.attempts >= least and time.monotonic() - start >= patience_seconds
    with pytest.raises(Exhausted) as error:
        patiently(fail, Outage(), patience_seconds=9, is_repeatable=False)
    assert error.value.attempts == 1


def test_every_try_is_counted_under_its_operation_and_what_became_of_it() -> None:
    answers = iter([TimeoutError("kind: Timeout"), None])

    def call(attempt: int) -> None:
        if error := next(answers):
            raise error

    REQUESTS.drain()
    patiently(call, Outage(), attempts=3, patience_seconds=9, operation="put")
    assert REQUESTS.drain() == {("put", "timeout"): 1, ("put", "ok"): 1}
    assert REQUESTS.drain() == {}


class Short:
    """A backend whose first answers lack the end."""

    is_remote, server = True, "short"

    def __init__(self, num_short: int):
        self.num_short = num_short

    def get(self, path: str, attempt: int, timeout_seconds: float) -> tuple[bytes, str]:
        return (b"wh" if attempt <= self.num_short else b"whole"), "e"


def test_an_answer_shorter_than_the_plan_says_broke_off_and_is_asked_for_again() -> None:
    store = Store("s3://b", "", Short(1))  # type: ignore[arg-type]
    assert store.fetch("k", size_bytes=5, etag="e") == (b"whole", "e", 2)
    assert store.fetch("k", size_bytes=5, etag="an older version").data == b"wh"
    with pytest.raises(FetchError, match=BROKEN_OFF) as error:
        Store("s3://b", "", Short(99)).fetch("k", attempts=2, patience_seconds=0, size_bytes=5, etag="e")  # type: ignore[arg-type]
    assert (error.value.reject_class, error.value.attempts) == (RejectClass.TIMEOUT, 2)


def test_the_loader_hands_its_settings_and_the_plans_size_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def fetch(self: Store, key: str, **options: object) -> None:
        asked.update(options)
        raise FetchError(RejectClass.TIMEOUT, "no answer in time", 2)

    monkeypatch.setattr(Store, "fetch", fetch)
    loader = Loader(str(tmp_path), 8, FetchSpec(threads=1, attempts=2, patience_seconds=7, timeout_seconds=3))
    _, loading = loader.begin([{"artwork_id": "a", "etag": "e", "size_bytes": 5}])
    assert loading[0].result(timeout=30)["attempts"] == 2
    assert asked == {"attempts": 2, "patience_seconds": 7, "timeout_seconds": 3, "size_bytes": 5, "etag": "e"}


def test_what_is_not_known_is_said_without_address_and_duration() -> None:
    text = "Generic S3 error: odd thing at http://host:1/b/k?X-Amz-Signature=1 in 1.61ms"
    assert classify(ValueError(text)) == (RejectClass.TIMEOUT, "Generic S3 error: odd thing at ... in ...")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("status code: 400 <Code>ExpiredToken</Code>"), "the credentials are out of date (400 ExpiredToken); renew them"),
        (ValueError("status code: 403 <Code>AccessDenied</Code>"), "access is denied (403 AccessDenied); check the credentials"),
        (PermissionError(13, "no", "/x"), "access is denied (by the file system); check who owns it"),
        (OSError(28, "full", "/x"), "the disk is full; make room there"),
    ],
)
def test_a_refusal_says_what_to_do(error: Exception, words: str) -> None:
    assert words in user_message(error, "write s3://b/k", "check the network")
