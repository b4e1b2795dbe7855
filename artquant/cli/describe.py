"""The describe job's entry point: settings, places, two models, the pipeline, a table."""

from dataclasses import replace
from typing import TYPE_CHECKING

from artquant.cli.hooks import told
from artquant.cli.settings import load_job_spec
from artquant.cli.upload import check_reachable
from artquant.config import DescribeSpec, PlayerSpec, ResolvedDescribeSpec
from artquant.core.errors import UserError

if TYPE_CHECKING:
    from artquant.pipelines.describe_waves import Players
    from artquant.records.description import DescriptionReport


def read_spec(overrides: list[str]) -> DescribeSpec:
    """Read the spec. Raises UserError, where only some of the places are given too."""
    spec = load_job_spec(DescribeSpec, overrides)
    from artquant.cli.places import check_annotations

    if spec.scores and spec.annotations.uri:
        raise UserError("scores and annotations.uri are given: one of them says what is to be described, so leave the other out.")
    if not spec.scores:
        check_annotations(spec.annotations, spec.output)
    return spec


def main(overrides: list[str]) -> int:
    typed = read_spec(overrides)
    from artquant.cli.places import describe_places

    with told(typed.watch, "describe") as summary, describe_places(typed) as (spec, reopen):
        from artquant.cli.local_ray import running_ray
        from artquant.descriptions.collection import read_collection
        from artquant.pipelines.describe import claimed_descriptions, run_describe
        from artquant.results.plan import PlanSummary

        players = players_of(spec)
        collection = read_collection(spec)
        summary["output"] = spec.output
        with claimed_descriptions(spec, players, collection) as work:
            if isinstance(work, PlanSummary):
                summary["status"] = "nothing due"
                print(f"Nothing is due: {work.num_reused:,} artworks are described already.")
                print(f"results  {spec.output}")
                return 0
            summary["run_id"] = work.intent.run_id
            try:
                with running_ray():
                    described = run_describe(spec, players, collection, work)
            except KeyboardInterrupt as stop:
                stop.args = ("Stopped. What was published before is current still; the same command goes on where this one stopped.",)
                raise
            summary |= {"status": "published", "num_kept": described.num_kept, "tokens": described.tokens}
            print_described(described, spec, players, reopen)
    return 0


def players_of(spec: DescribeSpec) -> "Players":
    """Return who plays. Raises UserError where a model cannot be had, or what is asked would leave the house without being allowed to."""
    from artquant.descriptions.recipes import make_recipe
    from artquant.engines.recipe import is_tiny
    from artquant.pipelines.describe_waves import Players
    from artquant.prompts import read_templates

    workers, share = spec.workers, 1 / spec.workers.num_workers
    generator = make_recipe(spec.generator, spec.picture_size, workers.num_gpus, share, "generator")
    judge = make_recipe(spec.judge, spec.picture_size, workers.num_gpus, share, "judge")
    for name, player in (("generator", generator), ("judge", judge)):
        if player.is_external and not spec.allow_external:
            raise UserError(
                f"{name}.base_url={player.spec.base_url} lies outside this machine, and pictures and comments would go there: say "
                "allow_external=true if they may; they go without metadata, at picture_size pixels a side."
            )

    def is_demonstration(player: PlayerSpec) -> bool:
        return player.engine in ("auto", "torch") and not player.base_url and is_tiny(player.model)

    writing, judging = (read_templates(spec.templates, is_demonstration(player)) for player in (spec.generator, spec.judge))
    return Players(generator, judge, replace(writing, judge=judging.judge))


def check_remote(overrides: list[str]) -> DescribeSpec:
    """Return the settings. Refuses, before anything is sent, what a cluster elsewhere could not run. Raises UserError."""
    spec = read_spec(overrides)
    source = "annotations.uri" if spec.annotations.uri else "scores"
    check_reachable({source: spec.annotations.uri or spec.scores, "output": spec.output}, {})
    return spec


def print_described(described: "DescriptionReport", spec: ResolvedDescribeSpec, players: "Players", reopen: str | None) -> None:
    from rich.console import Console

    from artquant.cli.summary import keep_report, plain_table, print_addresses
    from artquant.core.format import count_of, duration

    console, table, marks = Console(highlight=False), plain_table(), described.exam
    console.print(f"\n[bold]{count_of(described.num_kept, 'description')} kept[/bold], {described.num_set_aside:,} set aside.")
    rounds = ", ".join(f"{count:,} in round {number}" for number, count in sorted(described.by_round.items()))
    table.add_row("agreed", rounds or "none")
    if described.aside:
        table.add_row("set aside", "  ".join(f"{name} {count:,}" for name, (count, _) in sorted(described.aside.items())))
    table.add_row(
        "judge's exam",
        f"accepts {marks['false accepts']:.0%} of wrong ones, refuses {marks['false refusals']:.0%} of right ones, AUC {marks['auc']:.2f}, "
        f"agreement of both orders {marks['agreement']:.2f}",
    )
    table.add_row("spent", f"{described.tokens:,} tokens, {described.money:.2f}; in all {described.tokens_in_all:,} tokens")
    same = ": one family, which may favour itself" if players.generator.family == players.judge.family else ""
    table.add_row("models", f"{players.generator.name} writes, {players.judge.name} judges{same}")
    table.add_row("time", duration(described.seconds))
    console.print(table)
    page = keep_report(spec.output, described.run_id)
    sheet = f"{spec.output}/runs/{described.run_id}/check.csv"
    print_addresses({"report": page, "to check by hand": sheet, "results": spec.output, "open the store again": reopen})
