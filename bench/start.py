"""What a whole score job on the sample costs, from the command to the prompt; of two checkouts in turn.

    python -m bench.start --runs 5 --other ../older-checkout

Each checkout has a home of its own, in which the sample is painted by a first run that is not counted; each run starts from a copy of it
without results, so that all of the sample is due. Wall seconds, until Ray is told to start and until the run is over; CPU seconds are
those of the command and of all that it started, Ray's workers too.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil

from artquant.storage.embedded import BUCKET, EmbeddedStore
from artquant.storage.store import open_store

MARKS = {"until Ray": "Starting a local Ray", "until scored": "artworks scored", "whole": None}


def run(checkout: Path, home: str) -> dict[str, float]:
    """Return seconds by phase. Raises CalledProcessError if the job failed."""
    started = time.monotonic()
    seconds: dict[str, float] = {}
    environment = os.environ | {"ARTQUANT_HOME": home, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(checkout)}
    module = "artquant" if (checkout / "artquant" / "__main__.py").exists() else "jobs.submit"  # its name before the command line
    command = [sys.executable, "-m", module, "score"]
    with subprocess.Popen(command, cwd=checkout, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as job:
        spent: dict[int, float] = {}
        watch = threading.Thread(target=follow, args=(psutil.Process(job.pid), spent))
        watch.start()
        for line in job.stdout or ():
            for name, mark in MARKS.items():
                if mark and mark in line:
                    seconds[name] = time.monotonic() - started
        job.wait()
    seconds["whole"] = time.monotonic() - started
    watch.join()
    if job.returncode:
        raise subprocess.CalledProcessError(job.returncode, command)
    return seconds | {"CPU": sum(spent.values())}


def follow(root: psutil.Process, spent: dict[int, float]) -> None:
    """Keep `spent` (process id -> CPU seconds) up to date until `root` ends. Who is once found stays, whoever adopts it."""
    found = {root.pid: root}
    while root.is_running() and root.status() != psutil.STATUS_ZOMBIE:
        for process in list(found.values()):
            with suppress(psutil.Error):
                found |= {child.pid: child for child in process.children(recursive=True) if child.pid not in found}
                times = process.cpu_times()
                spent[process.pid] = times.user + times.system
        time.sleep(0.1)


def forget_results(home: str) -> None:
    """Delete what a run wrote, and keep the sample."""
    with EmbeddedStore(f"{home}/store") as server:
        os.environ.update(server.environment)
        store = open_store(f"s3://{BUCKET}/results")
        store.delete([info.key for info in store.list()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--other", type=Path, help="another checkout, to be run in turn with this one")
    options = parser.parse_args()
    checkouts = [path.absolute() for path in (Path.cwd(), options.other) if path]
    before = dict(os.environ)
    with tempfile.TemporaryDirectory() as homes:
        painted = {checkout: f"{homes}/{number}" for number, checkout in enumerate(checkouts)}
        for checkout, home in painted.items():
            run(checkout, home)
            forget_results(home)
        os.environ.clear()
        os.environ.update(before)
        runs: dict[Path, list[dict[str, float]]] = {checkout: [] for checkout in checkouts}
        for number in range(options.runs):
            for checkout in checkouts:
                home = shutil.copytree(painted[checkout], f"{painted[checkout]}-{number}")
                runs[checkout].append(run(checkout, home))
    for checkout, done in runs.items():
        figures = {name: sorted(seconds[name] for seconds in done) for name in (*MARKS, "CPU")}
        print(checkout, *(f"{name} {statistics.median(all_):.1f} (min {all_[0]:.1f})" for name, all_ in figures.items()), sep="  ")


if __name__ == "__main__":
    main()
