"""The nightly job on several hosts: whatever happens to one of them, all rows are there in the end, and nothing twice.

`make lab` runs all of it; CI the first.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from artquant.storage.embedded import BUCKET
from tests.lab import DASHBOARD_PORT, RAY_PORT, STORE_DOWN_SECONDS, Lab, lab, why_not
from tests.processes import eventually

NUM_ARTWORKS, BROKEN = 640, "broken.jpg"  # five shards, and one more
SLOWLY = ("fetch.max_requests_per_second=60", "engine.num_workers=2", "engine.num_cpus=1.6")  # three processes share it: half a minute
FILL = f"""
from artquant.paintings import jpeg, paint
from artquant.storage.store import open_store
art = open_store("s3://{BUCKET}/art")
pictures = [jpeg(paint(seed), 64) for seed in range(4)]
for number in range({NUM_ARTWORKS}):
    art.put(f"{{number:05d}}.jpg", pictures[number % 4])
art.put("{BROKEN}", b"no picture")
"""
RATE = f"""
import json
from artquant.paintings import jpeg, paint
from artquant.storage.store import open_store
art = open_store("s3://{BUCKET}/rated")
paintings = [paint(seed) for seed in range(90)]
for number, painting in enumerate(paintings):
    art.put(f"pictures/{{number:02d}}.jpg", jpeg(painting, 96))
rows = [{{"artwork_id": f"{{number:02d}}.jpg", "score": painting.score}} for number, painting in enumerate(paintings)]
art.put("annotations.jsonl", "\\n".join(map(json.dumps, rows)).encode())
"""
LAST_STEP = """
import json, sys
from artquant.storage.store import open_store
store = open_store(sys.argv[1])
found = [info.key for info in store.list("training") if info.key.endswith("/state.json")]
state = json.loads(store.get(found[0])) if found else {}
print(json.dumps([state.get("last_step") or 0, [point["step"] for point in state.get("curve", [])], state.get("is_finished", False)]))
"""
COUNT_SHARDS = """
import sys
from artquant.storage.store import open_store
print(sum("/shards/" in info.key for info in open_store(sys.argv[1]).list("_artquant/runs")))
"""
COUNT_NODES = """
import ray
import sys
ray.init(address=sys.argv[1], log_to_driver=False)
print(sum(node["Alive"] for node in ray.nodes()))
"""
READ = """
import json, sys
from artquant.results.datafiles import read_table
from artquant.results.readers import open_snapshot
from artquant.storage.store import open_store
store = open_store(sys.argv[1])
keys = [info.key for kind in ("scores", "rejects") for info in store.list(kind)]
by_glob = [row for key in keys for row in read_table(store, key).column("artwork_id").to_pylist()]
print(json.dumps([sorted(by_glob), sorted(open_snapshot(sys.argv[1]).to_table().column("artwork_id").to_pylist())]))
"""
RATED = {"uri": "annotations.jsonl", "images": "pictures"}
ALL = "ARTQUANT_LAB" in os.environ
by_hand = pytest.mark.skipif(not ALL, reason="make lab runs it")


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    if reason := why_not():
        pytest.skip(reason)
    with lab(tmp_path_factory.mktemp("lab")) as made:
        made.start_head()
        with_all_workers(made)
        made.ask(FILL)
        yield made


def after_a_shard(hosts: Lab, job: psutil.Popen, output: str) -> None:
    """Wait until the run has a record of a shard, so that what happens next happens to work that is half done."""
    place = f"s3://{BUCKET}/{output}"
    assert eventually(lambda: job.poll() is not None or int(hosts.ask(COUNT_SHARDS, place)) > 0, 240), said(hosts)
    assert job.poll() is None, said(hosts)


def said(hosts: Lab) -> str:
    return hosts.said.read_text()[-4000:]


def check_rows(hosts: Lab, output: str) -> None:
    by_glob, by_snapshot = json.loads(hosts.ask(READ, f"s3://{BUCKET}/{output}"))
    expected = [f"{number:05d}.jpg" for number in range(NUM_ARTWORKS)]
    assert by_snapshot == expected, "scores of the snapshot"
    assert by_glob == [*expected, BROKEN], "scores and rejects by glob"


def ends_well(hosts: Lab, job: psutil.Popen, output: str) -> None:
    assert job.wait(300) == 0, said(hosts)
    check_rows(hosts, output)


def goes_on(hosts: Lab, output: str) -> None:
    """The same command again, in a hurry; it scores none of the finished shards."""
    job = hosts.submit(output)
    ends_well(hosts, job, output)
    assert "Going on with the run" in hosts.said.read_text()


def with_all_workers(hosts: Lab) -> None:
    """Whatever a test before did to them."""
    for name in ("one", "two"):
        host = hosts.hosts.get(name)
        if host is None or not host.named("raylet/raylet"):
            if host:
                host.kill()
            hosts.start_worker(name)
    # A job that comes before its hosts have joined is refused: it asks for what the cluster has not.
    assert eventually(lambda: hosts.ask(COUNT_NODES, f"{hosts.head_address}:{RAY_PORT}", at="head").split()[0] == "3", 120)


@pytest.mark.timeout(900)
def test_a_worker_is_cut_off_and_the_run_ends_with_all_rows(hosts: Lab) -> None:
    """The path of a night across hosts. A host may join so late that it has no part yet when it is cut off."""
    job = hosts.submit("cut", *SLOWLY)
    after_a_shard(hosts, job, "cut")
    hosts.hosts["two"].cut()
    ends_well(hosts, job, "cut")
    hosts.hosts["two"].kill()
    hosts.hosts["two"].plug_in()


@by_hand
@pytest.mark.timeout(900)
def test_the_head_is_killed_and_the_same_command_goes_on(hosts: Lab) -> None:
    with_all_workers(hosts)
    job = hosts.submit("head", *SLOWLY)
    after_a_shard(hosts, job, "head")
    for name in ("head", "one", "two"):  # a cluster without its head is none
        hosts.hosts[name].kill()
    hosts.start_head()
    with_all_workers(hosts)
    assert job.wait(300) == 1, said(hosts)
    assert "goes on where the run stopped" in hosts.said.read_text()
    goes_on(hosts, "head")


@by_hand
@pytest.mark.timeout(900)
def test_a_raylet_is_killed(hosts: Lab) -> None:
    with_all_workers(hosts)
    job = hosts.submit("raylet", *SLOWLY)
    after_a_shard(hosts, job, "raylet")
    for process in hosts.hosts["one"].named("raylet/raylet"):
        process.kill()
    ends_well(hosts, job, "raylet")


@by_hand
@pytest.mark.timeout(900)
def test_the_store_is_gone_for_a_while(hosts: Lab) -> None:
    with_all_workers(hosts)
    job = hosts.submit("store", *SLOWLY)
    after_a_shard(hosts, job, "store")
    hosts.hosts["store"].kill()
    time.sleep(STORE_DOWN_SECONDS)
    hosts.start_store()
    if job.wait(300) == 0:
        check_rows(hosts, "store")
    else:
        assert job.returncode in (1, 2, 5), said(hosts)
        goes_on(hosts, "store")


@by_hand
@pytest.mark.timeout(900)
def test_a_worker_is_drained_by_sigterm_as_a_spot_node_is(hosts: Lab) -> None:
    with_all_workers(hosts)
    job = hosts.submit("drain", *SLOWLY)
    after_a_shard(hosts, job, "drain")
    (start,) = hosts.hosts["one"].named("ray.scripts.scripts start")[-1:]
    start.terminate()
    ends_well(hosts, job, "drain")
    assert not hosts.hosts["one"].named("raylet/raylet")


@by_hand
@pytest.mark.timeout(900)
def test_a_node_that_comes_late_does_what_the_others_leave(hosts: Lab) -> None:
    with_all_workers(hosts)
    hosts.hosts["two"].kill()
    assert eventually(lambda: hosts.ask(COUNT_NODES, f"{hosts.head_address}:{RAY_PORT}", at="head").split()[0] == "2", 120)
    job = hosts.submit("late", "fetch.max_requests_per_second=15", *SLOWLY[1:])  # five a second each: two minutes for one engine
    after_a_shard(hosts, job, "late")
    hosts.start_worker("two")
    assert eventually(lambda: job.poll() is not None or bool(hosts.hosts["two"].named("ray::MapWorker")), 200), said(hosts)
    assert job.poll() is None, "it came too late"
    hosts.hosts["one"].cut()  # from here on nobody else can finish it
    ends_well(hosts, job, "late")


@by_hand
@pytest.mark.timeout(900)
def test_one_of_two_hosts_that_train_is_killed_and_another_takes_its_place(hosts: Lab) -> None:
    with_all_workers(hosts)
    hosts.ask(RATE)
    place, at = f"s3://{BUCKET}/trained", [f"annotations.{name}=s3://{BUCKET}/rated/{key}" for name, key in RATED.items()]
    fit = ["num_workers=2", "num_cpus=2", "steps=30", "batch_size=2", "checkpoint_interval=5", "max_failures=3", "validation_limit=8"]
    job = hosts.run("train", "trained", *at, f"registry={place}/models", *(f"fit.{setting}" for setting in fit))

    def steps() -> list:
        return json.loads(hosts.ask(LAST_STEP, place))

    assert eventually(lambda: job.poll() is not None or steps()[0] >= 10, 300), said(hosts)
    assert job.poll() is None, said(hosts)
    assert all(hosts.hosts[name].named("RayTrainWorker") for name in ("one", "two")), "a worker on each"
    hosts.hosts["two"].kill()
    broken_at = steps()[0]
    assert broken_at < 30, "it was trained before the host was killed"
    hosts.start_worker("two")
    assert job.wait(400) == 0, said(hosts)
    assert steps() == [30, [5, 10, 15, 20, 25, 30], True] and "is trained" in hosts.said.read_text()


WORSE = f"""
from artquant.paintings import jpeg, paint
from artquant.storage.store import open_store
art = open_store("s3://{BUCKET}/art")
worst = sorted(map(paint, range(300)), key=lambda painting: painting.score)[:4]
pictures = [jpeg(painting, 64) for painting in worst]
for number in range({NUM_ARTWORKS}):
    art.put(f"{{number:05d}}.jpg", pictures[number % 4])
"""
MEAN = """
import sys
import numpy as np
from artquant.results.readers import latest_rows
print(np.mean(latest_rows(sys.argv[1]).column("score").to_numpy()))
"""


@by_hand
@pytest.mark.timeout(1200)
def test_a_night_from_end_to_end(hosts: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """Submit, watch, lose a host, publish; a night of other pictures is held, released, and taken back. `ARGS=-s` prints it."""
    place, told = f"s3://{BUCKET}/night", print

    def command(*words: str) -> tuple[int, str]:
        asked = hosts.hosts["client"].start(
            sys.executable, "-m", "artquant", *words, stdout=subprocess.PIPE, RAY_ADDRESS=f"http://{hosts.head_address}:{DASHBOARD_PORT}"
        )
        answer, _ = asked.communicate(timeout=120)
        told(f"\n$ artquant {' '.join(words)}\n{answer.rstrip()}")
        return asked.returncode, answer

    def mean() -> float:
        return float(hosts.ask(MEAN, place))

    with_all_workers(hosts)
    hosts.ask(FILL)
    job = hosts.submit("night", *SLOWLY)
    after_a_shard(hosts, job, "night")
    told(f"\n$ artquant score output={place} ...\n{said(hosts)}")
    code, listed = command("status")
    assert code == 0 and "RUNNING" in listed.upper()
    hosts.hosts["two"].kill()
    ends_well(hosts, job, "night")
    told(said(hosts))
    before = mean()
    with_all_workers(hosts)
    hosts.ask(WORSE)
    job = hosts.submit("night")
    assert job.wait(300) == 4, said(hosts)
    told(said(hosts))
    assert mean() == before, "what is held is not seen"
    held = re.search(r"The run (\S+) is held", hosts.said.read_text())
    assert held
    assert command("snapshots", "release", place, held[1])[0] == 0
    assert mean() < before - 1
    assert command("snapshots", "rollback", place)[0] == 0
    assert mean() == before
    command("snapshots", "history", place)
