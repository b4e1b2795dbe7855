"""Does the loss between artworks (`loss.rank`) order them better? The small network from nothing, scores alone, with it and without.

Everything else is the same within a seed: paintings, order, first weights, steps. Goes on where it was stopped: `python -m bench.rank`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from artquant.agreement.metrics import srcc
from artquant.paintings import paint
from artquant.paintings.exam import squares
from artquant.paintings.seeds import HELD_OUT, TRAINING
from bench import ablate
from bench.ablation_page import contrast, said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--weight", type=float, default=1.0, help="of the loss between artworks; the score's own is 1")
    parser.add_argument("--folder", type=Path, default=ablate.ROOT / ".artquant" / "ablation")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    results = options.folder / "rank.jsonl"
    known: dict[str, Any] = {line["cell"]: line for line in map(json.loads, results.read_text().splitlines())} if results.exists() else {}
    exam = squares(HELD_OUT[: ablate.EXAM], ablate.IMAGE_SIZE, options.folder / f"judged-{ablate.EXAM}.npy")
    humans = np.array([paint(number).score for number in HELD_OUT[: ablate.EXAM]])
    scores: dict[float, list[np.ndarray]] = {0.0: [], options.weight: []}
    for seed in range(options.seeds):
        for weight, found in scores.items():
            cell = ablate.Cell("none", seed, rank=weight)
            learnt = TRAINING[seed * cell.paintings : (seed + 1) * cell.paintings]
            if cell.key not in known:
                pixels = squares(learnt, ablate.IMAGE_SIZE, options.folder / f"learnt-{cell.paintings}-{seed}.npy")
                table = ablate.table_of(learnt, cell.arm, seed)
                known[cell.key] = {"cell": cell.key, **ablate.trained(cell, table, pixels, cell.steps, exam, np.zeros(0))}
                with results.open("a") as file:
                    file.write(json.dumps(known[cell.key]) + "\n")
            found.append(np.array(known[cell.key]["scores"]))
            print(f"seed {seed}, loss.rank={weight:g}: SRCC {srcc(found[-1], humans):.3f}", flush=True)
    mean, low, high = contrast(scores[options.weight], scores[0.0], humans)
    interval = f"95 % interval {low:+.4f} to {high:+.4f}, over seeds and paintings"
    print(f"loss.rank={options.weight:g} minus none: {mean:+.4f} SRCC ({interval}): {said(low, high)}")


if __name__ == "__main__":
    main()
