"""The night's pod against an API server that speaks HTTP: one RayJob a try, followed to its end, and no try that is no use."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from tests.cluster.manifests import faults
from tests.cluster.test_manifests import import_night

TEMPLATE = {
    "metadata": {"name": "artquant-score", "labels": {"a": "b"}, "annotations": {"artquant/queue": "nightly"}, "uid": "1"},
    "spec": {"entrypoint": "artquant score", "suspend": True},
}
DONE = {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}


def failed(code: int) -> dict[str, str]:
    message = f"Job entrypoint command failed with exit code {code}, last available logs (truncated to 20,000 chars):"
    return {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "message": message}


class Server:
    """RayJobs by name; the n-th that is created goes through the n-th list of statuses."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {"artquant-score": TEMPLATE}
        self.plans: list[list[dict[str, str]]] = []
        self.statuses: dict[str, list[dict[str, str]]] = {}
        self.num_troubles, self.tokens = 0, set[str]()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self, code: int, document: Any) -> None:
                self.send_response(code)
                self.end_headers()
                self.wfile.write(json.dumps(document).encode())

            def do_GET(self) -> None:
                name = self.path.rpartition("/")[2]
                outer.tokens.add(str(self.headers["Authorization"]))
                if outer.num_troubles:
                    outer.num_troubles -= 1
                    return self.answer(503, {})
                if name not in outer.jobs:
                    return self.answer(404, {})
                left = outer.statuses.get(name, [{}])
                return self.answer(200, outer.jobs[name] | {"status": left.pop(0) if len(left) > 1 else left[0]})

            def do_POST(self) -> None:
                job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                name = job["metadata"]["name"]
                if name in outer.jobs:
                    return self.answer(409, {})
                outer.jobs[name], outer.statuses[name] = job, outer.plans.pop(0)
                return self.answer(201, job)

            def log_message(self, *given: Any) -> None:
                pass

        self.http = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    @property
    def made(self) -> list[str]:
        return sorted(name for name in self.jobs if name != "artquant-score")


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def night(server: Server) -> Any:
    module = import_night()
    module.POLL_SECONDS = 0.001
    api = module.Api(f"http://127.0.0.1:{server.http.server_port}", "artquant", lambda: "a-token")
    return lambda template="artquant-score": module.night(api, template, "tonight")


def test_a_job_is_made_of_the_template_awake_and_queued_and_followed_to_its_end(server: Server, night: Any) -> None:
    server.plans = [[{}, {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}, DONE]]
    server.num_troubles = 2  # an API server that is away for a moment is waited for
    assert night() == 0
    job = server.jobs["tonight-1"]
    assert job["spec"] == {"entrypoint": "artquant score"}
    assert job["metadata"] == {"name": "tonight-1", "labels": {"a": "b", "kueue.x-k8s.io/queue-name": "nightly"}}
    assert server.tokens == {"Bearer a-token"} and faults(job) == []


@pytest.mark.parametrize("code", [2, 3, 4])
def test_what_is_no_use_to_try_again_is_not_and_its_code_is_the_pods(code: int, server: Server, night: Any) -> None:
    server.plans = [[failed(code)]]
    assert night() == code and server.made == ["tonight-1"]


def test_what_broke_off_is_tried_again_under_the_next_number_until_it_ends_well(server: Server, night: Any) -> None:
    server.plans = [[failed(1)], [{"jobDeploymentStatus": "Failed", "message": "the head died"}], [DONE]]
    assert night() == 0 and server.made == ["tonight-1", "tonight-2", "tonight-3"]


def test_the_tries_come_to_an_end(server: Server, night: Any) -> None:
    server.plans = [[failed(5)] for _ in range(9)]
    assert night() == 5 and len(server.made) == 4


def test_a_pod_that_takes_over_follows_what_is_there(server: Server, night: Any) -> None:
    server.jobs["tonight-1"], server.statuses["tonight-1"] = TEMPLATE, [{"jobDeploymentStatus": "Running"}, DONE]
    assert night() == 0 and server.made == ["tonight-1"]


def test_a_template_that_is_not_there_is_for_a_person(night: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert night("artquant-scores") == 2
    assert "There is no RayJob artquant-scores" in capsys.readouterr().err
