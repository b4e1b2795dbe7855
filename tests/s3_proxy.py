"""A proxy before the real S3 server that makes it a worse one: without conditional writes, or overloaded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote, unquote

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from artquant.storage.embedded import EmbeddedStore

SLOW_DOWN = b"<Error><Code>SlowDown</Code></Error>"


class S3Proxy(ThreadingHTTPServer):
    """Hands requests on, signed anew. `drops`: headers that the store behind does not know, in lower case; `answer(number)`: a status
    instead of the server's answer to the request of that number, or 0."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, server: EmbeddedStore, drops: tuple[str, ...] = (), answer: Callable[[int], int] = lambda number: 0):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.environment, self.drops, self.answer = server.environment, drops, answer
        self.target = self.environment["AWS_ENDPOINT_URL"].removeprefix("http://")
        self.number, self.lock = 0, threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: S3Proxy

    def handle_one_request(self) -> None:
        self.close_connection = True
        self.raw_requestline = self.rfile.readline(1 << 16)
        if self.raw_requestline and self.parse_request():
            self.hand_on()

    def hand_on(self) -> None:
        proxy, body = self.server, self.rfile.read(int(self.headers.get("content-length") or 0))
        with proxy.lock:
            proxy.number += 1
            number = proxy.number
        if status := proxy.answer(number):
            self.reply(status, {}, SLOW_DOWN)
            return
        kept = ("range", "content-type", "x-amz-copy-source", "if-match", "if-none-match", "content-md5")
        headers = {name: self.headers[name] for name in kept if name in self.headers and name not in proxy.drops}
        path, _, query = self.path.partition("?")
        url = f"http://{proxy.target}{quote(unquote(path), safe='/~')}" + (f"?{query}" if query else "")
        request = AWSRequest(method=self.command, url=url, data=body, headers=headers)
        credentials = Credentials(proxy.environment["AWS_ACCESS_KEY_ID"], proxy.environment["AWS_SECRET_ACCESS_KEY"])
        S3SigV4Auth(credentials, "s3", "us-east-1").add_auth(request)
        connection = HTTPConnection(proxy.target, timeout=30)
        connection.request(self.command, url.partition(proxy.target)[2], body, dict(request.headers))
        answer = connection.getresponse()
        self.reply(answer.status, dict(answer.getheaders()), answer.read())
        connection.close()

    def reply(self, status: int, headers: dict[str, str], data: bytes) -> None:
        self.send_response_only(status)
        length = {name.lower(): value for name, value in headers.items()}.get("content-length", str(len(data)))
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", length if self.command == "HEAD" else str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@contextmanager
def worse_store(
    server: EmbeddedStore, patch: pytest.MonkeyPatch, drops: tuple[str, ...] = (), answer: Callable[[int], int] = lambda number: 0
) -> Iterator[S3Proxy]:
    """For the block, stores that are opened are reached through the proxy."""
    proxy = S3Proxy(server, drops, answer)
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    patch.setenv("AWS_ENDPOINT_URL", proxy.url)
    try:
        yield proxy
    finally:
        patch.setenv("AWS_ENDPOINT_URL", proxy.environment["AWS_ENDPOINT_URL"])
        proxy.shutdown()
        proxy.server_close()
