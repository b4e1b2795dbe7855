"""The train job's thin entry point: spec, a home to run in, the pipeline, a table."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from artquant.cli.annotated import check_annotations, places
from artquant.cli.remote import check_addresses
from artquant.cli.settings import load_job_spec, split_config
from artquant.config import EngineSpec, ScoreSpec, TrainSpec, read_document
from artquant.errors import UserError

if TYPE_CHECKING:
    from artquant.model.checkpoint import Checkpoint
    from artquant.pipelines.train import Trained

SAMPLE = Path(__file__).with_name("recipes") / "sample.yaml"


def read_spec(overrides: list[str]) -> TrainSpec:
    """Of `config=FILE` and the settings over it; over recipes/sample.yaml where no annotations are given. Raises UserError."""
    path, settings = split_config(overrides)
    is_own = any(setting.startswith("annotations.uri=") for setting in settings) or (path is not None and bool(read_document(path)))
    spec = load_job_spec(TrainSpec, overrides, None if is_own else SAMPLE)
    check_annotations(spec.annotations, spec.output)
    return spec


def main(overrides: list[str]) -> int:
    spec = read_spec(overrides)
    with places(spec) as (spec, reopen):
        from artquant.cli.home import running_ray, say
        from artquant.pipelines import train
        from artquant.registry import Registry
        from artquant.storage import open_store

        assert spec.output and spec.registry
        open_store(spec.output).check_writable()
        checkpoint = parent_of(spec)
        splits = train.split_annotations(spec.annotations)
        train.check(spec, splits)
        digest = train.run_digest(spec, splits, checkpoint)
        spec = spec.model_copy(update={"run_id": train.free_run_id(spec.run_id, digest, Registry(open_store(spec.registry)))})
        sizes = ", ".join(f"{len(part):,} {name}" for name, part in (("to train on", splits.train), ("to validate", splits.validation)))
        say(f"Run {spec.run_id}: {sizes}, {len(splits.test):,} held out")
        try:
            with running_ray():
                trained = train.run_training(spec, splits, checkpoint, digest, partial(recipe_of, engine=spec.judging_engine))
        except KeyboardInterrupt as stop:
            stop.args = ("Stopped. What was current before is current still; the same command goes on from the last checkpoint.",)
            raise
        print_training(trained, spec, reopen)
    return 0


def check_remote(overrides: list[str]) -> None:
    """Refuses, before anything is sent, what a cluster elsewhere could not run. Raises UserError."""
    spec = read_spec(overrides)
    check_addresses({"annotations.uri": spec.annotations.uri, "output": spec.output})


def recipe_of(location: str, engine: EngineSpec):
    from artquant.cli.score import make_recipe

    return make_recipe(ScoreSpec(model=location, engine=engine))


def parent_of(spec: TrainSpec) -> "Checkpoint | None":
    """The checkpoint to go on from. Raises UserError where there is none of that name, or it cannot learn what is asked."""
    if spec.model is None:
        return None
    from artquant.cli.score import usable_checkpoint

    checkpoint = usable_checkpoint(spec.model, spec.base)
    if not checkpoint.is_own:
        check_backbone(spec, checkpoint)
    return checkpoint


def check_backbone(spec: TrainSpec, checkpoint: "Checkpoint") -> None:
    """Raises UserError where another backbone than mPLUG-Owl2 cannot learn so."""
    from artquant.training.network import lora_targets

    if spec.sight.steps:
        raise UserError(f"sight.steps={spec.sight.steps} is a school of mPLUG-Owl2 alone: set sight.steps=0 for {spec.model}.")
    if spec.lora.rank:
        try:
            lora_targets(checkpoint.load_skeleton()[0])
        except ValueError as error:
            raise UserError(f"The model {spec.model} cannot be used: {error}.") from error


def print_training(trained: "Trained", spec: TrainSpec, reopen: str | None) -> None:
    from rich.console import Console

    from artquant.cli.summary import keep_page, plain_table, print_addresses
    from artquant.report.words import duration, rate
    from artquant.storage import open_store
    from artquant.training.state import RunState

    report, console = trained.report, Console(highlight=False)
    verdict = report.verdict
    assert verdict and spec.output
    took = duration((report.finished_at - report.started_at).total_seconds())
    said = "[green]promoted[/green]" if verdict.promoted else "[yellow]not promoted[/yellow]"
    console.print(f"\n[bold]{report.model_id} is trained, in {took}, and {said}[/bold]: {verdict.why}.")
    table = plain_table()
    table.add_row(
        "trained", f"{report.num_steps:,} steps, {report.num_epochs:.1f} epochs, {rate(report.examples_per_second)} artworks a second"
    )
    for name, interval in report.test.items():
        table.add_row(f"held-out {name.upper()}", f"{interval.value:.3f}  ({interval.low:.3f} to {interval.high:.3f})")
    if verdict.current and verdict.difference is not None:
        table.add_row("current", f"{verdict.current}: SRCC {verdict.current_value:.3f}; difference {verdict.difference:+.3f}")
    if report.rejected:
        table.add_row("refused rows", f"{sum(report.rejected.values()):,}")
    if report.num_clamped:
        table.add_row("clamped", f"{report.num_clamped:,} scores beyond the levels' values")
    if report.num_vanished:
        table.add_row("vanished", f"{report.num_vanished:,} artworks without a picture")
    table.add_row("model", str(report.model_uri))
    console.print(table)
    store = RunState(open_store(spec.output), str(spec.run_id)).store
    shadow = keep_page(store, "shadow.html", f"{spec.run_id}-shadow") if verdict.current else None
    print_addresses({"report": keep_page(store, "report.html", str(spec.run_id)), "shadow report": shadow, "open the store again": reopen})
