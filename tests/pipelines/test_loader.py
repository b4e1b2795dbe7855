"""Fetch and decode on threads: order, bounds, and what becomes of errors."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from artquant.config import FetchSpec
from artquant.core.errors import Reject
from artquant.core.memory import ByteBudget
from artquant.core.schema import RejectClass
from artquant.paintings import jpeg, paint
from artquant.pipelines.loader import Loader
from artquant.storage.store import Fetched, open_store
from tests.pipelines.engines import red_picture
from tests.processes import ROOT

SIZE = 16
NUM = 120


@pytest.fixture
def uri(tmp_path: Path) -> str:
    store = open_store(f"file:{tmp_path}")
    for number in range(NUM):
        store.put(f"{number:03d}.png", red_picture(number))
    return store.uri


def rows(numbers: range) -> list[dict[str, Any]]:
    return [{"artwork_id": f"{number:03d}.png", "etag": "as planned"} for number in numbers]


class Watched:
    """A store whose answers take as long as `wait` says; `held` objects were fetched or are under way and not decoded, at most `most`."""

    def __init__(self, loader: Loader, monkeypatch: pytest.MonkeyPatch, wait: Callable[[str], float]):
        self.loader, self.wait, self.inner = loader, wait, loader.store
        self.held = self.most = 0
        self.lock = threading.Lock()
        loader.store = self  # type: ignore[assignment]
        decode = loader._decode

        def decoded(*args: Any) -> Any:
            result = decode(*args)
            with self.lock:
                self.held -= 1
            return result

        monkeypatch.setattr(loader, "_decode", decoded)

    def fetch(self, key: str, **options: Any) -> Fetched:
        with self.lock:
            self.held += 1
            self.most = max(self.most, self.held)
        time.sleep(self.wait(key))
        return self.inner.fetch(key, **options)


@pytest.mark.parametrize("threads, decode_threads", [(1, 1), (2, 1), (3, 4)])
def test_all_come_in_order_and_few_are_held_whoever_is_slow(
    uri: str, monkeypatch: pytest.MonkeyPatch, threads: int, decode_threads: int
) -> None:
    loader = Loader(uri, SIZE, FetchSpec(threads=threads, decode_threads=decode_threads))
    watched = Watched(loader, monkeypatch, lambda key: 0.02 if int(key[:3]) % 7 == 0 else 0.0)
    starts = range(0, NUM, 25)
    blocks = [loader.begin(rows(range(start, min(start + 25, NUM)))) for start in starts]  # more than there is room for
    for number, (pixels, loading) in enumerate(blocks):
        found = [loaded.result(timeout=30) for loaded in loading]
        assert pixels[:, 8, 8, 0].tolist() == list(range(25 * number, 25 * number + len(found)))
        assert all((row["reject_class"], row["width"], row["attempts"]) == ("", SIZE, 1) for row in found)
    assert watched.most <= 4 * threads + decode_threads  # those that are being decoded have made room already, or are about to


class AtATime:
    """Calls each of which waits until `num` are under way, and how many ever were."""

    def __init__(self, num: int):
        self.barrier, self.lock = threading.Barrier(num), threading.Lock()
        self.now = self.most = 0

    def __enter__(self) -> None:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.barrier.wait(timeout=30)  # raises where fewer come

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.now -= 1


@pytest.mark.parametrize("threads", [1, 3])
def test_so_many_objects_are_in_flight_as_there_are_threads(uri: str, threads: int) -> None:
    loader, at_a_time = Loader(uri, SIZE, FetchSpec(threads=threads)), AtATime(threads)
    fetch = loader.store.fetch

    def watched(key: str, **options: Any) -> Fetched:
        with at_a_time:
            return fetch(key, **options)

    loader.store.fetch = watched  # type: ignore[method-assign]
    _, loading = loader.begin(rows(range(12)))
    assert [loaded.result(timeout=60)["reject_class"] for loaded in loading] == [""] * 12
    assert at_a_time.most == threads


@pytest.mark.parametrize("decode_threads", [1, 3])
def test_so_many_pictures_are_decoded_at_a_time_as_there_are_threads_for_it(
    uri: str, monkeypatch: pytest.MonkeyPatch, decode_threads: int
) -> None:
    from artquant.images import square as images

    at_a_time, load = AtATime(decode_threads), images.load

    def watched(*given: Any, **options: Any) -> images.Picture:
        with at_a_time:
            return load(*given, **options)

    monkeypatch.setattr(images, "load", watched)
    _, loading = Loader(uri, SIZE, FetchSpec(threads=4, decode_threads=decode_threads)).begin(rows(range(12)))
    assert [loaded.result(timeout=60)["reject_class"] for loaded in loading] == [""] * 12
    assert at_a_time.most == decode_threads


@pytest.mark.parametrize("cap, reject_class", [(SIZE * SIZE, ""), (SIZE * SIZE - 1, "too_large")])
def test_a_picture_with_more_pixels_than_the_cap_is_refused(uri: str, cap: int, reject_class: str) -> None:
    from artquant.results.thumbnails import thumbnail_of

    fetch = FetchSpec(max_pixels=cap)
    _, loading = Loader(uri, SIZE, fetch).begin(rows(range(1)))
    assert loading[0].result(timeout=30)["reject_class"] == reject_class
    assert (thumbnail_of(open_store(uri), "000.png", fetch=fetch) is None) == bool(reject_class)


def test_a_jpeg_is_decoded_at_full_size_where_that_is_set(tmp_path: Path) -> None:
    from artquant.images import square as images

    data = jpeg(paint(3), 400)
    open_store(str(tmp_path)).put("large.jpg", data)
    expected = [images.load(data, SIZE, fast=fast).pixels for fast in (True, False)]
    assert not np.array_equal(*expected), "the premise"
    for full_decode in (False, True):
        pixels, loading = Loader(str(tmp_path), SIZE, FetchSpec(full_decode=full_decode)).begin([{"artwork_id": "large.jpg", "etag": ""}])
        assert loading[0].result(timeout=30)["reject_class"] == ""
        assert np.array_equal(pixels[0], expected[full_decode])


def test_what_cannot_be_had_or_decoded_is_black_and_says_why(uri: str) -> None:
    store = open_store(uri)
    store.put("002.png", b"<html>")
    store.delete("004.png")
    pixels, loading = Loader(uri, SIZE, FetchSpec(threads=2)).begin(rows(range(6)))
    found = [loaded.result(timeout=30) for loaded in loading]
    assert [row["reject_class"] for row in found] == ["", "", "not_an_image", "", "missing", ""]
    assert not pixels[[2, 4]].any() and pixels[5].any()
    assert found[4]["etag"] == "as planned" and found[2]["etag"] not in ("", "as planned")


def test_artworks_of_several_inputs_are_fetched_each_from_its_own(tmp_path: Path) -> None:
    here, there = open_store(str(tmp_path / "a#1")), open_store(str(tmp_path / "b%20"))
    here.put("x/9.png", red_picture(9))
    there.put("7.png", red_picture(7))
    asked = [{"artwork_id": key, "uri": store.uri_of(key), "etag": ""} for store, key in ((here, "x/9.png"), (there, "7.png"))]
    pixels, loading = Loader((here.uri, there.uri), SIZE, FetchSpec(threads=2)).begin(asked)
    assert [loaded.result(timeout=30)["reject_class"] for loaded in loading] == ["", ""]
    assert pixels[:, 8, 8, 0].tolist() == [9, 7]


def test_attempts_are_counted_and_an_error_of_our_own_reaches_the_caller(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = Loader(uri, SIZE, FetchSpec(threads=2))

    def fetch(key: str, **options: Any) -> Fetched:
        if key == "001.png":
            error = Reject(RejectClass.TIMEOUT, "no answer in time")
            error.attempts = 4  # type: ignore[attr-defined]
            raise error
        if key == "002.png":
            raise ZeroDivisionError
        return Fetched(red_picture(7), "e", 3)

    monkeypatch.setattr(loader.store, "fetch", fetch)
    _, loading = loader.begin(rows(range(4)))
    assert [loading[number].result(timeout=30)["attempts"] for number in (0, 1, 3)] == [3, 4, 3]
    with pytest.raises(ZeroDivisionError):
        loading[2].result(timeout=30)


def test_a_decoding_thread_leaves_the_caller_its_torch_threads(uri: str) -> None:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        _, loading = Loader(uri, SIZE, FetchSpec(threads=2)).begin(rows(range(8)))
        assert all(not loaded.result(timeout=30)["reject_class"] for loaded in loading)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_pixels_are_the_same_as_loaded_alone(uri: str) -> None:
    from artquant.images import square as images

    store = open_store(uri)
    pixels, loading = Loader(uri, 40, FetchSpec(threads=2)).begin(rows(range(3)))
    for number, loaded in enumerate(loading):
        loaded.result(timeout=30)
        assert np.array_equal(pixels[number], images.load(store.get(f"{number:03d}.png"), 40).pixels)


DIES_AT_SEVEN = """
import os, sys
from artquant.images import square as images
from artquant.config import FetchSpec
from artquant.pipelines.in_hand import InHand
from artquant.pipelines.loader import Loader

load = images.load
deadly = open(sys.argv[1] + "/007.png", "rb").read()
images.load = lambda data, *args, **options: os._exit(9) if data == deadly else load(data, *args, **options)
loader = Loader(sys.argv[1], 16, FetchSpec(threads=4, decode_threads=4), InHand(sys.argv[2], 60.0))
_, loading = loader.begin([{"artwork_id": f"{number:03d}.png", "etag": ""} for number in range(20)])
print([number for number, loaded in enumerate(loading) if loaded.result()["reject_class"] == "poison"])
"""


def test_a_picture_that_takes_its_process_down_is_found_and_rejected_and_its_neighbours_are_decoded(uri: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", DIES_AT_SEVEN, uri.removeprefix("file://"), str(tmp_path / "journal")]
    done = [subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100) for _ in range(3)]
    assert [process.returncode for process in done] == [9, 9, 0], done[-1].stderr
    assert done[-1].stdout == "[7]\n"


def test_objects_held_undecoded_are_bounded_by_their_bytes_and_the_largest_comes_alone(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artquant.pipelines.loader.MAX_UNDECODED_BYTES", 250)
    loader = Loader(uri, SIZE, FetchSpec(threads=4, decode_threads=1))
    fetch, under_way, seen, lock = loader.store.fetch, [], [], threading.Lock()
    sizes = {f"{number:03d}.png": 1000 if number == 5 else 100 for number in range(40)}

    def watched(key: str, **options: Any) -> Fetched:
        with lock:
            under_way.append(key)
            seen.append(tuple(under_way))
        time.sleep(0.005)
        return fetch(key, **(options | {"size_bytes": None}))

    load = loader._load

    def loaded(artwork_id: str, *args: Any) -> tuple[int, int]:
        try:
            return load(artwork_id, *args)
        finally:
            with lock:
                under_way.remove(artwork_id)

    monkeypatch.setattr(loader.store, "fetch", watched)
    monkeypatch.setattr(loader, "_load", loaded)
    _, loading = loader.begin([{**row, "size_bytes": sizes[row["artwork_id"]]} for row in rows(range(40))])
    assert [each.result(timeout=30)["reject_class"] for each in loading] == [""] * 40
    assert max(map(len, seen)) == 2
    assert [held for held in seen if "005.png" in held] == [("005.png",)]
    assert loader.held_bytes == 0


class Recorded(ByteBudget):
    """A budget that notes what its process held of it."""

    def __init__(self, megabytes: int):
        super().__init__(megabytes << 20)
        self.held: list[int] = []

    def holding(self, num_bytes: int) -> AbstractContextManager[None]:
        self.held.append(num_bytes)
        return super().holding(num_bytes)


@pytest.mark.parametrize("user", ["loader", "thumbnails"])
def test_whoever_decodes_holds_his_share_of_the_budget_that_the_spec_sets(uri: str, monkeypatch: pytest.MonkeyPatch, user: str) -> None:
    from artquant.results import thumbnails

    budgets: list[Recorded] = []
    module = "pipelines.loader" if user == "loader" else "results.thumbnails"
    monkeypatch.setattr(f"artquant.{module}.decode_budget", lambda megabytes: budgets.append(Recorded(megabytes)) or budgets[-1])
    fetch, store = FetchSpec(decode_memory_mb=7), open_store(uri)
    if user == "loader":
        _, loading = Loader(uri, SIZE, fetch).begin(rows(range(1)))
        assert loading[0].result(timeout=30)["reject_class"] == ""
    else:
        assert thumbnails.thumbnail_of(store, "000.png", fetch=fetch)
    (budget,) = budgets
    assert budget.num_bytes == budget.free == 7 << 20 and budget.held == [20 * SIZE * SIZE]
