"""What a person sees at the end of a run."""

import os
from collections.abc import Mapping
from urllib.parse import quote

from rich.console import Console, JustifyMethod
from rich.table import Table

from artquant.cli.terminal import say
from artquant.core.errors import Reject
from artquant.core.format import count_of, duration, rate
from artquant.core.home import home
from artquant.records.run import RunReport
from artquant.report.words import critique_outcomes, headline, model_check
from artquant.results import layout
from artquant.storage.store import Store, open_store

LEVEL_STYLES = {"excellent": "blue", "good": "cyan", "fair": "white", "poor": "yellow", "bad": "red"}


def keep_report(output_uri: str, run_id: str) -> str:
    """Return the address of a run's page: of a local copy, whatever store it was written to; on a cluster, where it was written."""
    return keep_page(open_store(output_uri), layout.run_key(run_id, "report.html"), run_id)


def keep_page(store: Store, key: str, name: str) -> str:
    """Do as :func:`keep_report` for any page; the copy is called `name`. If there is none, a line says why: the run is over."""
    if os.environ.get("RAY_ADDRESS"):
        return store.uri_of(key)
    folder = home() / "reports"
    path = folder / f"{name}.html"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(store.get(key))
    except (Reject, OSError) as error:
        say(f"There is no copy of the page on this machine: {error}.")
        return store.uri_of(key)
    return f"file://{quote(str(path.absolute()))}"


def plain_table(*columns: JustifyMethod) -> Table:
    """Make a table without lines or headings, given each column's alignment; the first column names the others."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for number, side in enumerate(columns or ("left", "left")):
        table.add_column(style="dim" if number == 0 else None, justify=side)
    return table


def print_addresses(named: Mapping[str, str | None]) -> None:
    """Print the addresses that are not None below an empty line. They are meant to be copied, so they are never folded or cut."""
    print()
    for name, address in named.items():
        if address:
            print(f"{name:<22}{address}")


def print_summary(report: RunReport, page: str, reopen: str | None) -> None:
    console, findings = Console(highlight=False), report.findings
    console.print(f"\n[bold]{headline(report)}[/bold]")
    table = plain_table()
    table.add_row(
        "artworks",
        f"{report.num_planned:,} planned = {report.num_scored:,} scored + {report.num_rejected:,} rejected; {report.num_reused:,} reused",
    )
    if report.num_queued:
        table.add_row("left", f"{count_of(report.num_queued, 'artwork')} more due, for another run")
    if findings.mean_score is not None:
        table.add_row("score", f"mean {findings.mean_score:.2f}, spread {findings.score_spread:.2f}")
        mix = [f"[{LEVEL_STYLES[level]}]{level} {count:,}[/]" for level, count in findings.level_counts.items()]
        table.add_row("levels", "  ".join(mix))
    if findings.num_needs_review:
        table.add_row("review", count_of(findings.num_needs_review, "score") + " to look at")
    if critiques := critique_outcomes(report):
        table.add_row("critiques", critiques)
    if findings.rejects_by_class:
        table.add_row("rejects", "  ".join(f"{name} {count:,}" for name, count in findings.rejects_by_class.items()))
    for stage in report.stages:
        table.add_row(stage.name, f"{duration(stage.seconds)} of work, {rate(stage.rows_per_second)} per second per worker")
    if report.throttled_seconds >= 1:
        table.add_row("store", f"overloaded: {duration(report.throttled_seconds)} of waiting, summed over the threads")
    table.add_row("engine", f"{report.model_id} ({report.engine})")
    table.add_row("model check", model_check(report))
    table.add_row("results", report.output_uri)
    console.print(table)
    if report.notice:
        console.print(f"\n{report.notice}")
    print_addresses({"report": page, "open the store again": reopen})
