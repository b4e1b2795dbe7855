"""`artquant plan score ...`: what the next run would do, and what it would cost, without an engine."""

import tempfile
from pathlib import Path

from artquant.cli.score import read_spec
from artquant.config import EngineSpec, ResolvedScoreSpec
from artquant.core.errors import UserError
from artquant.core.format import count_of, duration, file_size, rate
from artquant.results.plan import PlanSummary
from artquant.results.snapshots import Snapshot

MEANINGS = {
    "new": "never scored",
    "changed": "another content under the same id",
    "model": "scored by another model",
    "prompt": "scored with another prompt",
    "preprocessing": "scored with another preprocessing",
    "dtype": "scored in another precision",
    "retry": "rejected for trouble that passes",
    "forced": "scored or rejected already, and asked for again",
    "critique": "scored without the texts",
    "reused": "scored already",
    "rejected for good": "until the object or the model changes",
    "queued": "due, and beyond the limit, or for another night",
    "gone": "in the ledger, not in the collection",
    "excluded": "by a pattern of exclude",
    "forgotten": "never scored again",
}


def run(arguments: list[str]) -> int:
    """Print the plan of a job. Raises UserError."""
    job, *overrides = arguments or [""]
    if job == "describe":
        from artquant.cli.describe_plan import print_describe_plan

        return print_describe_plan(overrides, MEANINGS)
    if job != "score":
        raise UserError(f"artquant plan knows the jobs score and describe, not {job!r}: say artquant plan score input=... output=...")
    spec = read_spec(overrides)
    from artquant.cli.places import score_places
    from artquant.engines.open import resolve
    from artquant.engines.recipe import identity_of, open_checkpoint
    from artquant.pipelines.score import asked_of
    from artquant.results.nights import draft, opened
    from artquant.results.trust import as_trusted
    from artquant.storage.store import open_store

    with score_places(spec) as (placed, _), tempfile.TemporaryDirectory(prefix="artquant-plan-") as folder:
        checkpoint = open_checkpoint(placed.model, placed.base)
        identity = identity_of(checkpoint, placed.engine, placed.fetch.full_decode)
        store = as_trusted(open_store(placed.output))
        parent = opened(store)
        summary = draft(store, parent, asked_of(placed, identity), Path(folder)).summary
        print_plan(summary, placed, parent, resolve(placed.engine, checkpoint.is_mplug_owl2), identity.model_id)
    return 0


def print_plan(plan: PlanSummary, spec: ResolvedScoreSpec, parent: Snapshot | None, engine: EngineSpec, model_id: str) -> None:
    from rich.console import Console

    from artquant.cli.summary import plain_table

    console, table = Console(highlight=False), plain_table("left", "right", "left")
    after = f"after snapshot {parent.number}" if parent else "the first of this output"
    console.print(f"\n[bold]{count_of(plan.num_planned, 'artwork')} due[/bold] for {model_id}, {after}.")
    for name, number in (*plan.reasons.items(), *plan.counts.items()):
        table.add_row(name, f"{number:,}", MEANINGS.get(name, ""))
    seconds = seconds_of(plan.num_planned, parent, engine)
    files = -(-plan.num_planned // spec.rows_per_file)
    table.add_row("object reads", f"{plan.num_planned:,}", f"{file_size(plan.num_bytes)}, as far as the catalog says")
    table.add_row("output files", f"{files:,}", f"of up to {spec.rows_per_file:,} rows, and one of rejects")
    table.add_row("peak memory", *memory_of(parent))
    if seconds is None:
        table.add_row("time", "unknown", "no earlier run of this output measured a rate")
    else:
        speed = (
            f"at {rate(plan.num_planned / seconds)} a second, as the last run on {count_of(engine.num_workers, 'worker')}"
            if seconds
            else ""
        )
        table.add_row("time", duration(seconds), speed)
        if spec.price_per_hour is not None:
            table.add_row("cost", f"{seconds / 3600 * spec.price_per_hour:,.2f}", f"at {spec.price_per_hour:g} an hour")
    console.print(table)
    print(f"\nresults  {spec.output}")


def memory_of(parent: Snapshot | None) -> tuple[str, str]:
    """Return (the most memory of one process, which): as the last run measured it, for it hardly follows the number of artworks."""
    driver, worker = (parent.rates.get(f"{name}_peak_bytes") if parent else None for name in ("driver", "worker"))
    if not driver or not worker:
        return "unknown", "no earlier run of this output measured it"
    each = f"driver {file_size(int(driver))}, worker {file_size(int(worker))}"
    return file_size(int(max(driver, worker))), f"{each}, as in the last run"


def seconds_of(num: int, parent: Snapshot | None, engine: EngineSpec) -> float | None:
    """Return how long the engines take at the rate that the last run measured; None where none did."""
    rate_of_one = parent.rates.get("score_per_worker") if parent else None
    return num / (rate_of_one * engine.num_workers) if rate_of_one else None
