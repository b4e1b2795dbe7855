"""A run is shown while it works and once at its end, by port, file and gateway; what does not work is said once and fails nothing."""

from __future__ import annotations

import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from artquant.config import WatchSpec
from artquant.progress.counts import StageCount
from artquant.progress.watch import RunWatch
from artquant.storage.requests import REQUESTS

Asked = list[tuple[str, str, bytes]]


@contextmanager
def web(status: int = 200) -> Iterator[tuple[str, Asked]]:
    """A server on loopback: its address, and (method, path, body) of what it was asked."""
    asked: Asked = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            asked.append((self.command, self.path, self.rfile.read(int(self.headers.get("Content-Length") or 0))))
            self.send_response(status)
            self.end_headers()

        do_POST = do_PUT = do_GET = answer

        def log_message(self, *given: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def test_a_scrape_sees_the_run_as_it_is_and_the_port_closes_with_it() -> None:
    watch, said = RunWatch(), []
    with watch.shown(WatchSpec(metrics_port=0), said.append):
        address = f"http://127.0.0.1:{watch.port}/metrics"
        watch.add(["", "missing", None])
        watch.see({"score": StageCount(num_rows=3, busy_seconds=2.0)})
        text = urllib.request.urlopen(address).read().decode()
        assert 'artquant_rows_total{outcome="scored",stage="score"} 2.0' in text and "artquant_run_active 1.0" in text
        assert "artquant_engine_busy_seconds_total 2.0" in text
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(address)
    assert said == []


def test_the_port_is_that_of_the_host_that_is_named() -> None:
    watch = RunWatch()
    with watch.shown(WatchSpec(metrics_port=0, metrics_host="127.0.0.2"), print):
        assert urllib.request.urlopen(f"http://127.0.0.2:{watch.port}/metrics").status == 200
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(f"http://127.0.0.1:{watch.port}/metrics")


def test_a_port_that_is_taken_is_said_and_the_run_goes_on() -> None:
    watch, said = RunWatch(), []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with watch.shown(WatchSpec(metrics_port=taken.getsockname()[1]), said.append):
            assert watch.port is None
    assert len(said) == 1 and "cannot be served" in said[0] and "goes on without" in said[0]


def test_the_file_is_there_from_the_start_is_renewed_and_says_at_last_that_the_run_has_ended(tmp_path: Path) -> None:
    watch, file = RunWatch(), tmp_path / "node" / "artquant.prom"
    seen = threading.Event()
    with watch.shown(WatchSpec(metrics_file=str(file), heartbeat_seconds=0.02), print):
        assert "artquant_run_active 1.0" in file.read_text()
        watch.add([""])
        while "artquant_run_done_rows 1.0" not in file.read_text():
            seen.wait(0.01)
        watch.know(head=3, view=3)
    text = file.read_text()
    assert "artquant_run_active 0.0" in text and 'artquant_snapshot_number{which="head"} 3.0' in text
    assert [path.name for path in file.parent.iterdir()] == ["artquant.prom"]


def test_the_gateway_gets_the_runs_metrics_under_the_jobs_name(monkeypatch: pytest.MonkeyPatch) -> None:
    watch, said = RunWatch(), []
    with web() as (address, asked):
        monkeypatch.setenv("GATEWAY", address)
        with watch.shown(WatchSpec(push_gateway="$GATEWAY", job="nightly"), said.append):
            watch.add([""])
    method, path, body = asked[-1]
    assert (method, path, said) == ("POST", "/metrics/job/nightly", [])  # POST leaves what a failed night does not know
    assert b"artquant_run_done_rows 1.0" in body and b"artquant_run_active 0.0" in body


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "$NO_SUCH_GATEWAY", "http://a b"])
def test_a_gateway_that_is_away_is_said_once(address: str) -> None:
    watch, said = RunWatch(), []
    with watch.shown(WatchSpec(push_gateway=address, heartbeat_seconds=0.01), said.append):
        threading.Event().wait(0.1)
    assert len(said) == 1 and "does not take the metrics" in said[0]


def test_each_run_begins_from_nothing() -> None:
    watch = RunWatch()
    for _ in range(2):
        REQUESTS.add("get", "ok")
        with watch.shown(WatchSpec(), print):
            watch.add(["", "timeout"])
            assert watch.state.num_done == 2
