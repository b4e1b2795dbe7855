"""`make models`, `make promote MODEL=id`, `make rollback`: which models are published, and which one is current.

Exit codes as in artquant/cli/main.py. Without `--registry` it is the embedded store's, which runs for the command.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from artquant.core.errors import UserError
from artquant.registry import Entry, Pointer, Registry
from artquant.storage.store import open_store


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message[:1].upper()}{message[1:]}: say make models, make promote MODEL=id or make rollback.")


def run(arguments: list[str]) -> int:
    """Run the command and return its exit code. Raises UserError."""
    options = parse(arguments)
    if options.command == "promote" and not options.model:
        raise UserError("No model was named: say artquant promote MODEL or make promote MODEL=id, with an id that make models lists.")
    try:
        with registry_at(getattr(options, "registry", None)) as (models, uri):
            message = act(models, options.command, getattr(options, "model", None))
            entries, pointer = models.entries(), models.pointer()
    except KeyboardInterrupt as stop:
        stop.args = ("Stopped. `make models` says which model is current.",)
        raise
    if message:
        Console(highlight=False, soft_wrap=True).print(message)
    print_models(entries, pointer, uri)
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """Parse `command`, `model` for a promotion, and `registry` if it is given, before or after the command. Raises UserError."""
    registry_option = Parser(add_help=False, allow_abbrev=False)
    registry_option.add_argument("--registry", metavar="URI", default=argparse.SUPPRESS, help="s3://bucket/models or a folder")
    parser = Parser(prog="artquant", description=__doc__, parents=[registry_option], allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", metavar="command", required=True, parser_class=Parser)
    commands.add_parser("models", parents=[registry_option], help="list them")
    commands.add_parser("rollback", parents=[registry_option], help="make the model before the current one current")
    commands.add_parser("promote", parents=[registry_option], help="make a model current").add_argument("model", nargs="?")
    return parser.parse_args(arguments)


@contextmanager
def registry_at(uri: str | None) -> Iterator[tuple[Registry, str]]:
    if uri:
        store = open_store(uri)
        store.check_readable()
        yield Registry(store), store.uri
        return
    from artquant.cli.places import embedded_bucket

    with embedded_bucket() as (bucket, _):
        store = bucket.child("models")
        yield Registry(store), store.uri


def act(models: Registry, command: str, model_id: str | None) -> str | None:
    """Run the command and return what was done, in rich's markup."""
    before = models.current()
    if command == "promote":
        models.promote(str(model_id))
        if model_id == before:
            return f"\n[bold]{model_id}[/bold] was current already."
        return f"\n[bold]{model_id}[/bold] is current now." + (f" {before} was before it: make rollback goes back." if before else "")
    if command == "rollback":
        return f"\n[bold]{models.rollback()}[/bold] is current again, in the place of {before}."
    return None


def print_models(entries: list[Entry], pointer: Pointer | None, uri: str) -> None:
    if not entries:
        print(f"{uri} holds no models yet: make submit JOB=train publishes one.")
        return
    ids = {entry.model_id for entry in entries}
    before = next((model_id for model_id in pointer.previous if model_id in ids), None) if pointer else None
    console = Console(highlight=False)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for name in ("", "model", "published (UTC)", "test SRCC"):
        table.add_column(name, no_wrap=True)
    table.add_column("parent", overflow="fold", style="dim", min_width=12)
    for entry in entries:
        is_current = pointer is not None and entry.model_id == pointer.model_id
        mark = "[green]current[/green]" if is_current else "[dim]before[/dim]" if entry.model_id == before else ""
        name = f"[bold green]{entry.model_id}[/]" if is_current else entry.model_id
        table.add_row(mark, name, f"{entry.created_at:%Y-%m-%d %H:%M}", srcc_of(entry.card), escape(parent_of(entry.card)))
    # Ids and addresses are for copying: never folded, never cut. Only parents are folded, and only for a person's terminal.
    widest = console.measure(table, options=console.options.update_width(10_000)).maximum
    longest_parent = max(12, *(len(parent_of(entry.card)) for entry in entries))
    console.width = max(console.width, widest - (longest_parent - 12 if console.is_terminal else 0))
    console.print()
    console.print(table)
    print(f"\nregistry  {uri}")
    if pointer is None:
        print("none is current: make promote MODEL=id")
    elif pointer.model_id not in ids:
        print(f"{pointer.model_id} is current, but is in the registry no more: make promote MODEL=id, or make rollback")


def parent_of(card: dict[str, Any]) -> str:
    """Return the model that this one was trained from according to its card: the last part of a location."""
    parent = card.get("parent")
    location = parent.get("location") if isinstance(parent, dict) else parent
    return str(location).rstrip("/").rpartition("/")[2] if location else "-"


def srcc_of(card: dict[str, Any]) -> str:
    """Format the value and its 95 % interval, `0.871  0.810 to 0.910`, or - if the card has none."""
    metrics = card.get("metrics")
    srcc = metrics.get("srcc") if isinstance(metrics, dict) else None
    value, *limits = [srcc.get(name) for name in ("value", "low", "high")] if isinstance(srcc, dict) else [srcc]
    if not isinstance(value, int | float):
        return "-"
    if not limits or not all(isinstance(limit, int | float) for limit in limits):
        return f"{value:.3f}"
    return f"{value:.3f} [dim]{limits[0]:.3f} to {limits[1]:.3f}[/dim]"
