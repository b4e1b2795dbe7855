"""The score job's entry point: settings, places, an engine, the pipeline, a table."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module

from artquant.cli.ends import whole_cause
from artquant.cli.remote import check_addresses
from artquant.cli.settings import load_job_spec
from artquant.config import ScoreSpec
from artquant.core.errors import RunFailed, UserError


def main(overrides: list[str]) -> int:
    spec = read_spec(overrides)
    from artquant.cli.local_ray import running_ray
    from artquant.cli.places import score_places
    from artquant.cli.terminal import say
    from artquant.engines.recipe import make_recipe, open_checkpoint

    beside = ThreadPoolExecutor(1)
    beside.submit(import_module, "artquant.pipelines.score")  # and with it Ray Data, while the store starts and is asked
    with beside, score_places(spec) as (spec, reopen):
        checkpoint = open_checkpoint(spec.model, spec.base)
        # Ray's start is mostly waiting; torch and transformers are slow to import.
        recipe = beside.submit(make_recipe, checkpoint, spec.engine, spec.fetch.full_decode)
        if os.environ.get("RAY_ADDRESS"):
            recipe.result()
        from artquant.cli.summary import keep_report, print_summary
        from artquant.pipelines.score import run_score

        try:
            with running_ray():
                report = run_score(spec, recipe.result())
        except RunFailed:
            say(f"report: {keep_report(spec.output, spec.run_id)}")
            raise
        except KeyboardInterrupt as stop:
            if is_published(spec.output, spec.run_id):
                stop.args = (f"Stopped, after the run {spec.run_id} was published: its rows are current.",)
            raise
        except UserError:
            raise
        except Exception as error:
            if not is_published(spec.output, spec.run_id):
                raise
            say(f"artquant: The run {spec.run_id} is published, and its rows are current; what came after failed: {whole_cause(error)}.")
            return 0
        print_summary(report, keep_report(spec.output, spec.run_id), reopen)
    return 0


def read_spec(overrides: list[str]) -> ScoreSpec:
    """Raises UserError, for half of the places too: the sample is never run by accident, nor are results put where nobody looks."""
    spec = load_job_spec(ScoreSpec, overrides)
    if bool(spec.input) != bool(spec.output):
        given, lacking = ("input", "output") if spec.input else ("output", "input")
        raise UserError(f"{given} is given and {lacking} is not: give both, or neither for the sample collection.")
    return spec


def is_published(output: str, run_id: str) -> bool:
    """Whether CURRENT names this run; False where the store does not say."""
    from artquant.results import layout
    from artquant.storage.store import FetchError, open_store

    try:
        return bool(json.loads(open_store(output).get(layout.CURRENT))["run_id"] == run_id)
    except (FetchError, ValueError, KeyError):
        return False


def check_remote(overrides: list[str]) -> None:
    """Refuses, before anything is sent, what a cluster elsewhere could not run. Raises UserError."""
    spec = load_job_spec(ScoreSpec, overrides)
    check_addresses({"input": spec.input, "output": spec.output})
