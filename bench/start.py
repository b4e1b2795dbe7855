"""What a whole score job on the sample costs, from the command to the prompt; of two checkouts in turn.

    python -m bench.start --runs 5 --other ../older-checkout

Each checkout has a home of its own, in which the sample is painted by a first run that is not counted. Wall seconds, until Ray is told to
start and until the run is over; CPU seconds are the command's own and those of the processes that it waited for, not of Ray's workers.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MARKS = {"until Ray": "Starting a local Ray", "until scored": "artworks scored", "whole": None}


def run(checkout: Path, home: str) -> dict[str, float]:
    """Return seconds by phase. Raises CalledProcessError if the job failed."""
    started, before = time.monotonic(), os.times()
    seconds: dict[str, float] = {}
    environment = os.environ | {"ARTQUANT_HOME": home, "PYTHONUNBUFFERED": "1"}
    module = "artquant" if (checkout / "artquant" / "__main__.py").exists() else "jobs.submit"  # its name before the command line
    command = [sys.executable, "-m", module, "score"]
    with subprocess.Popen(command, cwd=checkout, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as job:
        for line in job.stdout or ():
            for name, mark in MARKS.items():
                if mark and mark in line:
                    seconds[name] = time.monotonic() - started
    if job.returncode:
        raise subprocess.CalledProcessError(job.returncode, command)
    seconds["whole"] = time.monotonic() - started
    after = os.times()
    return seconds | {"CPU": after.children_user + after.children_system - before.children_user - before.children_system}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--other", type=Path, help="another checkout, to be run in turn with this one")
    options = parser.parse_args()
    checkouts = [path.absolute() for path in (Path.cwd(), options.other) if path]
    with tempfile.TemporaryDirectory() as homes:
        home = {checkout: f"{homes}/{number}" for number, checkout in enumerate(checkouts)}
        runs: dict[Path, list[dict[str, float]]] = {checkout: [] for checkout in checkouts}
        for number in range(options.runs + 1):
            for checkout in checkouts:
                seconds = run(checkout, home[checkout])
                runs[checkout] += [seconds] if number else []
    for checkout, done in runs.items():
        figures = {name: sorted(seconds[name] for seconds in done) for name in (*MARKS, "CPU")}
        print(checkout, *(f"{name} {statistics.median(all_):.1f} (min {all_[0]:.1f})" for name, all_ in figures.items()), sep="  ")


if __name__ == "__main__":
    main()
