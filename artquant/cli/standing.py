"""What an output says of itself: metrics for a probe that runs beside the nights, and how the nights stand against their objectives."""

from collections.abc import Iterator
from datetime import UTC, datetime, time
from pathlib import Path

from prometheus_client import pushadd_to_gateway
from prometheus_client.core import GaugeMetricFamily, Metric
from rich.console import Console
from rich.table import Table

from artquant.core.errors import UserError
from artquant.progress.metrics import exposition, registry_of, snapshot_numbers
from artquant.progress.watch import PUSH_ERRORS, PUSH_SECONDS, cause, replace_file, resolved_address
from artquant.results.clean import count_unneeded
from artquant.results.objectives import DAYS, Objective, measured
from artquant.results.snapshots import head
from artquant.results.state import held_run_of, last_published, quiet_nights, unix_time, view_number
from artquant.storage.store import Store

_JOB = "artquant-probe"  # at the push gateway: what it says stands beside what the runs say


def metrics(store: Store, names: list[str]) -> None:
    """Print the output's metrics, or give them to the file or the push gateway that is named. Raises UserError."""
    collected = list(families_of(store))
    if not names:
        print(exposition(collected).decode(), end="")
    elif names[0].startswith(("http://", "https://", "$")):
        try:
            pushadd_to_gateway(resolved_address(names[0]), _JOB, registry_of(lambda: collected), timeout=PUSH_SECONDS)
        except PUSH_ERRORS as error:
            raise UserError(f"The push gateway does not take the metrics: {cause(error)}.") from error
    else:
        try:
            replace_file(Path(names[0]), exposition(collected))
        except OSError as error:
            raise UserError(f"Cannot write {names[0]}: {error.strerror}.") from error


def families_of(store: Store) -> Iterator[Metric]:
    """Yield what can be known of the nights from the store alone, under the names that the runs use."""
    last = head(store)
    published = last_published(store, last)
    ends = [*map(datetime.timestamp, quiet_nights(store)), *([unix_time(published)] if published else [])]
    if published:
        about = "When the last snapshot of a run was published"
        yield GaugeMetricFamily("artquant_last_publish_timestamp_seconds", about, value=unix_time(published))
    if ends:
        about = "When a run last ended well, also where nothing was due"
        yield GaugeMetricFamily("artquant_last_success_timestamp_seconds", about, value=max(ends))
    held = held_run_of(store, last)
    yield GaugeMetricFamily("artquant_run_held", "1 where the run is finished and waits for a person", value=float(held is not None))
    yield GaugeMetricFamily("artquant_orphan_objects", "Objects that no snapshot and no run needs", value=count_unneeded(store))
    if last:
        yield snapshot_numbers(last.number, view_number(store))


def slo(store: Store, names: list[str]) -> None:
    """Print the objectives of the last days. Raises UserError."""
    try:
        by = time.fromisoformat(names[0]) if names else time(6)
    except ValueError as error:
        raise UserError(f"{names[0]!r} is no time of day: say until when a night is to be over, in UTC, as in 06:00.") from error
    found = measured(store, by, datetime.now(UTC))
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim", title=f"The last {DAYS} days", title_justify="left")
    for name in ("", "promised", "kept", "of", "budget left", ""):
        table.add_column(name, justify="left" if not name else "right", no_wrap=True)
    for one in found:
        table.add_row(*row_of(one))
    console = Console(highlight=False)
    console.width = max(console.width, console.measure(table, options=console.options.update_width(10_000)).maximum)
    console.print(table)


def row_of(one: Objective) -> tuple[str, ...]:
    if not one.num:
        return one.name, f"{one.target:.1%}", "–", "0", "–", "nothing to measure yet"
    return one.name, f"{one.target:.1%}", f"{one.share:.2%}", f"{one.num:,}", f"{one.budget_left:.0%}", "kept" if one.is_met else "broken"
