"""The paper's tables in small: does a network that also learns to describe paintings score them better? `make ablate`.

Trains the small network from nothing on generated paintings with no descriptions, perception, + cognition, + emotion, several seeds each,
everything else the same: pictures, order, number of steps. Its vision warm-up knows the score alone, so that descriptions are
the only other thing that it ever learns about a painting. Judged on paintings that none of them has seen; the table goes into
docs/ablation.md.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from artquant.config import FitSpec, LossSpec, TrainSpec, VisionWarmupSpec
from artquant.core.schema import CRITIQUE_PARTS

CONDITIONS = {
    "no descriptions": (),
    "perception": CRITIQUE_PARTS[:1],
    "+ cognition": CRITIQUE_PARTS[:2],
    "+ emotion": CRITIQUE_PARTS,
}
OUT = Path(__file__).resolve().parent.parent / "docs" / "ablation.md"
IMAGE_SIZE = 112


@dataclass(frozen=True)
class Memory:
    """A picture source over pictures in memory, by the index that an id names."""

    pixels: Any

    def read(self, artwork_ids: Sequence[str], size: int, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, len(artwork_ids), batch_size):
            rows = [int(name) for name in artwork_ids[start : start + batch_size]]
            yield np.asarray(self.pixels[rows]), np.ones(len(rows), bool)


def annotations(seeds: range) -> Any:
    import pyarrow as pa

    from artquant.paintings import paint

    paintings = [paint(seed) for seed in seeds]
    texts = {part: [getattr(painting, part) for painting in paintings] for part in CRITIQUE_PARTS}
    scores = [min(10.0, max(1.0, painting.score)) for painting in paintings]
    return pa.table(
        {"artwork_id": [str(i) for i in range(len(seeds))], "score": scores, "sigma": pa.nulls(len(seeds), pa.float64()), **texts}
    )


def judged(
    parts: tuple[str, ...], seed: int, table: Any, pixels: np.ndarray, exam: np.ndarray, humans: np.ndarray, options: argparse.Namespace
) -> tuple[float, float]:
    """Train one network with these parts of the descriptions and this seed; return its SRCC and PLCC on the exam."""
    import torch

    from artquant.agreement.metrics import plcc, srcc
    from artquant.engines.torch_engine import TorchEngine
    from artquant.model.checkpoint import Checkpoint
    from artquant.training import loop
    from artquant.training.data import Task

    fit = FitSpec(
        steps=options.steps,
        batch_size=48,
        gradient_accumulation_steps=1,
        learning_rate=1e-3,
        warmup_ratio=0.06,
        weight_decay=0.05,
        beta2=0.98,
        dtype="bfloat16",
        checkpoint_interval=options.warmup_steps + options.steps,
        seed=seed,
    )
    spec = TrainSpec(
        loss=LossSpec(description=1.0, score=1.0, parts=parts), vision_warmup=VisionWarmupSpec(steps=options.warmup_steps), fit=fit
    )
    with tempfile.TemporaryDirectory() as folder:
        loop.run(Task(spec, "run", folder, "", table, table.slice(0, 16), None, Memory(pixels), None), 0, 1, torch.device("cpu"))
        engine = TorchEngine.load(Checkpoint.open(f"{folder}/training/run/model"))
        probabilities = np.concatenate([engine.assess(np.asarray(exam[i : i + 50])).probabilities for i in range(0, len(exam), 50)])
    scores = probabilities @ np.asarray(engine.scale.values)
    return srcc(scores, humans), plcc(scores, humans)


def paired_interval(difference: np.ndarray) -> tuple[float, float, float]:
    """Return the mean of (N,) differences and its 95 % interval by Student's t, which is unbounded if there is only one."""
    from scipy.stats import t

    mean, num = float(np.mean(difference)), len(difference)
    if num < 2:
        return mean, -math.inf, math.inf
    reach = float(t.ppf(0.975, num - 1) * np.std(difference, ddof=1) / math.sqrt(num))
    return mean, mean - reach, mean + reach


def page(results: dict[str, list[tuple[float, float]]], options: argparse.Namespace, seconds: float) -> str:
    """Return the table as Markdown, with the outcome stated plainly."""
    lines = [
        "# Do descriptions help? The paper's tables in small",
        "",
        f"`make ablate`, {datetime.now(UTC):%Y-%m-%d}, {seconds / 60:.0f} minutes on two cores: the small network from nothing",
        f"on {options.paintings:,} generated paintings, {options.warmup_steps} steps of vision warm-up (of the score alone) and",
        f"{options.steps} of speech, batches of 48, {options.seeds} seeds each. Judged on {options.exam} unseen paintings against",
        "the mean of eight raters. Mean over the seeds, and their standard deviation.",
        "",
        "| descriptions | SRCC | PLCC | SRCC by seed |",
        "|---|---|---|---|",
    ]
    for name, rows in results.items():
        (s, p), (ds, dp) = np.mean(rows, 0), np.std(rows, 0, ddof=1) if len(rows) > 1 else (math.nan, math.nan)
        lines.append(f"| {name} | {s:.3f} ± {ds:.3f} | {p:.3f} ± {dp:.3f} | {', '.join(f'{row[0]:.3f}' for row in rows)} |")
    first, last = list(results)[0], list(results)[-1]
    difference = np.array([b[0] - a[0] for a, b in zip(results[first], results[last], strict=True)])
    mean, low, high = paired_interval(difference)
    verdict = "helped" if low > 0 else "hurt" if high < 0 else "made no difference that these seeds could tell"
    lines += [
        "",
        f"All three descriptions against none, seed by seed: {mean:+.3f} SRCC, 95 % interval {low:+.3f} to {high:+.3f} (Student's t,",
        f"{len(difference)} seeds). Here descriptions **{verdict}**.",
        "",
        "The paper reports 0.863 -> 0.871 on APDD, 0.499 -> 0.543 on BAID and 0.545 -> 0.625 on VAPS, for a 7B network on real",
        "artworks; generated paintings with known latents and a network of 2.5 M parameters need not behave alike.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paintings", type=int, default=2400)
    parser.add_argument("--exam", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--warmup-steps", type=int, default=150)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--cache", type=Path, default=Path(".artquant/rendered"), help="folder that keeps the rendered paintings")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    from artquant.paintings import paint
    from artquant.paintings.exam import squares
    from artquant.paintings.seeds import HELD_OUT, TRAINING

    learnt, unseen = TRAINING[: options.paintings], HELD_OUT[: options.exam]
    print(f"rendering {len(learnt):,} paintings to learn from and {len(unseen)} to be judged by", flush=True)
    pixels = squares(learnt, IMAGE_SIZE, options.cache / f"training-{len(learnt)}-{IMAGE_SIZE}.npy")
    exam = squares(unseen, IMAGE_SIZE, options.cache / f"judged-{len(unseen)}-{IMAGE_SIZE}.npy")
    humans, table = np.array([paint(seed).score for seed in unseen]), annotations(learnt)
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in CONDITIONS}
    started, done, total = time.monotonic(), 0, len(CONDITIONS) * options.seeds
    for seed in range(options.seeds):
        for name, parts in CONDITIONS.items():
            results[name].append(judged(parts, seed, table, pixels, exam, humans, options))
            done += 1
            took = time.monotonic() - started
            left = took / done * (total - done)
            srcc, plcc = results[name][-1]
            print(f"{done}/{total}  seed {seed}  {name:<16} SRCC {srcc:.3f}  PLCC {plcc:.3f}  {left:.0f} s left", flush=True)
    options.out.write_text(page(results, options, time.monotonic() - started))
    print(f"\n{options.out.read_text()}")


if __name__ == "__main__":
    main()
