"""The evaluate job's thin entry point: spec, a home to run in, the pipeline, a table."""

import math
from typing import TYPE_CHECKING

from artquant.cli.hooks import told
from artquant.cli.settings import load_job_spec
from artquant.cli.upload import check_reachable
from artquant.config import EvaluateSpec

if TYPE_CHECKING:
    from artquant.agreement.metrics import Interval
    from artquant.pipelines.evaluate import Evaluation


def main(overrides: list[str]) -> int:
    spec = load_job_spec(EvaluateSpec, overrides)
    from artquant.cli.local_ray import running_ray
    from artquant.cli.places import check_annotations, evaluate_places
    from artquant.cli.terminal import say

    check_annotations(spec.annotations, spec.output)
    with told(spec.watch, "evaluate") as summary, evaluate_places(spec) as (spec, reopen):
        from artquant.annotations.seen import read_seen
        from artquant.engines.recipe import make_recipe, open_checkpoint
        from artquant.pipelines.evaluate import choose, run_evaluation

        checkpoint = open_checkpoint(spec.model, spec.base)
        chosen = choose(spec, read_seen(checkpoint.folder, checkpoint.base_folder))
        if num_seen := chosen.facts["num_seen"]:
            is_asked = spec.split in ("train", "validation")
            what = "are judged all the same, as the split says" if is_asked else "are left out"
            say(f"{num_seen:,} artworks that the model was trained or validated on {what}")
        recipe = make_recipe(checkpoint, spec.engine, spec.fetch.full_decode)
        if recipe.level_values != spec.annotations.level_values:
            ours, theirs = (", ".join(f"{value:g}" for value in values) for values in (recipe.level_values, spec.annotations.level_values))
            say(f"The model's levels stand for {ours}, the annotations' for {theirs}: scores are read on the annotations' scale")
        if spec.theory and not recipe.open_network:
            say("The theory's terms are left out: they are estimated for mPLUG-Owl2 alone")
        with running_ray():
            evaluation = run_evaluation(spec, recipe, chosen)
        report = evaluation.report
        figures = {name: interval.value for name, interval in report.metrics.items()}
        summary |= {"status": "published", "run_id": report.run_id, "output": spec.output, "model": report.model_id, **figures}
        print_evaluation(evaluation, spec.output, reopen)
    return 0


def check_remote(overrides: list[str]) -> EvaluateSpec:
    """Return the settings. Refuse, before anything is sent, what a remote cluster could not run. Raises UserError."""
    spec = load_job_spec(EvaluateSpec, overrides)
    annotations = spec.annotations
    check_reachable(
        {"annotations.uri": annotations.uri, "annotations.images": annotations.images, "output": spec.output},
        {name: getattr(spec, name) for name in ("model", "base", "registry")},
    )
    return spec


def print_evaluation(evaluation: "Evaluation", output: str, reopen: str | None) -> None:
    from rich.console import Console

    from artquant.cli.summary import keep_page, plain_table, print_addresses
    from artquant.core.format import count_of, duration
    from artquant.report.words import METRICS
    from artquant.results import layout
    from artquant.storage.store import open_store

    report, document, console = evaluation.report, evaluation.document, Console(highlight=False)
    lost = f", {count_of(report.num_rejected, 'artwork')} without a score" if report.num_rejected else ""
    whole = report.split == "all"
    which = count_of(report.num_artworks, "annotated artwork" if whole else "artwork") + ("" if whole else f" of the {report.split} split")
    console.print(f"\n[bold]{report.model_id} on {which}{lost}, in {duration(report.seconds)}.[/bold]")
    table = plain_table("left", "right", "left")
    for name, interval in report.metrics.items():
        table.add_row(METRICS[name].name, *_figures(interval, is_share=name == "level_accuracy"))
    for one in report.errors:
        if math.isfinite(one.half_width):
            table.add_row(
                f"{one.share:.0%} lie within", f"{one.half_width:.2f}", f"of people's mean; on artworks held out {one.covered:.0%}"
            )
    if report.pit:
        table.add_row("single ratings", f"{report.pit.distance:.3f}", f"from calibrated (PIT), {count_of(report.pit.num, 'rating')}")
    if spread := document["spread"]:
        spread_text = f"predicted spread, {spread['raters_std']:.2f} among raters; it covers theirs for {spread['share_covered']:.0%}"
        table.add_row("spread", f"{spread['predicted_std']:.2f}", spread_text)
    table.add_row("open-set mass", f"{document['open_set_mass']['mean']:.3f}", f"at least {document['open_set_mass']['least']:.3f}")
    if theory := report.theory:
        for name, told in (
            ("picture about score", theory.picture),
            ("texts about score", theory.texts),
            ("texts, levels masked", theory.masked_texts),
            ("picture about texts", theory.generation),
        ):
            table.add_row(name, *_figures(told.nats, f" nats; by chance {told.by_chance:.3f}"))
    console.print(table)
    classes = "  ".join(f"{name} {count:,}" for name, count in document["rejects_by_class"].items())
    if classes:
        console.print(f"without a score: {classes}", markup=False)
    store = open_store(output)
    page = keep_page(store, layout.evaluation_key(report.run_id, "report.html"), f"evaluation-{report.run_id}")
    predictions = store.uri_of(layout.evaluation_key(report.run_id, "scores.parquet"))
    print_addresses({"report": page, "predictions": predictions, "open the store again": reopen})


def _figures(interval: "Interval", more: str = "", is_share: bool = False) -> tuple[str, str]:
    """Format the value and its interval; a dash stands for a missing number."""
    value, low, high = ("-" if math.isnan(x) else f"{x:.0%}" if is_share else f"{x:.3f}" for x in interval)
    return value, f"{low} to {high}{more}"
