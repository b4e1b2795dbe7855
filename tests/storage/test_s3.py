"""What only S3 has: buckets, credentials, endpoints, and servers in trouble."""

from __future__ import annotations

import http.server
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from artquant.core.errors import UserError
from artquant.core.schema import RejectClass
from artquant.storage.store import FetchError, Store, open_store


def test_a_missing_bucket_is_told_from_a_missing_key(s3_store: Store) -> None:
    absent = open_store("s3://no-such-bucket/x")
    for check in (absent.check_readable, absent.check_writable, lambda: list(absent.list()), lambda: absent.put("k", b"")):
        with pytest.raises(UserError, match=r"no-such-bucket.*bucket does not exist"):
            check()
    with pytest.raises(FetchError, match="the bucket does not exist"):
        absent.get("k")


def test_a_wrong_key_pair_is_denied(s3_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    s3_store.put("secret", b"x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    store = open_store(s3_store.uri)
    for check in (store.check_readable, store.check_writable):
        with pytest.raises(UserError, match="access is denied.*check the credentials"):
            check()
    with pytest.raises(FetchError) as error:
        store.fetch("secret", patience_seconds=0)
    assert (error.value.reject_class, error.value.attempts) == (RejectClass.DENIED, 2)


def test_credentials_come_from_a_profile_where_the_environment_has_none(
    s3_folder: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = {name: os.environ[name.upper()] for name in ("aws_access_key_id", "aws_secret_access_key")}
    (tmp_path / "credentials").write_text("[night]\n" + "".join(f"{name} = {value}\n" for name, value in pair.items()))
    for name in pair:
        monkeypatch.delenv(name.upper())
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(UserError, match="No AWS credentials were found"):
        open_store(s3_folder.uri)
    monkeypatch.setenv("AWS_PROFILE", "night")
    store = open_store(s3_folder.uri)
    store.put("k", b"v")
    assert store.get("k") == b"v"
    assert pair["aws_secret_access_key"] not in repr(vars(store))


def test_odd_keys_and_directory_markers_do_not_end_a_listing(s3_folder: Store) -> None:
    import boto3

    client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    folder = s3_folder.uri.removeprefix("s3://artquant/")
    for key in ("dir/", "dir/a", "empty", "m\tn", "z"):
        client.put_object(Bucket="artquant", Key=f"{folder}/{key}", Body=b"" if key in ("dir/", "empty") else b"x")
    assert [info.key for info in s3_folder.list()] == ["dir/a", "empty", "m\tn", "z"]


@pytest.mark.parametrize("value", ["127.0.0.1:8333", "ftp://x", "http://user:hush@host", "http://host/path"])
def test_a_bad_endpoint_is_refused(value: str, s3_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", value)
    with pytest.raises(UserError, match="AWS_ENDPOINT_URL_S3 takes http") as error:
        open_store("s3://bucket")
    assert "hush" not in str(error.value)


def test_an_endpoint_where_nobody_listens_ends_in_a_sentence(s3_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        store = open_store("s3://bucket")
        for check in (store.check_readable, store.check_writable):
            with pytest.raises(UserError, match=f"no connection.*{endpoint}"):
                check()
        with pytest.raises(FetchError, match="no connection") as error:
            store.fetch("k", attempts=2, patience_seconds=0)
    assert (error.value.reject_class, error.value.attempts) == (RejectClass.TIMEOUT, 2)


class Trouble(http.server.BaseHTTPRequestHandler):
    """Answers GET /bucket/<what>-<n> with trouble n times, then with the body 'well'."""

    protocol_version = "HTTP/1.1"
    asked: dict[str, int] = {}
    replies = {
        "slowdown": (503, "<Error><Code>SlowDown</Code></Error>"),
        "broken": (500, ""),
        "many": (429, ""),
        "disguised": (403, "<Error><Code>RequestLimitExceeded</Code></Error>"),
        "denied": (403, "<Error><Code>AccessDenied</Code></Error>"),
        "expired": (400, "<Error><Code>ExpiredToken</Code></Error>"),
        "region": (301, "<Error><Code>PermanentRedirect</Code></Error>"),
    }

    def do_GET(self) -> None:
        key = self.path.split("/")[2]
        what, _, times = key.partition("-")
        self.asked[key] = self.asked.get(key, 0) + 1
        if self.asked[key] > int(times):
            return self.reply(200, b"well", 4)
        if what == "silent":
            self.server.release.wait(20)  # type: ignore[attr-defined]
            self.close_connection = True
        elif what == "half":
            self.reply(200, b"we", 4)
            self.close_connection = True
        else:
            status, body = self.replies[what]
            self.reply(status, body.encode(), len(body))

    def reply(self, status: int, body: bytes, length: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.send_header("ETag", '"e"')
        self.send_header("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def troubled(s3_store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Trouble) as server:
        server.release = threading.Event()  # type: ignore[attr-defined]
        server.daemon_threads = True
        Trouble.asked.clear()
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server.server_port}")
        try:
            yield open_store("s3://bucket")
        finally:
            server.release.set()  # type: ignore[attr-defined]
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("what", "expected", "message", "attempts"),
    [
        ("slowdown", RejectClass.THROTTLED, "503 SlowDown", 3),
        ("broken", RejectClass.THROTTLED, "500", 3),
        ("many", RejectClass.THROTTLED, "429", 3),
        ("disguised", RejectClass.THROTTLED, "403 RequestLimitExceeded", 3),
        ("denied", RejectClass.DENIED, "403 AccessDenied", 2),
        ("expired", RejectClass.DENIED, "out of date", 2),
        ("region", RejectClass.DENIED, "AWS_REGION", 2),
        ("silent", RejectClass.TIMEOUT, "no answer in time", 3),
        ("half", RejectClass.TIMEOUT, "broke off", 3),
    ],
)
def test_trouble_is_classified_and_tried_again(troubled: Store, what: str, expected: RejectClass, message: str, attempts: int) -> None:
    with pytest.raises(FetchError, match=message) as error:
        troubled.fetch(f"{what}-99", attempts=3, patience_seconds=0, timeout_seconds=0.3 if what == "silent" else 60)
    assert (error.value.reject_class, error.value.attempts) == (expected, attempts)
    assert Trouble.asked[f"{what}-99"] == attempts
    assert troubled.fetch(f"{what}-1", attempts=3, timeout_seconds=2 if what == "silent" else 60) == (b"well", "e", 2)
