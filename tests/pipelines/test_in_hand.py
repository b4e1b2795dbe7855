"""The journal of what a worker is at work on, with processes that really die."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from artquant.core.errors import Reject, RunFailed
from artquant.core.schema import RejectClass
from artquant.pipelines.in_hand import MAX_DEATHS, MAX_DEATHS_AT_FIRST, MAX_OPENINGS, OPENING, InHand
from artquant.pipelines.suspicion import share
from artquant.storage.store import open_store
from tests.processes import ROOT

WORK = """
import json, os, sys, time
from artquant.pipelines.in_hand import InHand
folder, stall, deadly, ids = sys.argv[1], float(sys.argv[2]), sys.argv[3], sys.argv[4:]

def score(indices):
    for i in indices:
        if ids[i] in deadly.split(","):
            DEATH
    return [f"score of {ids[i]}" for i in indices]

hand = InHand(folder, stall)
results = hand.handle("scoring", ids, score)
print(json.dumps([[getattr(r, "message", r) for r in results], hand.news]))
"""


def work(folder: Path, ids: list[str], deadly: str, death: str = "os._exit(9)", stall: float = 60.0) -> tuple[int, list]:
    """The exit code of a worker that handles `ids`, and (results, news) if it lived."""
    command = [sys.executable, "-c", WORK.replace("DEATH", death), str(folder), str(stall), deadly, *ids]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout) if done.stdout else []


def test_what_kills_the_process_twice_is_poison_and_its_neighbours_are_scored(tmp_path: Path) -> None:
    ids = ["a", "b", "c", "d"]
    assert work(tmp_path, ids, "c")[0] == 9  # all four in hand
    assert work(tmp_path, ids, "c")[0] == 9  # c alone
    code, (results, news) = work(tmp_path, ids, "c")
    assert code == 0 and results == ["score of a", "score of b", "the process died while scoring this artwork alone", "score of d"]
    assert news == ["c is rejected as poison: the process died while scoring this artwork alone."]
    assert work(tmp_path, ids, "c")[0] == 0, "what is known to be poison is not tried again"


def test_a_process_that_ends_by_its_own_will_leaves_its_words(tmp_path: Path) -> None:
    for _ in range(2):
        assert work(tmp_path, ["a", "b"], "a", "sys.exit('the device is lost')")[0] == 1
    _, (results, _) = work(tmp_path, ["a", "b"], "a")
    assert results == ["the device is lost while scoring this artwork alone", "score of b"]


def test_deaths_for_want_of_memory_are_counted_over_the_processes(tmp_path: Path) -> None:
    for death in (
        "sys.exit('vLLM died, and with it this process: OutOfMemoryError: CUDA out of memory')",
        "sys.exit('the device is lost')",
    ):
        assert work(tmp_path, ["a", "b"], "a", death)[0] == 1
    assert InHand(tmp_path, 60.0).num_out_of_memory == 1


def test_three_deadly_artworks_are_three_poison_rows(tmp_path: Path) -> None:
    ids = [f"{i:02d}" for i in range(20)]
    codes = []
    while not codes or codes[-1]:
        code, found = work(tmp_path, ids, "03,04,17")
        codes.append(code)
    assert codes == [9, 9, 9, 9, 0]
    assert [i for i, said in zip(ids, found[0], strict=True) if "alone" in said] == ["03", "04", "17"]


def test_what_was_in_hand_when_the_process_was_ended_from_outside_is_scored_after_all(tmp_path: Path) -> None:
    assert work(tmp_path, ["a", "b"], "a")[0] == 9
    assert work(tmp_path, ["a", "b"], "")[1][0] == ["score of a", "score of b"]


@pytest.mark.parametrize("death", ["time.sleep(60)", "import re; re.match('(a*)*b', 'a' * 60)"], ids=["waits", "holds the GIL"])
def test_what_never_comes_to_an_end_is_ended_and_named(tmp_path: Path, death: str) -> None:
    started = time.monotonic()
    for _ in range(2):
        assert work(tmp_path, ["a", "b"], "b", death, stall=1.0)[0] == 1
    _, (results, news) = work(tmp_path, ["a", "b"], "b", death, stall=1.0)
    assert results[0] == "score of a" and results[1].startswith("no answer within 0.0166667 minutes while scoring")
    assert "b is rejected as poison" in news[0]
    assert time.monotonic() - started < 50


def test_a_suspect_is_handled_with_nothing_else_in_hand(tmp_path: Path) -> None:
    assert work(tmp_path, ["a"], "a")[0] == 9
    hand = InHand(tmp_path, 60.0)
    begun, seen = threading.Event(), []

    def slow(indices: list[int]) -> list[str]:
        begun.set()
        time.sleep(0.3)
        seen.append("slow ends")
        return ["x"] * len(indices)

    def suspicious(indices: list[int]) -> list[str]:
        seen.append("suspect begins")
        return ["y"] * len(indices)

    thread = threading.Thread(target=hand.handle, args=("scoring", ["z"], slow))
    thread.start()
    begun.wait()
    assert hand.handle("scoring", ["a"], suspicious) == ["y"]
    thread.join()
    assert seen == ["slow ends", "suspect begins"]


def die(folder: Path, doing: str, ids: list[str]) -> None:
    program = (
        "import os, sys; from artquant.pipelines.in_hand import InHand\n"
        "with InHand(sys.argv[1], 60.0).holding(sys.argv[2], sys.argv[3:]): os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(folder), doing, *ids], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 9, done.stderr


def test_a_worker_that_dies_whatever_it_is_given_ends_the_run(tmp_path: Path) -> None:
    for number in range(MAX_DEATHS_AT_FIRST):
        die(tmp_path, "scoring", [f"{number}.jpg"])
    with pytest.raises(
        RunFailed, match=rf"lost {MAX_DEATHS_AT_FIRST} times in a row while scoring .*{MAX_DEATHS_AT_FIRST - 1}\.jpg the last"
    ):
        InHand(tmp_path, 60.0)


def test_an_engine_that_dies_while_it_opens_ends_the_run(tmp_path: Path) -> None:
    with InHand(tmp_path, 60.0).holding(OPENING):
        pass  # it did open once
    die(tmp_path, "scoring", ["a.jpg"])
    for _ in range(MAX_OPENINGS):
        die(tmp_path, OPENING, [])
    with pytest.raises(RunFailed, match="3 times in a row while opening the engine"):
        InHand(tmp_path, 60.0)


def test_a_worker_that_is_ended_again_and_again_between_two_artworks_ends_the_run(tmp_path: Path) -> None:
    for _ in range(MAX_DEATHS):
        InHand(tmp_path, 60.0)  # each takes over from one that left nothing in hand
    with pytest.raises(RunFailed, match=f"lost {MAX_DEATHS} times in a row while between two artworks"):
        InHand(tmp_path, 60.0)


def test_a_success_between_two_deaths_forgets_them(tmp_path: Path) -> None:
    for number in range(MAX_DEATHS_AT_FIRST + 2):
        die(tmp_path, "scoring", [f"{number}.jpg"])
        assert InHand(tmp_path, 60.0).handle("scoring", ["fine"], lambda indices: ["x"]) == ["x"]


def test_the_entry_holds_what_is_in_hand_and_is_empty_afterwards(tmp_path: Path) -> None:
    hand = InHand(tmp_path, 60.0)
    (path,) = [tmp_path / f"{threading.get_native_id()}.entry"]
    with hand.holding("decoding", ["größe.jpg"]):
        assert json.loads(path.read_text()) == ["decoding", "größe.jpg"]
    assert os.path.getsize(path) == 0


def test_a_reject_says_poison(tmp_path: Path) -> None:
    for _ in range(2):
        work(tmp_path, ["a"], "a")
    (reject,) = InHand(tmp_path, 60.0).handle("scoring", ["a"], lambda indices: ["never asked"])
    assert isinstance(reject, Reject) and reject.reject_class is RejectClass.POISON


def test_what_killed_workers_is_known_to_those_of_a_run_that_goes_on_elsewhere(tmp_path: Path) -> None:
    store, ids = open_store(str(tmp_path / "work")), ["a", "b", "c"]
    here, there, later = (tmp_path / name for name in ("here", "there", "later"))
    assert work(here, ids, "c")[0] == 9
    share(InHand(here, 60.0), store)  # another process takes over, and the whole run is killed there
    hand = InHand(there, 60.0)
    share(hand, store)
    asked: list[list[int]] = []
    hand.handle("scoring", ids, lambda indices: asked.append(indices) or ["x"] * len(indices))
    assert asked == [[0], [1], [2]], "each may have been the one"

    assert work(here, ids, "c")[0] == 9  # alone in hand: it is poison
    share(InHand(here, 60.0), store)
    hand = InHand(later, 60.0)
    share(hand, store)
    results = hand.handle("scoring", ids, lambda indices: [f"score of {ids[i]}" for i in indices])
    assert results[:2] == ["score of a", "score of b"]
    assert isinstance(results[2], Reject) and results[2].reject_class is RejectClass.POISON, "it is not tried for ever"
    assert len(list(store.list())) == 1, "who met no death has nothing to tell"


FETCH = """
import sys, time
import torch  # slow to import: not while somebody watches
from artquant.config import FetchSpec
from artquant.pipelines.in_hand import InHand
from artquant.pipelines.loader import Loader
from artquant.storage.store import Store

fetch = Store.fetch
def never(self, key, **options):
    if key == "b":
        DEATH
    return fetch(self, key, **options)
Store.fetch = never
hand = InHand(sys.argv[1], 3.0)
_, loading = Loader(sys.argv[2], 8, FetchSpec(threads=2), hand).begin([{"artwork_id": name, "etag": ""} for name in ("a", "b")])
print([(loaded.result()["reject_class"], loaded.result()["message"]) for loaded in loading])
"""


@pytest.mark.parametrize(
    ("death", "reject_class", "why"),
    [("time.sleep(60)", "timeout", "no answer within 0.05 minutes"), ("import os; os._exit(9)", "poison", "the process died")],
    ids=["never answers", "takes the process down"],
)
def test_an_object_whose_fetching_never_ends_costs_itself_alone(tmp_path: Path, death: str, reject_class: str, why: str) -> None:
    for name in ("a", "b"):
        open_store(str(tmp_path / "art")).put(name, b"no picture")
    command = [sys.executable, "-c", FETCH.replace("DEATH", death), str(tmp_path / "journal"), str(tmp_path / "art")]
    for _ in range(2):
        assert subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60).returncode in (1, 9)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    (first, second) = ast.literal_eval(done.stdout)
    assert first[0] == "not_an_image" and second == (reject_class, f"{why} while fetching this artwork alone")
