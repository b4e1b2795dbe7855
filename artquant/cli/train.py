"""The train job's thin entry point: spec, a home to run in, the pipeline, a table."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from artquant.cli.hooks import told
from artquant.cli.settings import load_job_spec, split_config
from artquant.cli.upload import check_reachable
from artquant.config import ResolvedTrainSpec, TrainSpec, read_document, resolved
from artquant.core.errors import UserError
from artquant.core.schema import LEVELS

if TYPE_CHECKING:
    from artquant.engines.recipe import EngineRecipe
    from artquant.model.checkpoint import Checkpoint
    from artquant.pipelines.train import Trained

SAMPLE = Path(__file__).with_name("recipes") / "sample.yaml"


def read_spec(overrides: list[str]) -> TrainSpec:
    """Read the spec of `config=FILE` and the settings over it; of recipes/sample.yaml if no annotations are given. Raises UserError."""
    path, settings = split_config(overrides)
    is_mplug_owl2 = any(setting.startswith("annotations.uri=") for setting in settings) or (path is not None and bool(read_document(path)))
    spec = load_job_spec(TrainSpec, overrides, None if is_mplug_owl2 else SAMPLE)
    from artquant.cli.places import check_annotations

    check_annotations(spec.annotations, spec.output)
    return spec


def main(overrides: list[str]) -> int:
    typed = read_spec(overrides)
    from artquant.cli.places import train_places

    with told(typed.watch, "train") as summary, train_places(typed) as (placed, reopen):
        from artquant.annotations.split import split_annotations
        from artquant.cli.local_ray import running_ray
        from artquant.cli.terminal import say
        from artquant.pipelines import train
        from artquant.registry import Registry
        from artquant.storage.store import open_store

        open_store(placed.output).check_writable()
        checkpoint = parent_of(placed)
        splits = split_annotations(placed.annotations)
        lessons = train.check(placed, splits)
        registry = Registry(open_store(placed.registry))
        _, num_seen = train.unseen(splits, checkpoint, registry)
        digest = train.run_digest(placed, splits, checkpoint)
        run_id = train.free_run_id(placed.run_id, digest, registry)
        spec = resolved(ResolvedTrainSpec, placed, run_id=run_id)
        summary |= {"run_id": run_id, "output": spec.output}
        sizes = ", ".join(f"{len(part):,} {name}" for name, part in (("to train on", splits.train), ("to validate", splits.validation)))
        say(f"Run {spec.run_id}: {sizes}, {len(splits.test) - num_seen:,} held out (split by {splits.source})")
        say(f"Lessons: {', '.join(f'{num:,} {kind}' for kind, num in lessons.items())}")
        if num_seen:
            say(f"{num_seen:,} held-out artworks are left out: the parent or the model in use was trained or validated on them")
        if splits.num_left_out:
            say(f"{splits.num_left_out:,} artworks are left out: they are copies, or of the group, of ones that the annotators hold out")
        try:
            with running_ray():
                trained = train.run_training(spec, splits, checkpoint, digest, partial(recipe_of, spec=spec))
        except KeyboardInterrupt as stop:
            stop.args = ("Stopped. What was current before is current still; the same command goes on from the last checkpoint.",)
            raise
        report, verdict = trained.report, trained.report.verdict
        held_out = {name: interval.value for name, interval in report.test.items()}
        summary |= {"status": "published", "model": report.model_uri, "is_promoted": bool(verdict and verdict.promoted), **held_out}
        print_training(trained, spec, reopen)
    return 0


def check_remote(overrides: list[str]) -> TrainSpec:
    """Return the settings. Refuse, before anything is sent, what a remote cluster could not run. Raises UserError."""
    spec = read_spec(overrides)
    check_reachable(
        {"annotations.uri": spec.annotations.uri, "annotations.images": spec.annotations.images, "output": spec.output},
        {name: getattr(spec, name) for name in ("model", "base", "registry")},
    )
    return spec


def recipe_of(location: str, spec: TrainSpec) -> "EngineRecipe":
    """Return how workers get the engine that judges the checkpoint at `location`. Raises UserError if it cannot be used."""
    from artquant.engines.recipe import make_recipe, open_checkpoint

    return make_recipe(open_checkpoint(location), spec.judging_engine, spec.fetch.full_decode)


def parent_of(spec: TrainSpec) -> "Checkpoint | None":
    """Open the checkpoint to continue from. Raises UserError if there is none of that name, or it cannot learn what is asked."""
    if spec.model is None:
        return None
    from artquant.engines.recipe import check_usable, open_checkpoint

    checkpoint = open_checkpoint(spec.model, spec.base)
    check_usable(checkpoint)
    if checkpoint.prompts.words != LEVELS or checkpoint.prompts.written_score:
        raise UserError(f"{spec.model} says its scores in words of its own, and training teaches the five levels: it can score, not learn.")
    if not checkpoint.is_mplug_owl2:
        check_backbone(spec, checkpoint)
    return checkpoint


def check_backbone(spec: TrainSpec, checkpoint: "Checkpoint") -> None:
    """Raise UserError if a backbone other than mPLUG-Owl2 cannot be trained this way."""
    from artquant.training.network import lora_targets

    if spec.vision_warmup.steps:
        raise UserError(f"vision_warmup.steps={spec.vision_warmup.steps} needs mPLUG-Owl2: set vision_warmup.steps=0 for {spec.model}.")
    if spec.lora.rank:
        try:
            lora_targets(checkpoint.load_skeleton()[0])
        except ValueError as error:
            raise UserError(f"The model {spec.model} cannot be used: {error}.") from error


def print_training(trained: "Trained", spec: ResolvedTrainSpec, reopen: str | None) -> None:
    from rich.console import Console

    from artquant.cli.summary import keep_page, plain_table, print_addresses
    from artquant.core.format import duration, rate
    from artquant.storage.store import open_store
    from artquant.training.state import RunState

    report, console = trained.report, Console(highlight=False)
    verdict = report.verdict
    assert verdict
    outcome = "[green]promoted[/green]" if verdict.promoted else "[yellow]not promoted[/yellow]"
    console.print(f"\n[bold]{report.model_id} is trained, in {duration(report.seconds)}, and {outcome}[/bold]: {verdict.why}.")
    table = plain_table()
    table.add_row(
        "trained", f"{report.num_steps:,} steps, {report.num_epochs:.1f} epochs, {rate(report.examples_per_second)} artworks a second"
    )
    for name, interval in report.test.items():
        table.add_row(f"held-out {name.upper()}", f"{interval.value:.3f}  ({interval.low:.3f} to {interval.high:.3f})")
    table.add_row("in use before", f"{verdict.current}: SRCC {verdict.current_value:.3f}; difference {verdict.difference:+.3f}")
    if report.rejected:
        table.add_row("refused rows", f"{sum(report.rejected.values()):,}")
    if report.num_clamped:
        table.add_row("clamped", f"{report.num_clamped:,} scores beyond the levels' values")
    if report.num_vanished:
        table.add_row("vanished", f"{report.num_vanished:,} artworks without a picture")
    table.add_row("model", str(report.model_uri))
    console.print(table)
    store = RunState(open_store(spec.output), spec.run_id).store
    shadow = keep_page(store, "shadow.html", f"{spec.run_id}-shadow")
    print_addresses({"report": keep_page(store, "report.html", spec.run_id), "shadow report": shadow, "open the store again": reopen})
