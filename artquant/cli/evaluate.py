"""The evaluate job's thin entry point: spec, a home to run in, the pipeline, a table."""

import math
from typing import TYPE_CHECKING

from artquant.cli.annotated import check_annotations, places
from artquant.cli.remote import check_addresses
from artquant.cli.settings import load_job_spec
from artquant.config import EvaluateSpec
from artquant.errors import UserError

if TYPE_CHECKING:
    from artquant.metrics import Interval
    from artquant.pipelines.evaluate import Evaluation

NAMES = {
    "srcc": "SRCC",
    "plcc": "PLCC",
    "plcc_fitted": "PLCC, fitted",
    "krcc": "KRCC",
    "mae": "MAE",
    "rmse": "RMSE",
    "rmse_fitted": "RMSE, fitted",
    "level_accuracy": "same level",
}


def main(overrides: list[str]) -> int:
    spec = load_job_spec(EvaluateSpec, overrides)
    check_annotations(spec.annotations, spec.output)
    from artquant.cli.home import running_ray, say
    from artquant.cli.score import make_recipe

    with places(spec) as (spec, reopen):
        spec = with_current_model(spec)
        check_output(spec)
        from artquant.pipelines.evaluate import choose, run_evaluation, score_spec

        chosen = choose(spec)
        recipe = make_recipe(score_spec(spec))
        if recipe.level_values != spec.annotations.level_values:
            ours, theirs = (", ".join(f"{value:g}" for value in values) for values in (recipe.level_values, spec.annotations.level_values))
            say(f"The model's levels stand for {ours}, the annotations' for {theirs}: scores are read on the annotations' scale")
        if spec.theory and not recipe.open_network:
            say("The theory's terms are left out: they are estimated for mPLUG-Owl2 alone")
        with running_ray():
            evaluation = run_evaluation(spec, recipe, chosen)
        print_evaluation(evaluation, spec, reopen)
    return 0


def check_remote(overrides: list[str]) -> None:
    """Refuses, before anything is sent, what a cluster elsewhere could not run. Raises UserError."""
    spec = load_job_spec(EvaluateSpec, overrides)
    given = spec.annotations
    check_addresses({"annotations.uri": given.uri, "annotations.images": given.images, "output": spec.output})


def with_current_model(spec: EvaluateSpec) -> EvaluateSpec:
    """Where no model is named, the registry's current one; where none is current, artquant-tiny."""
    from artquant.registry import Registry
    from artquant.storage import open_store

    models = Registry(open_store(str(spec.registry)))
    return spec if spec.model or not models.current() else spec.model_copy(update={"model": models.current_uri()})


def check_output(spec: EvaluateSpec) -> None:
    """Raises UserError where the pictures cannot be read, or the output cannot be written or has such a run already."""
    from artquant.results import layout
    from artquant.storage import FetchError, open_store

    assert spec.annotations.images and spec.output
    open_store(spec.annotations.images).check_readable()
    store = open_store(spec.output)
    try:
        is_taken = store.exists(layout.evaluation_key(spec.run_id, "spec.yaml"))
    except FetchError as error:
        raise UserError(f"Cannot read {store.uri}: {error.message}; check the address and what the credentials allow.") from error
    if is_taken:
        raise UserError(f"{store.uri} has an evaluation {spec.run_id} already: choose another run_id.")
    store.check_writable()


def print_evaluation(evaluation: "Evaluation", spec: EvaluateSpec, reopen: str | None) -> None:
    from rich.console import Console

    from artquant.cli.summary import keep_page, plain_table, print_addresses
    from artquant.report.words import count_of, duration
    from artquant.results import layout
    from artquant.storage import open_store

    report, document, console = evaluation.report, evaluation.document, Console(highlight=False)
    lost = f", {count_of(report.num_rejected, 'artwork')} without a score" if report.num_rejected else ""
    took = duration((report.finished_at - report.started_at).total_seconds())
    whole = report.split == "all"
    which = count_of(report.num_artworks, "annotated artwork" if whole else "artwork") + ("" if whole else f" of the {report.split} split")
    console.print(f"\n[bold]{report.model_id} on {which}{lost}, in {took}.[/bold]")
    table = plain_table("left", "right", "left")
    for name, interval in report.metrics.items():
        table.add_row(NAMES.get(name, name), *_figures(interval, is_share=name == "level_accuracy"))
    for share, inside in report.coverage.items():
        table.add_row(f"middle {share:.0%}", f"{inside:.0%}", "of people's means lie there")
    if spread := document["spread"]:
        said = f"predicted spread, {spread['raters_std']:.2f} among raters; it covers theirs for {spread['share_covered']:.0%}"
        table.add_row("spread", f"{spread['predicted_std']:.2f}", said)
    table.add_row("open-set mass", f"{document['open_set_mass']['mean']:.3f}", f"at least {document['open_set_mass']['least']:.3f}")
    if theory := report.theory:
        per_token = document["theory"]["h_d_given_z_per_token"]["value"]
        table.add_row("H(Y|Z)", *_figures(theory.h_y_given_z, f" nats, {count_of(theory.num, 'artwork')}"))
        table.add_row("H(Y|D)", *_figures(theory.h_y_given_d))
        table.add_row("H(D|Z)", *_figures(theory.h_d_given_z, f", {per_token:.2f} a token"))
        holds = "holds" if theory.bound_holds else "does not hold"
        table.add_row("bound", f"{theory.bound_holds_share:.0%}", f"H(Y|Z) <= H(Y|D) + H(D|Z) {holds} on the means")
    console.print(table)
    classes = "  ".join(f"{name} {count:,}" for name, count in document["rejects_by_class"].items())
    if classes:
        console.print(f"without a score: {classes}", markup=False)
    store = open_store(str(spec.output))
    page = keep_page(store, layout.evaluation_key(report.run_id, "report.html"), f"evaluation-{report.run_id}")
    predictions = store.uri_of(layout.evaluation_key(report.run_id, "scores.parquet"))
    print_addresses({"report": page, "predictions": predictions, "open the store again": reopen})


def _figures(interval: "Interval", more: str = "", is_share: bool = False) -> tuple[str, str]:
    """The value, and its interval; a dash where there is none."""
    value, low, high = ("-" if math.isnan(x) else f"{x:.0%}" if is_share else f"{x:.3f}" for x in interval)
    return value, f"{low} to {high}{more}"
