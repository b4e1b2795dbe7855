"""`artquant check annotations.uri=... annotations.images=...`: what a training would learn, and all that it would refuse."""

import tempfile

from artquant.annotations.split import Splits
from artquant.cli.train import parent_of, read_spec
from artquant.config import PlacedTrainSpec
from artquant.core.errors import UserError
from artquant.core.format import count_of


def run(settings: list[str]) -> int:
    """Print what the train job would learn with these settings, and every problem. Raises UserError with the first of them."""
    if any(setting.startswith("annotations.uri=") for setting in settings) and not any(
        setting.startswith("output=") for setting in settings
    ):
        with tempfile.TemporaryDirectory(prefix="artquant-check-") as folder:  # nothing is written, but a training names one
            return run([*settings, f"output={folder}"])
    spec = read_spec(settings)
    from artquant.annotations.split import split_annotations
    from artquant.cli.places import train_places
    from artquant.pipelines import train
    from artquant.registry import Registry
    from artquant.storage.store import open_store

    with train_places(spec) as (placed, _):
        # A training refuses too many bad rows before it looks at anything else; here all the rest is wanted too.
        given = placed.annotations.model_copy(update={"max_rejected_fraction": 1.0})
        splits = split_annotations(given)
        problems = train.problems(placed, splits)
        num_rejected, num_rows = splits.annotations.rejects.num_rows, splits.annotations.num_rows
        if num_rejected > placed.annotations.max_rejected_fraction * num_rows:
            problems.insert(
                0, f"{num_rejected:,} of {num_rows:,} rows are refused: correct them, or raise annotations.max_rejected_fraction."
            )
        num_seen = 0
        try:
            _, num_seen = train.unseen(splits, parent_of(placed), Registry(open_store(placed.registry)))
        except UserError as error:
            problems.append(str(error))
        print_check(placed, splits, num_seen, problems)
    if problems:
        raise UserError(f"A training would refuse this: {problems[0]}")
    return 0


def print_check(spec: PlacedTrainSpec, splits: Splits, num_seen: int, problems: list[str]) -> None:
    from rich.console import Console

    from artquant.cli.summary import plain_table
    from artquant.core.schema import SCORE, TEXT_PARTS
    from artquant.training.lessons import lessons, parts_of

    console, table = Console(highlight=False), plain_table("left", "right", "left")
    annotations, rows = splits.annotations, splits.train.select([SCORE, *TEXT_PARTS]).to_pylist()
    learnt = (SCORE, *parts_of(spec.loss, rows))
    table.add_row(
        "rows", f"{annotations.num_rows:,}", f"{count_of(annotations.table.num_rows, 'artwork')}, layout {spec.annotations.layout}"
    )
    for reason, num in annotations.reasons.items():
        table.add_row("refused", f"{num:,}", reason)
    table.add_row("train", f"{len(splits.train):,}", f"split by {splits.source}")
    table.add_row("validation", f"{len(splits.validation):,}", "")
    table.add_row(
        "test",
        f"{len(splits.test) - num_seen:,}",
        f"without {num_seen:,} that the parent or the current model has seen" if num_seen else "",
    )
    if splits.num_left_out:
        table.add_row("left out", f"{splits.num_left_out:,}", "copies, or of the group, of ones that the annotators hold out")
    if splits.num_missing:
        table.add_row("missing", f"{splits.num_missing:,}", "annotated, but not among the pictures")
    if splits.num_clamped:
        table.add_row("clamped", f"{splits.num_clamped:,}", "scores beyond the levels' values")
    for kind, num in lessons(rows).items():
        table.add_row("lessons", f"{num:,}", f"{kind}{'' if kind in learnt else ', not learnt'}")
    console.print(table)
    for problem in problems:
        console.print(f"[red]refused[/red]  {problem}", markup=True)
