"""Do descriptions help? The paper's ablation in small, resumable: `make ablate` goes on where it was stopped.

The small network from nothing on generated paintings, whose texts say what is to be seen and not how good it is
(bench/ablation_texts.py). The vision warm-up knows the score alone. Every arm of a seed has the same paintings, order and first weights,
and as much computing: what an arm saves in texts it has in steps. The main contrast is all three descriptions against none, fixed
before the first run; shuffled texts are the placebo. The page is docs/ablation.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from artquant.config import FitSpec, LossSpec, TrainSpec, VisionWarmupSpec
from artquant.core.schema import CRITIQUE_PARTS, SCORE
from artquant.engines.heat import heat_maps
from artquant.engines.torch_engine import TorchEngine
from artquant.model.checkpoint import Checkpoint
from artquant.paintings import paint
from artquant.paintings.exam import squares
from artquant.paintings.seeds import HELD_OUT, TRAINING
from artquant.training import loop
from artquant.training.data import Task
from bench.ablation_page import page
from bench.ablation_texts import texts_of
from bench.explain import centre, place

ARMS: dict[str, tuple[str, ...]] = {
    "none": (),
    "all three": CRITIQUE_PARTS,
    "shuffled": CRITIQUE_PARTS,
    "perception": CRITIQUE_PARTS[:1],
    "+ cognition": CRITIQUE_PARTS[:2],
    "comment": ("comment",),
}
MAIN = ("none", "all three", "shuffled")
WEIGHTS = {"1:1": (1.0, 1.0), "published": (1.0, 0.05)}  # of descriptions and score
ROOT = Path(__file__).resolve().parent.parent
IMAGE_SIZE, EXAM, LOOKED_AT, BATCH = 112, 500, 100, 48


@dataclass(frozen=True)
class Cell:
    """One training. `steps`: of language, as all three descriptions take; `paintings`: to learn from."""

    arm: str
    seed: int
    paintings: int = 1600
    weights: str = "1:1"
    warmup_steps: int = 150
    steps: int = 60
    rank: float = 0.0  # weight of the loss between artworks (bench/rank.py)

    @property
    def key(self) -> str:
        return json.dumps({name: value for name, value in asdict(self).items() if name != "rank" or value}, sort_keys=True)


@dataclass(frozen=True)
class Memory:
    """A picture source over pictures in memory, by the index that an id names."""

    pixels: Any

    def read(self, artwork_ids: Sequence[str], size: int, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, len(artwork_ids), batch_size):
            rows = [int(name) for name in artwork_ids[start : start + batch_size]]
            yield np.asarray(self.pixels[rows]), np.ones(len(rows), bool)


def table_of(seeds: range, arm: str, seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    paintings = [paint(number) for number in seeds]
    texts = [texts_of(painting.latents, rng) for painting in paintings]
    if arm == "shuffled":
        texts = [texts[i] for i in rng.permutation(len(texts))]
    scores = [min(10.0, max(1.0, painting.score)) for painting in paintings]
    columns = {part: [text[part] for text in texts] for part in (*CRITIQUE_PARTS, "comment")}
    num = len(paintings)
    return pa.table({"artwork_id": [str(i) for i in range(num)], SCORE: scores, "sigma": pa.nulls(num, pa.float64()), **columns})


def task_of(cell: Cell, table: pa.Table, pixels: Any, folder: str, steps: int) -> Task:
    fit = FitSpec(
        steps=steps,
        batch_size=BATCH,
        gradient_accumulation_steps=1,
        learning_rate=1e-3,
        warmup_ratio=0.06,
        weight_decay=0.05,
        beta2=0.98,
        dtype="bfloat16",
        checkpoint_interval=cell.warmup_steps + steps,
        seed=cell.seed,
    )
    description, score = WEIGHTS[cell.weights]
    loss = LossSpec(description=description, score=score, rank=cell.rank, parts=ARMS[cell.arm])
    spec = TrainSpec(loss=loss, vision_warmup=VisionWarmupSpec(steps=cell.warmup_steps), fit=fit)
    return Task(spec, "run", folder, "", table, table.slice(0, 16), None, Memory(pixels), None)


def operations(cell: Cell, table: pa.Table, pixels: Any) -> float:
    """Return what a step of language takes, as torch counts it, forwards and backwards."""
    from torch.utils.flop_counter import FlopCounterMode

    with tempfile.TemporaryDirectory() as folder, FlopCounterMode(display=False) as counter:
        worker = loop.Worker(task_of(cell, table.slice(0, BATCH), pixels, folder, 1), 0, 1, torch.device("cpu"))
        rows = np.arange(BATCH)[None]
        batches = list(worker.pictures.batches(rows))
        before = counter.get_total_flops()
        worker._step(cell.warmup_steps, rows, batches)
        return float(counter.get_total_flops() - before)


def trained(cell: Cell, table: pa.Table, pixels: Any, steps: int, exam: np.ndarray, places: np.ndarray) -> dict[str, Any]:
    """Train one network; return what it says of the exam's paintings, and how its heat maps follow their subjects."""
    from scipy.stats import spearmanr

    with tempfile.TemporaryDirectory() as folder:
        loop.run(task_of(cell, table, pixels, folder, steps), 0, 1, torch.device("cpu"))
        engine = TorchEngine.load(Checkpoint.open(f"{folder}/training/run/model"))
        probabilities = np.concatenate([engine.assess(np.asarray(exam[i : i + 50])).probabilities for i in range(0, len(exam), 50)])
        heats = [heat_maps(engine, np.asarray(exam[i]), {})[SCORE] for i in range(len(places))]
    found = {"attention": [centre(heat.attention) for heat in heats], "gradient": [centre(np.abs(heat.gradient)) for heat in heats]}
    follows = {name: float(spearmanr(places, centres).statistic) for name, centres in found.items()} if len(places) else {}
    return {"scores": (probabilities @ np.asarray(engine.scale.values)).round(4).tolist(), "follows": follows, "steps": steps}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--arms", default=",".join(MAIN), help=f"of {', '.join(ARMS)}")
    parser.add_argument("--paintings", type=int, default=1600, help="to learn from, anew for each seed; the grid has 250, 800 and 1600")
    parser.add_argument("--weights", choices=WEIGHTS, default="1:1")
    parser.add_argument("--folder", type=Path, default=ROOT / ".artquant" / "ablation", help="results, and the rendered paintings")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "ablation.md")
    options = parser.parse_args()
    arms = [name.strip() for name in options.arms.split(",")]
    results = options.folder / "cells.jsonl"
    options.folder.mkdir(parents=True, exist_ok=True)
    known = {line["cell"]: line for line in map(json.loads, results.read_text().splitlines())} if results.exists() else {}
    unseen = HELD_OUT[:EXAM]
    exam = squares(unseen, IMAGE_SIZE, options.folder / f"judged-{EXAM}.npy")
    places = np.array([place(paint(number).latents) for number in unseen[:LOOKED_AT]])
    cells = [Cell(arm, seed, options.paintings, options.weights) for seed in range(options.seeds) for arm in arms]
    due = [cell for cell in cells if cell.key not in known]
    print(f"{len(cells)} trainings, {len(cells) - len(due)} of them done before", flush=True)
    started, counted = time.monotonic(), dict[str, float]()
    for done, cell in enumerate(due, 1):
        learnt = TRAINING[cell.seed * cell.paintings : (cell.seed + 1) * cell.paintings]
        pixels = squares(learnt, IMAGE_SIZE, options.folder / f"learnt-{cell.paintings}-{cell.seed}.npy")
        table = table_of(learnt, cell.arm, cell.seed)
        for name in {cell.arm, "all three"} - counted.keys():
            counted[name] = operations(Cell(name, 0, cell.paintings, cell.weights), table_of(learnt, name, 0), pixels)
        steps = round(cell.steps * counted["all three"] / counted[cell.arm])
        began = time.monotonic()
        line = {"cell": cell.key, **trained(cell, table, pixels, steps, exam, places), "seconds": round(time.monotonic() - began, 1)}
        with results.open("a") as file:
            file.write(json.dumps(line) + "\n")
        known[cell.key] = line
        left = (time.monotonic() - started) / done * (len(due) - done) / 60
        print(f"{done}/{len(due)}  {cell.arm}, seed {cell.seed}: {steps} steps, {left:.0f} min left", flush=True)
    humans = np.array([paint(number).score for number in unseen])
    by_arm = {arm: [known[cell.key] for cell in cells if cell.arm == arm] for arm in arms}
    options.out.write_text(page(by_arm, humans, cells[0].paintings, options.weights, cells[0].warmup_steps))
    print(options.out.read_text())


if __name__ == "__main__":
    main()
