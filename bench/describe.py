"""What the describe job's rounds are worth, with artquant-tiny in both parts, on generated paintings, whose truth is known.

    python -m bench.describe rounds     again with the judge's reason, again without it, and the best of three
    python -m bench.describe chain      a network trained without descriptions, with all first drafts, with those that were judged to fit

`chain` goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from artquant.agreement.metrics import srcc
from artquant.config import ExamSpec, PlayerSpec
from artquant.core.schema import CRITIQUE_PARTS
from artquant.descriptions.exam import Marks, painted_rows, sit
from artquant.descriptions.loop import Describer, Item, State
from artquant.descriptions.purse import Limit, Purse
from artquant.descriptions.recipes import make_recipe
from artquant.paintings import Painting, paint
from artquant.paintings.exam import square, squares
from artquant.paintings.seeds import HELD_OUT, TRAINING
from artquant.paintings.words import attributes_in, attributes_of
from artquant.pipelines.describe_report import taught_readers
from artquant.prompts import read_templates
from artquant.prompts.asking import Subject
from artquant.storage.store import open_store
from bench import ablate
from bench.ablation_page import contrast, said

ROUNDS, FIRST = 3, 40_000  # of HELD_OUT: neither the exam's paintings nor the reader's


def players(folder: str) -> tuple[Describer, Marks]:
    """Return the job's two parts, and the judge's marks."""
    recipe, templates, store = make_recipe(PlayerSpec(), 112, 0, 1.0, "generator"), read_templates(None, is_tiny=True), open_store(folder)
    purse, player = Purse(store, Limit()), recipe.open()
    asker = recipe.asker(player, store, purse, templates.digest)
    rows = painted_rows(60)
    marks = sit(asker, templates.judge, rows, np.stack([square(row["seed"], player.image_size) for row in rows]), ExamSpec())
    return Describer(asker, asker, templates, marks.threshold), marks


def again(describer: Describer, items: Sequence[Item], with_reason: bool = True, stops: bool = True) -> list[list[State]]:
    """Return each artwork's states, one a round."""
    states: list[list[State]] = [[] for _ in items]
    for number in range(ROUNDS):
        due = [i for i, made in enumerate(states) if not (stops and made and made[-1].outcome(ROUNDS) == "")]
        asked = [
            replace(items[i], state=states[i][-1] if with_reason and states[i] else State(), seed=0 if with_reason else number) for i in due
        ]
        for i, state in zip(due, describer.round(asked) if asked else [], strict=True):
            states[i].append(state)
    return states


def probability(state: State) -> float:
    return state.last.probability or 0.0 if state.last else 0.0


def tokens(made: Sequence[State], with_reason: bool) -> int:
    counted = made[-1:] if with_reason else made  # a state that goes on counts its earlier rounds
    return sum(state.input_tokens + state.output_tokens for state in counted)


def truth(painting: Painting, state: State) -> float:
    """Return the share of the painting's attributes that the description names rightly."""
    named = attributes_in(" ".join(state.last.texts[part] for part in CRITIQUE_PARTS)) if state.last else {}
    true = attributes_of(painting.latents)
    return float(np.mean([named.get(name) == value for name, value in true.items()]))


def rounds(num: int) -> None:
    seeds = HELD_OUT[FIRST : FIRST + num]
    paintings, reader = [paint(seed) for seed in seeds], taught_readers()[0]
    with tempfile.TemporaryDirectory() as folder:
        describer, marks = players(folder)
        size = describer.judge.player.image_size
        print(f"the judge's exam: AUC {marks.auc:.3f}; {marks.false_accepts:.1%} false accepts, {marks.false_refusals:.1%} false refusals")

        def items(shift: int = 0) -> list[Item]:
            shown = [seeds[(i + shift) % num] for i in range(num)]
            told = zip(seeds, paintings, shown, strict=True)
            return [Item(f"{seed}", Subject(p.score), {size: square(other, size)}, f"{other}", State()) for seed, p, other in told]

        def kept(made: Sequence[State]) -> State:
            return max(made, key=probability)

        ways: dict[str, tuple[list[list[State]], bool]] = {
            "again with the reason": (again(describer, items()), True),
            "again without it": (again(describer, items(), with_reason=False), False),
            "the best of three": (again(describer, items(), with_reason=False, stops=False), False),
        }
        for name, (states, with_reason) in ways.items():
            chosen = [made[-1] if with_reason else kept(made) for made in states]
            agreed = np.array([bool(one.last and one.last.agreed) for one in chosen])
            first = np.mean([bool(made[0].last and made[0].last.agreed) for made in states])
            texts, scores = [one.text_after(ROUNDS) for one in chosen], np.array([p.score for p in paintings])
            right = np.array([truth(p, one) for p, one in zip(paintings, chosen, strict=True)])
            order = srcc(reader.read([text for text, ok in zip(texts, agreed, strict=True) if ok]), scores[agreed])
            cost = np.mean([tokens(made, with_reason) for made in states])
            aside = right[~agreed].mean() if (~agreed).any() else float("nan")
            print(
                f"{name:<22} agreed at first {first:.2f}, in the end {agreed.mean():.2f}; {cost:.0f} tokens an artwork; "
                f"attributes right: kept {right[agreed].mean():.3f}, set aside {aside:.3f}; reader's SRCC {order:.3f}"
            )
        strange = [made[0].verdicts[0].texts for made in again(describer, items(shift=1), stops=False)]
        accepted = [verdict.agreed for verdict, _ in describer._judge(items(), strange)]
        print(f"its own texts of another picture: {np.mean(accepted):.2f} accepted")


def described(seeds: range, pixels: np.ndarray) -> tuple[list[Mapping[str, str]], list[Mapping[str, str]]]:
    """Return the first drafts of paintings, and what was judged to fit within the rounds, empty where nothing was."""
    with tempfile.TemporaryDirectory() as folder:
        describer, _ = players(folder)
        size = describer.judge.player.image_size
        told = zip(seeds, pixels, strict=True)
        items = [Item(f"{seed}", Subject(paint(seed).score), {size: np.asarray(x)}, f"{seed}", State()) for seed, x in told]
        made = [states[-1] for states in again(describer, items)]
    return [one.verdicts[0].texts for one in made], [one.verdicts[-1].texts if not one.outcome(ROUNDS) else {} for one in made]


def with_texts(table: pa.Table, texts: Sequence[Mapping[str, str]]) -> pa.Table:
    for part in CRITIQUE_PARTS:
        column = pa.array([one.get(part) for one in texts], pa.string())
        table = table.set_column(table.schema.get_field_index(part), part, column)
    return table


def chain(num_seeds: int, folder: Path, num: int) -> None:
    results = folder / "chain.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    known: dict[tuple[str, int], Any] = (
        {(line["arm"], line["seed"]): line for line in map(json.loads, results.read_text().splitlines())} if results.exists() else {}
    )
    exam = squares(HELD_OUT[: ablate.EXAM], ablate.IMAGE_SIZE, folder / f"judged-{ablate.EXAM}.npy")
    humans = np.array([paint(number).score for number in HELD_OUT[: ablate.EXAM]])
    for seed in range(num_seeds):
        learnt = TRAINING[seed * num : (seed + 1) * num]
        pixels = squares(learnt, ablate.IMAGE_SIZE, folder / f"learnt-{num}-{seed}.npy")
        if all((arm, seed) in known for arm in ("none", "raw", "judged")):
            continue
        first, agreed = described(learnt, pixels)
        share = float(np.mean([bool(texts) for texts in agreed]))
        plain = ablate.table_of(learnt, "none", seed)
        tables = {"none": plain, "raw": with_texts(plain, first), "judged": with_texts(plain, agreed)}
        whole = ablate.operations(ablate.Cell("all three", 0, num), tables["raw"], pixels)
        for arm, table in tables.items():
            if (arm, seed) in known:
                continue
            cell = ablate.Cell("none" if arm == "none" else "all three", seed, num)
            steps = round(cell.steps * whole / ablate.operations(cell, table, pixels))
            found = ablate.trained(cell, table, pixels, steps, exam, np.zeros(0))
            line = {"arm": arm, "seed": seed, "agreed": share, **found}
            with results.open("a") as file:
                file.write(json.dumps(line) + "\n")
            known[arm, seed] = line
            print(f"seed {seed}, {arm}: SRCC {srcc(np.array(found['scores']), humans):.3f}, {steps} steps, {share:.2f} agreed", flush=True)
    scores = {arm: [np.array(known[arm, seed]["scores"]) for seed in range(num_seeds)] for arm in ("none", "raw", "judged")}
    for arm, by_seed in scores.items():
        values = [srcc(one, humans) for one in by_seed]
        print(f"{arm}: SRCC {np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}")
    for one, other in (("raw", "none"), ("judged", "none"), ("judged", "raw")):
        mean, low, high = contrast(scores[one], scores[other], humans)
        print(f"{one} minus {other}: {mean:+.4f} (95 % interval {low:+.4f} to {high:+.4f}): {said(low, high)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("rounds", "chain"))
    parser.add_argument("--paintings", type=int, default=300, help="of `rounds`")
    parser.add_argument("--seeds", type=int, default=5, help="of `chain`")
    parser.add_argument("--folder", type=Path, default=ablate.ROOT / ".artquant" / "ablation")
    options = parser.parse_args()
    if options.what == "rounds":
        rounds(options.paintings)
    else:
        chain(options.seeds, options.folder, 1600)


if __name__ == "__main__":
    main()
