"""No row disappears: names that are unusual, entries that cannot be read, keys that differ by a slash."""

from __future__ import annotations

import errno
import http.server
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest

from artquant.core.errors import UserError
from artquant.core.schema import RejectClass
from artquant.storage import local as storage_local
from artquant.storage.store import FetchError, Store, open_store
from tests.processes import ROOT

ODD = ["Composition #3", "Untitled#12", "photo.jpg#1", "#1", "x/#2/a#3", "a\\b", "~", "100%", "a:b", "x*?[1]", "{c}", "end.", " blank "]


def fate(store: Store, key: str) -> RejectClass | bytes:
    try:
        return store.fetch(key, patience_seconds=0).data
    except FetchError as error:
        return error.reject_class


def test_odd_names_are_listed_and_kept_like_all_others(store: Store) -> None:
    names = [name for name in ODD if "\\" not in name or store.uri.startswith("file:")]  # the S3 server of the tests takes none
    for name in names:
        store.put(name, name.encode())
    assert sorted(info.key for info in store.list()) == sorted(names)
    for name in names:
        assert (store.get(name), store.head(name).size_bytes) == (name.encode(), len(name.encode()))
        store.put_if_match(name, b"2", store.head(name).etag)
        assert store.get(name) == b"2"
    store.delete(names)
    assert list(store.list()) == []


def test_the_names_of_paintings_are_found_in_a_folder(tmp_path: Path) -> None:
    cases = Path(__file__).parents[1] / "cases" / "hash_names"
    found = {info.key: info.size_bytes for info in open_store(str(cases)).list()}
    assert set(found) == {"Composition #3", "Untitled#12", "photo.jpg#1", "plain.jpg"} and set(found.values()) == {1314}


def test_what_a_dead_writer_left_is_no_artwork(tmp_path: Path) -> None:
    (tmp_path / ".artquant-0123456789abcdef.part").write_bytes(b"half")
    (tmp_path / ".artquant-x.part").write_bytes(b"mine")
    assert [info.key for info in open_store(str(tmp_path)).list()] == [".artquant-x.part"]


def test_an_odd_entry_is_one_row_with_an_honest_class(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.jpg").write_bytes(b"x")
    (root / "self").symlink_to("self")
    (root / "through").symlink_to("a.jpg/x")
    (root / "nowhere").symlink_to("gone")
    (root / "long").symlink_to("n" * 300)
    for byte in (b"\xe8", b"\xe9"):
        Path(os.fsdecode(os.fsencode(root) + b"/l" + byte)).write_bytes(b"x")
    store = open_store(str(root))
    fates = {info.key: fate(store, info.key) for info in store.list()}
    assert fates == {
        "a.jpg": b"x",
        "l\ufffde8": RejectClass.UNSUPPORTED,
        "l\ufffde9": RejectClass.UNSUPPORTED,
        "long": RejectClass.UNSUPPORTED,
        "nowhere": RejectClass.MISSING,
        "self": RejectClass.MISSING,
        "through": RejectClass.MISSING,
    }


def test_a_folder_that_vanishes_during_the_listing_is_one_row(tmp_path: Path) -> None:
    for name in ("a/1", "b/2", "c/3"):
        open_store(str(tmp_path)).put(name, b"x")
    listing = open_store(str(tmp_path)).list()
    assert next(listing).key == "a/1"
    shutil.rmtree(tmp_path / "b")
    assert [info.key for info in listing] == ["b", "c/3"]


def test_a_locked_folder_is_one_denied_row_and_a_locked_root_is_refused(tmp_path: Path) -> None:
    """As somebody who is not root, in a process of its own: nothing is locked for root."""
    program = """
import os, sys
sys.path.insert(0, sys.argv[2])
from artquant.core.errors import UserError
from artquant.storage.store import FetchError, open_store
from artquant.storage.errors import store_errors
open_store("/nowhere").exists("k"), store_errors()  # all is imported before the interpreter itself is out of reach
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
for mode in (0, 0o444, 0o111):
    os.chmod(sys.argv[1] + "/locked", mode)
    for info in open_store(sys.argv[1]).list():
        try:
            open_store(sys.argv[1]).fetch(info.key)
        except FetchError as error:
            print(oct(mode), info.key, error.reject_class)
os.chmod(sys.argv[1], 0)
try:
    list(open_store(sys.argv[1]).list("locked")), open_store(sys.argv[1]).check_readable()
except UserError as error:
    print("denied" in str(error))
"""
    root = tmp_path / "root"
    (root / "locked").mkdir(parents=True)
    (root / "locked" / "in.jpg").write_bytes(b"x")
    (root / "out.jpg").write_bytes(b"x")
    if os.getuid() == 0:
        for path in (root, *root.rglob("*")):
            os.chown(path, 65534, 65534)
        for path in (*tmp_path.parents, tmp_path):
            if path.is_relative_to("/tmp/pytest-of-root"):
                os.chmod(path, 0o755)
    done = subprocess.run([sys.executable, "-c", program, str(root), str(ROOT)], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["0o0 locked denied", "0o444 locked/in.jpg denied", "0o111 locked denied", "True"], done.stderr


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "the disk is full; make room"), (errno.EDQUOT, "quota"), (errno.EROFS, "the file system is read-only; choose")],
)
def test_a_disk_that_takes_nothing_is_named_and_nothing_half_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    store = open_store(str(tmp_path))
    store.put("k", b"old")

    def refuse(file: object, data: object) -> None:
        file.write(b"ha")  # type: ignore[attr-defined]
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(storage_local, "_fill", refuse)
    for write in (lambda: store.put("k", b"new"), lambda: store.put_if_absent("n", b"new"), store.check_writable):
        with pytest.raises(UserError, match=words):
            write()
    assert [path.name for path in tmp_path.iterdir()] == ["k"] and store.get("k") == b"old"


def test_a_file_uri_is_decoded_where_only_the_decoded_folder_is(tmp_path: Path) -> None:
    (tmp_path / "my art").mkdir()
    assert open_store(f"file://{tmp_path}/my%20art").uri == f"file://{tmp_path}/my art"
    assert open_store(f"{tmp_path}/my%20art").uri == f"file://{tmp_path}/my%20art", "a path is no URI"
    (tmp_path / "my%20art").mkdir()
    assert open_store(f"file://{tmp_path}/my%20art").uri == f"file://{tmp_path}/my%20art"


class Bucket(http.server.BaseHTTPRequestHandler):
    """As much of S3 as a listing asks for; unlike the tests' other server it keeps keys that differ by a slash."""

    keys: dict[str, bytes] = {}
    headers_seen: list[dict[str, str]] = []

    def do_HEAD(self) -> None:
        self.reply(self.keys.get(unquote(urlsplit(self.path).path).removeprefix("/bucket/")))

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        self.headers_seen.append({name.lower(): value for name, value in self.headers.items()})
        if "list-type" not in query:
            return self.do_HEAD()
        found = [key for key in sorted(self.keys) if key.startswith(query.get("prefix", "")) and key > query.get("start-after", "")]
        date = "<LastModified>2015-10-21T07:28:00.000Z</LastModified>"
        rows = [
            f'<Contents><Key>{escape(key)}</Key>{date}<ETag>"{key.count("/")}{len(key)}"</ETag><Size>{len(self.keys[key])}</Size></Contents>'
            for key in found
        ]
        self.reply(f"<ListBucketResult><IsTruncated>false</IsTruncated>{''.join(rows)}</ListBucketResult>".encode())

    def reply(self, body: bytes | None) -> None:
        key = unquote(urlsplit(self.path).path).removeprefix("/bucket/")
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(body or b"")))
        self.send_header("ETag", f'"{key.count("/")}{len(key)}"')
        self.send_header("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body or b"")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def bucket(s3_server: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Bucket]]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bucket) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(Bucket, "keys", {})
        monkeypatch.setattr(Bucket, "headers_seen", [])
        try:
            yield Bucket
        finally:
            server.shutdown()
            thread.join()


def test_keys_that_differ_by_a_slash_are_rows_of_their_own(bucket: type[Bucket]) -> None:
    bucket.keys |= {key: b"x" for key in ("p/both.jpg", "p/both.jpg-2", "p/both.jpg/", "p/both.jpg/in", "p2", "p2/", "p2/a", "p3", "p3/a")}
    bucket.keys |= {"p/": b"", "p/marker/": b"", "p/marker/a": b"x"}
    store = open_store("s3://bucket/p")
    assert [info.key for info in store.list()] == ["both.jpg", "both.jpg-2", "both.jpg/", "both.jpg/in", "marker/a"]
    assert fate(store, "both.jpg/") is RejectClass.UNSUPPORTED
    assert [info.key for info in open_store("s3://bucket/p2").list()] == ["/", "a"]
    assert fate(open_store("s3://bucket/p2"), "/") is RejectClass.UNSUPPORTED
    assert [info.key for info in open_store("s3://bucket/p3").list()] == ["a"], "p3 lies beside p3/"


def test_an_anonymous_listing_stays_anonymous_at_a_key_with_an_empty_part(bucket: type[Bucket], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    monkeypatch.setenv("AWS_REQUEST_PAYER", "true")
    bucket.keys |= {"in/a.png": b"x", "in/b//c.png": b"x", "in/d.png": b"x"}
    assert [info.key for info in open_store("s3://bucket/in").list()] == ["a.png", "b//c.png", "d.png"]
    assert len(bucket.headers_seen) == 2
    for headers in bucket.headers_seen:
        assert "authorization" not in headers
    assert bucket.headers_seen[1]["x-amz-request-payer"] == "requester"


def test_one_object_given_as_an_input_is_refused(bucket: type[Bucket]) -> None:
    bucket.keys |= {"a.jpg": b"x", "p": b"x", "p/b.jpg": b"x"}
    with pytest.raises(UserError, match=r"s3://bucket/a.jpg: it is a file; give its prefix"):
        open_store("s3://bucket/a.jpg").check_readable()
    open_store("s3://bucket/p").check_readable()
    open_store("s3://bucket").check_readable()


@pytest.mark.parametrize("uri", ["s3://bucket//lead", "s3://bucket/trail//"])
def test_a_prefix_with_an_empty_part_is_not_read_as_another(uri: str) -> None:
    with pytest.raises(UserError, match="empty part"):
        open_store(uri)


def test_the_endpoint_of_a_profile_is_used(bucket: type[Bucket], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = f"endpoint_url = {os.environ['AWS_ENDPOINT_URL']}\naws_access_key_id = a\naws_secret_access_key = b\n"
    (tmp_path / "config").write_text(f"[profile mine]\n{lines}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "mine")
    bucket.keys["a"] = b"x"
    assert [info.key for info in open_store("s3://bucket").list()] == ["a"]


@pytest.mark.parametrize("style", ["true", "false"])
def test_the_bucket_stands_in_the_host_where_the_store_wants_it_there(
    bucket: type[Bucket], monkeypatch: pytest.MonkeyPatch, style: str
) -> None:
    """The server stands in as a proxy, for there is no name service here that knows a bucket's host."""
    monkeypatch.setenv("HTTP_PROXY", os.environ["AWS_ENDPOINT_URL"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://store.example")
    monkeypatch.setenv("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", style)
    bucket.keys["a"] = b"x"
    assert [info.key for info in open_store("s3://bucket").list()] == ["a"]
    assert bucket.headers_seen[0]["host"] == ("bucket.store.example" if style == "true" else "store.example")
