from __future__ import annotations

import http.server
import os
import pickle
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import pytest

from artquant.errors import Reject, UserError
from artquant.schema import RejectClass
from artquant.storage import Conflict, FetchError, Store, open_parent, open_store


@pytest.fixture(params=["s3", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """The same tests on both homes."""
    return request.getfixturevalue("s3_folder") if request.param == "s3" else open_store(f"file://{tmp_path}/root")


KEYS = ["a.jpg", "b/c.jpg", "b/c/d.jpg", "with space+plus.jpg", "über/ß.jpg", "x%20y&<z>'.jpg", "q?a=1#f.jpg", ".hidden"]


def reject_class(error: pytest.ExceptionInfo[FetchError]) -> RejectClass:
    return error.value.reject_class


def test_what_is_put_is_got_listed_and_deleted_under_the_same_key(store: Store) -> None:
    etags = {key: store.put(key, key.encode()) for key in KEYS}
    assert {info.key: (info.size_bytes, info.etag) for info in store.list()} == {key: (len(key.encode()), etags[key]) for key in KEYS}
    for key in KEYS:
        assert store.get_with_etag(key) == (key.encode(), etags[key])
        assert store.fetch(key) == (key.encode(), etags[key], 1)
        assert store.head(key) == (key, len(key.encode()), etags[key])
    store.delete(KEYS)
    store.delete(KEYS[0])  # again: no error
    assert list(store.list()) == []
    assert not store.exists(KEYS[0])


def test_an_etag_changes_with_the_content(store: Store) -> None:
    assert store.put("k", b"one") != store.put("k", b"three")


def test_a_child_and_a_prefix_see_the_folder_and_not_its_namesakes(store: Store) -> None:
    for key in ("x/1", "x/y/2", "xx/3", "x.4"):
        store.put(key, b"")
    assert [info.key for info in store.child("x").list()] == ["1", "y/2"]
    assert [info.key for info in store.list("x/")] == ["x/1", "x/y/2"]
    assert list(store.list("nothing/here")) == []
    assert store.child("x").uri_of("1") == store.uri_of("x/1")
    parent, key = open_parent(store.uri_of("x/y/2"))
    assert (parent.uri, key, parent.exists(key)) == (store.child("x/y").uri, "2", True)


def test_listing_passes_the_page_limit_lazily_and_in_key_order(store: Store) -> None:
    keys = [f"{index % 7}/{index:05d}" for index in range(2_300)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: store.put(key, b"x"), keys))
    assert [info.key for info in store.list()] == sorted(keys)
    listing = store.list()
    assert [info.key for info in islice(listing, 3)] == sorted(keys)[:3]
    store.delete(keys)  # in more than one request
    assert len(list(listing)) < 2_300 - 3, "the rest of the listing was fetched before it was asked for"
    assert list(store.list()) == []


def test_only_one_of_eight_writers_creates_an_object(store: Store) -> None:
    for turn in range(3):
        barrier = threading.Barrier(8)

        def create(writer: int, turn: int = turn, barrier: threading.Barrier = barrier) -> int | None:
            barrier.wait()
            try:
                store.put_if_absent(f"pointer-{turn}", str(writer).encode())
            except Conflict:
                return None
            return writer

        with ThreadPoolExecutor(8) as pool:
            winners = [writer for writer in pool.map(create, range(8)) if writer is not None]
        assert [str(winner).encode() for winner in winners] == [store.get(f"pointer-{turn}")]


def test_compare_and_swap_loses_no_increment(store: Store) -> None:
    store.put("counter", b"0")

    def increment(_: int) -> None:
        while True:
            value, etag = store.get_with_etag("counter")
            try:
                store.put_if_match("counter", str(int(value) + 1).encode(), etag)
            except Conflict:
                continue
            return

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(increment, range(20)))
    assert store.get("counter") == b"20"


def test_a_swap_of_a_stale_or_missing_object_is_a_conflict(store: Store) -> None:
    stale = store.put("k", b"first")
    store.put("k", b"second!")
    for key in ("k", "gone", "no-folder/gone"):
        with pytest.raises(Conflict):
            store.put_if_match(key, b"third", stale)
    assert store.get("k") == b"second!"


def test_a_file_of_many_parts_arrives_whole_and_a_copy_is_independent(store: Store, tmp_path: Path) -> None:
    content = os.urandom(40 << 20)
    (tmp_path / "big").write_bytes(content)
    assert store.put_file("up/big", tmp_path / "big") == store.head("up/big").etag
    assert store.get("up/big") == content
    store.copy("up/big", "copied/big")
    store.put("up/big", b"replaced")
    assert store.get("copied/big") == content


def test_parquet_is_read_by_ranges(store: Store) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    sink = pa.BufferOutputStream()
    table = pa.table({"n": range(400_000), "noise": [os.urandom(8) for _ in range(400_000)]})
    pq.write_table(table, sink, row_group_size=100_000, compression="none")
    store.put("t.parquet", sink.getvalue().to_pybytes())
    with store.open_input("t.parquet") as file:
        parquet = pq.ParquetFile(file)
        assert parquet.read_row_group(2).equals(table.slice(200_000, 100_000))
        assert parquet.read().equals(table)
    with store.open_input("t.parquet") as file:
        file.seek(-4, os.SEEK_END)
        assert file.read() == b"PAR1"
        assert file.read() == b""
    with pytest.raises(FetchError):
        store.open_input("missing")


def test_a_missing_object_is_missing_at_the_first_attempt(store: Store) -> None:
    for read in (store.get, store.fetch, store.head):
        with pytest.raises(FetchError, match="does not exist") as error:
            read("nothing/here")
        assert reject_class(error) is RejectClass.MISSING
        assert error.value.attempts == 1


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/../../b", "./a", "a\x00b", "tab\tkey"])
def test_a_key_cannot_leave_the_root_or_be_misread(store: Store, key: str) -> None:
    with pytest.raises(FetchError) as error:
        store.fetch(key)
    assert reject_class(error) is RejectClass.UNSUPPORTED
    with pytest.raises(ValueError, match="the key"):
        store.put(key, b"")


def test_a_store_travels_as_its_address_and_shows_no_secret(store: Store) -> None:
    store.put("k", b"v")
    sent = pickle.dumps(store)
    again = pickle.loads(sent)
    assert (again.uri, again.get("k")) == (store.uri, b"v")
    secret = os.environ.get("AWS_SECRET_ACCESS_KEY", "none")
    assert secret.encode() not in sent
    assert secret not in repr(vars(store)) + repr(store)


def test_a_fetch_error_travels_with_its_attempts() -> None:
    error = pickle.loads(pickle.dumps(FetchError(RejectClass.TIMEOUT, "no answer in time", 4)))
    assert isinstance(error, FetchError) and issubclass(FetchError, Reject)
    assert (error.reject_class, error.message, error.attempts) == (RejectClass.TIMEOUT, "no answer in time", 4)


def test_a_good_store_passes_both_checks_and_keeps_no_trace(store: Store) -> None:
    store.check_writable()
    store.check_readable()
    assert list(store.list()) == []


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "file:",
        "gs://b/x",
        "http://b/x",
        "s3://",
        "s3:///key",
        "s3:/b/x",
        "s3://Upper/x",
        "s3://ab",
        "s3://10.0.0.1/x",
        "s3://a..b",
        "s3://bucket/a//b",
    ]
    + ["s3://bucket/../x", "file://host/x"],
)
def test_an_address_that_is_not_taken_is_refused_with_a_sentence(uri: str) -> None:
    with pytest.raises(UserError, match=r"s3://|correct it") as error:
        open_store(uri)
    assert str(error.value).endswith(".")


def test_credentials_in_an_address_are_refused_and_not_repeated() -> None:
    with pytest.raises(UserError) as error:
        open_store("s3://AKIAKEY:hushhush@bucket/x")
    assert "hushhush" not in str(error.value)


def test_local_addresses_mean_the_same_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for uri in (f"file://{tmp_path}/x", "file:x", "./x", "x/", "~/x", f"{tmp_path}/y/../x"):
        assert open_store(uri).uri == f"file://{tmp_path}/x"
    open_store("x").put("m.csv", b"1")
    for uri in (f"file://{tmp_path}/x/m.csv", "file:x/m.csv", "x/m.csv"):
        parent, key = open_parent(uri)
        assert parent.get(key) == b"1"
    assert open_parent("file:m.csv")[0].uri == open_parent("m.csv")[0].uri == f"file://{tmp_path}"
    assert open_parent("/m.csv")[0].uri_of("m.csv") == open_parent("file:///m.csv")[0].uri_of("m.csv") == "file:///m.csv"
    for uri in ("s3://bucket", "s3://bucket/", "x/"):
        with pytest.raises(UserError, match="names no object"):
            open_parent(uri)


def test_a_local_write_is_seen_whole_or_not_at_all(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    contents = [bytes([value]) * 3_000_000 for value in (1, 2)]
    store.put("k", contents[0])
    stop = threading.Event()

    def rewrite() -> None:
        while not stop.is_set():
            for content in contents:
                store.put("k", content)

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        seen = {store.get("k") for _ in range(60)}
    finally:
        stop.set()
        writer.join()
    assert seen <= set(contents)
    assert [path.name for path in tmp_path.iterdir()] == ["k"]


def test_a_local_listing_follows_links_but_not_in_circles(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    for path in (outside / "b.jpg", root / "a" / "1.jpg", root / "a.jpg", root / "half#1"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (root / "linked").symlink_to(outside)
    (root / "a" / "circle").symlink_to(root)
    (root / "broken").symlink_to(tmp_path / "nowhere")
    (root / "tab\t").write_bytes(b"x")
    Path(os.fsdecode(os.fsencode(root) + b"/latin\xe9")).write_bytes(b"x")
    store = open_store(str(root))
    assert [info.key for info in store.list()] == ["a.jpg", "a/1.jpg", "broken", "latin\ufffd", "linked/b.jpg", "tab\t"]
    for key in ("broken", "latin\ufffd"):
        with pytest.raises(FetchError, match="does not exist"):
            store.fetch(key)


def test_an_absent_or_wrong_local_folder_ends_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for name in ("absent", "file"):
        with pytest.raises(UserError, match="Cannot read file://.*does not exist"):
            open_store(str(tmp_path / name)).check_readable()
    with pytest.raises(UserError, match="Cannot write"):
        open_store(str(tmp_path / "file")).check_writable()
    open_store(str(tmp_path / "absent")).check_writable()


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
        store.fetch("secret")
    assert (reject_class(error), error.value.attempts) == (RejectClass.DENIED, 2)


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
            store.fetch("k", attempts=2)
    assert (reject_class(error), error.value.attempts) == (RejectClass.TIMEOUT, 2)


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
        troubled.fetch(f"{what}-99", attempts=3, timeout_seconds=0.3)
    assert (reject_class(error), error.value.attempts) == (expected, attempts)
    assert Trouble.asked[f"{what}-99"] == attempts
    assert troubled.fetch(f"{what}-1", attempts=3, timeout_seconds=0.3) == (b"well", "e", 2)
