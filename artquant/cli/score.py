"""The score job's entry point: settings, places, an engine, the pipeline, a table."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from importlib import import_module
from typing import TYPE_CHECKING

from artquant.cli.ends import whole_cause
from artquant.cli.settings import load_job_spec
from artquant.cli.upload import check_reachable
from artquant.cli.watching import Seen, watched
from artquant.config import ResolvedScoreSpec, ScoreSpec
from artquant.core.errors import Held, RunFailed, UserError
from artquant.core.format import count_of
from artquant.progress import log

if TYPE_CHECKING:
    from artquant.engines.recipe import EngineRecipe
    from artquant.records.run import RunReport
    from artquant.results.nights import Work
    from artquant.results.plan import PlanSummary


def main(overrides: list[str]) -> int:
    spec = read_spec(overrides)
    from artquant.cli.places import score_places

    beside = ThreadPoolExecutor(1)
    beside.submit(import_module, "artquant.pipelines.score")  # and with it Ray Data, while the store starts and is asked
    with watched(spec) as seen, beside, score_places(spec) as (spec, reopen):
        from artquant.cli.deadline import end_of, score_until
        from artquant.cli.local_ray import check_answers, running_ray
        from artquant.engines.recipe import identity_of, make_recipe, open_checkpoint

        checkpoint = open_checkpoint(spec.model, spec.base)
        from artquant.pipelines.score import asked_of, claimed_night

        identity = identity_of(checkpoint, spec.engine, spec.fetch.full_decode)
        address = os.environ.get("RAY_ADDRESS")
        if address:  # what is refused leaves nothing behind
            make_recipe(checkpoint, spec.engine, spec.fetch.full_decode)
            check_answers(address)
        if end := end_of(spec, datetime.now(UTC)):
            seen.is_to_end(end)
            score_until(
                end,
                spec,
                lambda piece: asked_of(piece, identity),
                lambda piece: make_recipe(checkpoint, piece.engine, piece.fetch.full_decode),
                lambda piece, work, recipe, reopen, ray: score(piece, work, recipe, reopen, seen, ray),
                running_ray,
            )
            if seen.summary["status"] != "published":
                seen.nothing_is_due(0)
            return 0
        with claimed_night(spec, identity) as work:
            from artquant.results.plan import PlanSummary

            if isinstance(work, PlanSummary):
                print_nothing_due(work, spec)
                seen.nothing_is_due(work.num_reused)
                return 0
            # Ray's start is mostly waiting; torch and transformers are slow to import.
            recipe = beside.submit(make_recipe, checkpoint, spec.engine, spec.fetch.full_decode)
            score(spec, work, recipe.result, reopen, seen, running_ray)
            return 0


def score(
    spec: ResolvedScoreSpec,
    work: "Work",
    recipe: "Callable[[], EngineRecipe]",
    reopen: str | None,
    seen: Seen,
    ray: "Callable[[], AbstractContextManager[Callable[[], None] | None]]",
) -> "RunReport | None":
    """Score on a Ray that runs for the call, and say how it ended. Returns None where the page failed after the run was published."""
    from artquant.cli.summary import keep_report, print_summary
    from artquant.cli.terminal import say
    from artquant.pipelines.score import run_score

    run_id = work.intent.run_id
    seen.begins(spec, work, spec.engine.num_workers)
    try:
        with ray() as end_ray:
            report = run_score(spec, recipe(), work, end_ray)
    except (RunFailed, Held):
        page = keep_report(spec.output, run_id)
        say(f"report: {page}")
        seen.has_numbers(page)
        raise
    except KeyboardInterrupt as stop:
        if is_published(spec.output, run_id):
            stop.args = (f"Stopped, after the run {run_id} was published: its rows are current.",)
        else:
            stop.args = ("Stopped. Nothing was published; the same command goes on where this one stopped.",)
        raise
    except UserError:
        raise
    except Exception as error:
        if not is_published(spec.output, run_id):
            raise
        say(f"artquant: The run {run_id} is published, and its rows are current; what came after failed: {whole_cause(error)}.")
        seen.is_published(spec, 0.0, 0)
        return None
    seen.is_published(spec, report.seconds, report.num_scored)
    page = keep_report(spec.output, run_id)
    seen.has_numbers(page)
    if not log.is_json():
        print_summary(report, page, reopen)
    return report


def print_nothing_due(plan: "PlanSummary", spec: ResolvedScoreSpec) -> None:
    reused = count_of(plan.num_reused, "artwork")
    more = ", ".join(f"{number:,} {what}" for what, number in plan.counts.items() if what != "reused" and number)
    print(f"Nothing is due: {reused} {'is' if plan.num_reused == 1 else 'are'} scored already{f' ({more})' if more else ''}.")
    print(f"results  {spec.output}")


def read_spec(overrides: list[str]) -> ScoreSpec:
    """Raise UserError, for half of the places too: the sample is never run by accident, nor are results put where nobody looks."""
    spec = load_job_spec(ScoreSpec, overrides)
    sources = [name for name in ("input", "manifest", "inventory") if getattr(spec, name)]
    if len(sources) > 1:
        raise UserError(f"{' and '.join(sources)} are given: one of them says what the collection is, so leave the others out.")
    if bool(sources) != bool(spec.output):
        there, lacking = (sources[0], "output") if sources else ("output", "input")
        raise UserError(f"{there} is given and {lacking} is not: give both, or neither for the sample collection.")
    if sources and not spec.model:
        raise UserError(
            f"{sources[0]} is given and model is not: say model=current, model=s3://bucket/models/name, a folder or a hub name, or "
            "model=tiny for the demonstration model, which has seen nothing but generated paintings."
        )
    return spec


def is_published(output: str, run_id: str) -> bool:
    """Return whether the last snapshot is of this run; False where the store does not say."""
    from artquant.results.snapshots import head
    from artquant.storage.store import FetchError, open_store

    try:
        last = head(open_store(output))
    except FetchError:
        return False
    return last is not None and last.run_id == run_id


def check_remote(overrides: list[str]) -> ScoreSpec:
    """Return the settings. Refuses, before anything is sent, what a cluster elsewhere could not run. Raises UserError."""
    spec = read_spec(overrides)
    source = next((name for name in ("manifest", "inventory") if getattr(spec, name)), "input")
    check_reachable(
        {source: spec.inputs or spec.manifest or spec.inventory, "output": spec.output},
        {name: getattr(spec, name) for name in ("model", "base", "registry")},
    )
    return spec
