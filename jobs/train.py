"""The train job's thin entry point: spec, a home to run in, the pipeline, a table."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from artquant.config import EngineSpec, ScoreSpec, TrainSpec, load_spec
from artquant.errors import UserError

if TYPE_CHECKING:
    from artquant.model.checkpoint import Checkpoint
    from artquant.pipelines.train import Trained

HERE = Path(__file__).parent
DEFAULTS, SAMPLE = HERE / "train.yaml", HERE / "train_sample.yaml"


def read_spec(overrides: list[str]) -> TrainSpec:
    """Of `recipe=FILE` if it is named, else of jobs/train.yaml, or of jobs/train_sample.yaml where no annotations are given."""
    named = [override.removeprefix("recipe=") for override in overrides if override.startswith("recipe=")]
    settings = [override for override in overrides if not override.startswith("recipe=")]
    is_own = any(override.startswith("annotations.uri=") for override in settings)
    spec = load_spec(TrainSpec, Path(named[-1]) if named else DEFAULTS if is_own else SAMPLE, settings)
    given = {"annotations.uri": spec.annotations.uri, "annotations.images": spec.annotations.images}
    lacking = [name for name, value in given.items() if not value]
    if len(lacking) == 1:
        raise UserError(f"{lacking[0]} is needed too: ratings and the pictures that they are of go together.")
    return spec


def main(overrides: list[str]) -> int:
    spec = read_spec(overrides)
    with places(spec) as (spec, reopen):
        from artquant.pipelines import train
        from artquant.registry import Registry
        from artquant.storage import open_store
        from jobs.home import running_ray, say

        assert spec.output and spec.registry
        open_store(spec.output).check_writable()
        checkpoint = parent_of(spec)
        splits = train.split_annotations(spec.annotations)
        train.check(spec, splits)
        digest = train.run_digest(spec, splits, checkpoint)
        spec = spec.model_copy(update={"run_id": train.free_run_id(spec.run_id, digest, Registry(open_store(spec.registry)))})
        sizes = ", ".join(f"{len(part):,} {name}" for name, part in (("to train on", splits.train), ("to validate", splits.validation)))
        say(f"Run {spec.run_id}: {sizes}, {len(splits.test):,} held out")
        with running_ray():
            trained = train.run_training(spec, splits, checkpoint, digest, recipe_of)
        print_training(trained, spec, reopen)
    return 0


def check_remote(overrides: list[str]) -> None:
    """Refuses, before anything is sent, what a cluster elsewhere could not run. Raises UserError."""
    spec = read_spec(overrides)
    for name, value in {"annotations.uri": spec.annotations.uri, "output": spec.output}.items():
        if not value:
            raise UserError(f"{name} is needed where the job runs on a cluster: the embedded store is for this machine alone.")


def recipe_of(location: str):
    from jobs.score import make_recipe

    return make_recipe(ScoreSpec(model=location, engine=EngineSpec(critique=False)))


def parent_of(spec: TrainSpec) -> "Checkpoint | None":
    """The checkpoint to go on from. Raises UserError where there is none of that name, or it cannot learn what is asked."""
    if spec.model is None:
        return None
    from jobs.score import usable_checkpoint

    try:
        checkpoint = usable_checkpoint(spec.model, spec.base)
        if not checkpoint.is_own:
            check_backbone(spec, checkpoint)
        return checkpoint
    except UserError:
        raise
    except Exception as error:  # a damaged file makes the libraries raise whatever they like
        raise UserError(f"The model {spec.model} cannot be used: {' '.join(str(error).split()).rstrip('.')}.") from error


def check_backbone(spec: TrainSpec, checkpoint: "Checkpoint") -> None:
    """Raises ValueError or UserError where another backbone than mPLUG-Owl2 cannot learn so."""
    from artquant.training.network import lora_targets

    if spec.sight.steps:
        raise UserError(f"sight.steps={spec.sight.steps} is a school of mPLUG-Owl2 alone: set sight.steps=0 for {spec.model}.")
    if spec.lora.rank:
        lora_targets(checkpoint.load_skeleton()[0])


@contextmanager
def places(spec: TrainSpec) -> Iterator[tuple[TrainSpec, str | None]]:
    """The spec with whole addresses, and the command that opens the store again where it is ours."""
    from artquant.storage import open_store
    from jobs.home import embedded_bucket, refuse_other_stores

    if spec.annotations.uri and spec.output:
        yield with_places(spec, spec.output, spec.registry or f"{spec.output.rstrip('/')}/models"), None
        return
    addresses = {"annotations.uri": spec.annotations.uri, "annotations.images": spec.annotations.images}
    refuse_other_stores(
        addresses | {name: getattr(spec, name) for name in ("output", "model", "base", "registry")}, "annotations and output"
    )
    for uri in (spec.annotations.images, spec.output):
        if uri and not uri.startswith("s3://"):
            open_store(uri)  # an address of another kind is refused before anything is started
    with embedded_bucket() as (bucket, reopen):
        if not spec.annotations.uri:
            from jobs.sample import fill_annotations

            spec = spec.model_copy(update={"annotations": fill_annotations(bucket, spec.annotations, spec.sample_size)})
        yield with_places(spec, spec.output or bucket.uri_of("results"), spec.registry or bucket.uri_of("models")), reopen


def with_places(spec: TrainSpec, output: str, registry: str) -> TrainSpec:
    from artquant.registry import Registry
    from artquant.storage import open_store

    model = Registry(open_store(registry)).current_uri() if spec.model == "current" else spec.model
    images = open_store(str(spec.annotations.images)).uri
    annotations = spec.annotations.model_copy(update={"images": images})
    update = {"annotations": annotations, "output": open_store(output).uri, "registry": open_store(registry).uri, "model": model}
    return spec.model_copy(update=update)


def print_training(trained: "Trained", spec: TrainSpec, reopen: str | None) -> None:
    from rich.console import Console
    from rich.table import Table

    from artquant.report.words import duration, rate
    from artquant.storage import open_store
    from artquant.training.state import RunState
    from jobs.summary import keep_page

    report, console = trained.report, Console(highlight=False)
    verdict = report.verdict
    assert verdict and spec.output
    took = duration((report.finished_at - report.started_at).total_seconds())
    said = "[green]promoted[/green]" if verdict.promoted else "[yellow]not promoted[/yellow]"
    console.print(f"\n[bold]{report.model_id} is trained, in {took}, and {said}[/bold]: {verdict.why}.")
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column()
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
    print(f"\nreport                {keep_page(store, 'report.html', str(spec.run_id))}")
    if verdict.current:
        print(f"shadow report         {keep_page(store, 'shadow.html', f'{spec.run_id}-shadow')}")
    if reopen:
        print(f"open the store again  {reopen}")
