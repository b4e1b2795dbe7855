"""Real processes under fire: a fifth of the calls to the store is spoilt, and parts of the job are killed at random moments.

The same command is typed again until it ends with 0; then the rows must be those of an unbroken run, each once, by glob and by snapshot.

    python -m tests.chaos --rounds 100 --seed 0            or: make chaos N=100
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from artquant.paintings import jpeg, paint
from artquant.results.readers import open_snapshot
from artquant.storage.embedded import BUCKET, EmbeddedStore
from artquant.storage.store import Store, open_store
from tests.fault_proxy import FaultProxy
from tests.processes import ROOT, command_of, heed_interrupts

NUM_ARTWORKS = 500  # four shards
RATE = 0.2  # of the calls to the store that are spoilt
MAX_COMMANDS = 12
VICTIMS = ("driver", "supervisor", "worker", "raylet", "gcs", "store")
KNOWN_CODES = {0, 1, 2, 3, 5, 130, 137}  # what the documentation names, and 137: killed
Rows = dict[str, tuple[Any, ...]]


@dataclass
class Round:
    """What was hit, how each command ended, and what was wrong in the end ('' for nothing)."""

    seed: int
    hits: list[str] = field(default_factory=list)
    ends: list[tuple[int, str]] = field(default_factory=list)
    num_resumed: int = 0
    num_left: int = 0
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    problem: str = ""


class Chaos:
    """A store with a collection, and the rows that an unbroken run makes of it."""

    def __init__(self, folder: Path, server: EmbeddedStore, num_artworks: int = NUM_ARTWORKS, rate: float = RATE):
        self.folder, self.server, self.rate = folder, server, rate
        self.bucket = open_store(f"s3://{BUCKET}")
        art = self.bucket.child("art")
        pictures = [jpeg(paint(seed), 64) for seed in range(8)]
        for number in range(num_artworks):
            art.put(f"{number:05d}.jpg", pictures[number % len(pictures)])
        art.put("broken.jpg", b"no picture")
        with FaultProxy(self._port, 0, rate=0.0) as proxy:
            started = time.monotonic()
            first = Round(-1)
            code, said = self._command("unbroken", proxy.port, first, lambda job: None)
            assert code == 0, said
            self.seconds, self.num_writes = time.monotonic() - started, proxy.num_writes
        self.expected = rows_by_glob(self.bucket.child("unbroken"))
        assert len(self.expected) == num_artworks and rows_by_snapshot(self.bucket.child("unbroken")) == self.expected

    @property
    def _port(self) -> int:
        assert self.server.port
        return self.server.port

    def play(self, seed: int, victims: tuple[str, ...] = VICTIMS) -> Round:
        """One round; the seed decides which of `victims` it hits and when, as far as machines obey seeds."""
        dice, played, started = random.Random(seed), Round(seed), time.monotonic()
        name = f"out-{seed}"
        num_kills = dice.randint(1, 3)
        with FaultProxy(self._port, seed, self.rate) as proxy:
            for number in range(MAX_COMMANDS):
                hit = _Hit(self, proxy, dice, played, victims) if number < num_kills else None
                code, said = self._command(name, proxy.port, played, hit.arm if hit else lambda job: None)
                if hit:
                    hit.disarm()
                proxy.upstream = self._port
                played.ends.append((code, said))
                if code == 0:
                    break
            played.faults = proxy.met
        played.seconds = time.monotonic() - started
        played.problem = self._problem(played, self.bucket.child(name))
        return played

    def _problem(self, played: Round, output: Store) -> str:
        if played.ends[-1][0] != 0:
            return f"no end after {MAX_COMMANDS} commands"
        if strange := [code for code, _ in played.ends if code not in KNOWN_CODES]:
            return f"exit codes that nobody documented: {strange}"
        by_glob, by_snapshot = rows_by_glob(output), rows_by_snapshot(output)
        if by_glob != by_snapshot:
            return "glob and snapshot differ"
        if by_glob.keys() != self.expected.keys():
            return f"{len(by_glob)} artworks instead of {len(self.expected)}"
        for artwork_id, (*identity, score) in self.expected.items():
            *now, again = by_glob[artwork_id]
            if now != identity or abs(again - score) > 1e-6:
                return f"{artwork_id}: {by_glob[artwork_id]} instead of {self.expected[artwork_id]}"
        return ""

    def _command(self, output: str, port: int, played: Round, arm: Any) -> tuple[int, str]:
        """Type the command; return its exit code and its last sentence. Nothing that it started outlives the call."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RAY_"))}
        environment |= self.server.environment | {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "ARTQUANT_HOME": str(self.folder / "home"),
        }
        settings = [f"input=s3://{BUCKET}/art", f"output=s3://{BUCKET}/{output}", "model=tiny", "engine.critique=false"]
        with open(self.folder / "said", "w+") as said:
            job = psutil.Popen(
                [sys.executable, "-m", "artquant", "score", *settings],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
                preexec_fn=heed_interrupts,
            )
            seen: set[psutil.Process] = set()
            arm(job)
            while job.poll() is None:
                with suppress(psutil.NoSuchProcess):
                    seen.update(job.children(recursive=True))
                time.sleep(0.2)
            gone, left = psutil.wait_procs(seen, timeout=15)
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            played.num_left += len(left)
            said.seek(0)
            lines = said.read().strip().splitlines()
        played.num_resumed += any("Going on with the run" in line for line in lines)
        code = job.returncode
        return (128 - code if code < 0 else code), lines[-1] if lines else ""


class _Hit:
    """One kill: of `victim`, after some seconds or at some write."""

    def __init__(self, chaos: Chaos, proxy: FaultProxy, dice: random.Random, played: Round, victims: tuple[str, ...]):
        self.chaos, self.proxy, self.played = chaos, proxy, played
        self.victim = dice.choice(victims)
        self.at_write = 1 + int(dice.random() * chaos.num_writes) if dice.random() < 0.6 else None
        self.after = dice.uniform(0.0, chaos.seconds * 1.2)
        self.job: psutil.Popen | None = None
        self.lock = threading.Lock()
        self.timer = threading.Timer(self.after, self.strike)

    def arm(self, job: psutil.Popen) -> None:
        self.job = job
        if self.at_write is None:
            self.timer.start()
        else:
            first = self.proxy.num_writes
            self.proxy.on_write = lambda number: self.strike() if number == first + (self.at_write or 0) else None

    def disarm(self) -> None:
        self.timer.cancel()
        self.proxy.on_write = lambda number: None
        with self.lock:  # a stroke that has begun is over
            self.job = None

    def strike(self) -> None:
        with self.lock:
            if self.job is None or self.job.poll() is not None:
                return
            when = f"at write {self.at_write}" if self.at_write else f"after {self.after:.0f} s"
            if self.victim == "store":
                restart(self.chaos.server)
                self.proxy.upstream = self.chaos._port
                self.played.hits.append(f"store {when}")
                return
            members = dict(parts_of(self.job))
            name = self.victim if self.victim in members else "driver"
            with suppress(psutil.NoSuchProcess, KeyError):
                members[name].kill()
                self.played.hits.append(f"{name} {when}")


def restart(server: EmbeddedStore) -> None:
    """SIGKILL, and a new server over the same data."""
    for process in psutil.Process().children(recursive=True):
        if " mini " in command_of(process) and str(server.directory) in command_of(process):
            process.kill()
    server.stop()
    server.start()


def parts_of(job: psutil.Popen) -> Iterator[tuple[str, psutil.Process]]:
    """The parts of a running job by name; of several workers the first."""
    yield "supervisor", job
    for process in reversed(job.children(recursive=True)):
        command = command_of(process)
        if "raylet/raylet" in command:
            yield "raylet", process
        elif "gcs_server" in command:
            yield "gcs", process
        elif command.startswith("ray::"):
            yield "worker", process
        elif "-m artquant score" in command and process.ppid() == job.pid:
            yield "driver", process


def rows_by_glob(output: Store) -> Rows:
    from tests.pipelines.runs import read_by_glob

    return _by_id(read_by_glob(output, "scores").to_pylist())


def rows_by_snapshot(output: Store) -> Rows:
    return _by_id(open_snapshot(output.uri).to_table().to_pylist())


def _by_id(rows: list[dict[str, Any]]) -> Rows:
    names = ("etag", "model_digest", "prompt_digest", "preprocess_digest", "dtype", "score")
    found = {row["artwork_id"]: tuple(row[name] for name in names if name in row) for row in rows}
    assert len(found) == len(rows), "an artwork has two rows"
    return found


@contextmanager
def chaos(num_artworks: int = NUM_ARTWORKS, rate: float = RATE) -> Iterator[Chaos]:
    with tempfile.TemporaryDirectory(prefix="artquant-chaos-") as name, EmbeddedStore(f"{name}/store") as server:
        before = dict(os.environ)
        os.environ.update(server.environment)
        try:
            yield Chaos(Path(name), server, num_artworks, rate)
        finally:
            os.environ.clear()
            os.environ.update(before)


def line(played: Round) -> str:
    ends = ", ".join(str(code) for code, _ in played.ends)
    told = next((said for code, said in reversed(played.ends) if code), "")
    hits = "; ".join(played.hits) or "nobody"
    left = f", {played.num_left} processes left behind" if played.num_left else ""
    verdict = f"WRONG: {played.problem}" if played.problem else "rows equal"
    columns = (f"{played.seed:>5}", f"{hits:<40}", f"{ends:<16}", f"{played.num_resumed} resumed{left}", f"{played.seconds:.0f} s")
    return " | ".join((*columns, verdict, told[:220]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rounds: list[Round] = []
    with chaos() as field_of_fire:
        print(f"unbroken: {field_of_fire.seconds:.1f} s, {field_of_fire.num_writes} writes, {len(field_of_fire.expected)} rows", flush=True)
        for seed in range(options.seed, options.seed + options.rounds):
            rounds.append(field_of_fire.play(seed))
            print(line(rounds[-1]), flush=True)
    hits = Counter(hit.split()[0] for played in rounds for hit in played.hits)
    codes = Counter(code for played in rounds for code, _ in played.ends)
    faults = sum((played.faults for played in rounds), Counter[str]())
    print(f"{len(rounds)} rounds: {sum(not played.problem for played in rounds)} with the rows of an unbroken run")
    print(f"killed: {dict(hits)}; exit codes: {dict(codes)}; resumed: {sum(played.num_resumed for played in rounds)} times")
    print(f"calls to the store: {faults.pop('calls')}, of them {dict(faults)}")
    return int(any(played.problem for played in rounds))


if __name__ == "__main__":
    sys.exit(main())
