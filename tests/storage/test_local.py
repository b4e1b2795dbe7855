"""Addresses, and folders of this machine."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from artquant.core.errors import UserError
from artquant.storage.store import FetchError, open_parent, open_store


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "file:",
        "hdfs://b/x",
        "az://Upper/x",
        "az://a--b",
        "az://a.b/x",
        "gs://b",
        "gs://Upper/x",
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
    assert [info.key for info in store.list()] == ["a.jpg", "a/1.jpg", "broken", "half#1", "latin\ufffde9", "linked/b.jpg", "tab\t"]
    for key, words in {"broken": "does not exist", "latin\ufffde9": "not UTF-8"}.items():
        with pytest.raises(FetchError, match=words):
            store.fetch(key)


def test_an_absent_or_wrong_local_folder_ends_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for name, words in {"absent": "does not exist", "file": "is a file; give its folder"}.items():
        with pytest.raises(UserError, match=f"Cannot read file://.*{words}"):
            open_store(str(tmp_path / name)).check_readable()
    with pytest.raises(UserError, match="Cannot write"):
        open_store(str(tmp_path / "file")).check_writable()
    open_store(str(tmp_path / "absent")).check_writable()
