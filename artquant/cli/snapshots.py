"""`artquant snapshots history|rollback|release|abandon|forget|clean|delta OUTPUT`: what is published, and changing it."""

import argparse
from typing import NoReturn

from rich.console import Console
from rich.table import Table

from artquant.core.errors import UserError
from artquant.core.format import count_of
from artquant.results import operations
from artquant.results.readers import export_delta
from artquant.results.snapshots import Snapshot, history
from artquant.storage.store import Store, open_store

COMMANDS = {
    "history": "list the snapshots",
    "rollback": "take the newest run back",
    "release": "publish a run again that was taken back",
    "abandon": "give a broken run up, so that the next plans anew",
    "forget": "take all rows of some artworks out, and never score them again",
    "clean": "delete what no snapshot and no run needs",
    "delta": "write the last snapshot as a Delta table beside it",
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message[:1].upper()}{message[1:]}: say artquant snapshots {'|'.join(COMMANDS)} OUTPUT.")


def run(arguments: list[str]) -> int:
    """Run one command on the chain of snapshots. Raises UserError and AnotherRun."""
    parser = _Parser(prog="artquant snapshots", allow_abbrev=False, description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("output", help="s3://bucket/prefix or a folder; `embedded` for the embedded store's")
    parser.add_argument("names", nargs="*", help="the run to release, or the artworks to forget")
    options = parser.parse_args(arguments)
    if options.output == "embedded":
        from artquant.cli.places import embedded_bucket

        with embedded_bucket() as (bucket, _):
            return act(bucket.child("results"), options.command, options.names)
    return act(open_store(options.output), options.command, options.names)


def act(store: Store, command: str, names: list[str]) -> int:
    needed = {"release": "the run", "forget": "the artworks"}.get(command)
    if needed and (not names or (command == "release" and len(names) > 1)):
        raise UserError(f"artquant snapshots {command} needs {needed}: say which behind the output.")
    if command == "rollback":
        snapshot = operations.rollback(store)
        print(f"Snapshot {snapshot.number} holds what was published before: {count_of(rows_of(snapshot), 'row')}.")
    elif command == "release":
        print(f"Snapshot {operations.release(store, names[0]).number} publishes {names[0]} again.")
    elif command == "abandon":
        print(f"The run {operations.abandon(store)} is given up: the next one plans anew.")
    elif command == "forget":
        snapshot, num_rows = operations.forget(store, names)
        print(f"Snapshot {snapshot.number} has forgotten {count_of(len(set(names)), 'artwork')}, {count_of(num_rows, 'row')}.")
    elif command == "clean":
        print(f"Deleted {count_of(operations.clean(store), 'object')} that nothing needs.")
    elif command == "delta":
        target, number = export_delta(store.uri)
        print(f"The Delta table {target} holds snapshot {number}.")
        return 0
    print_history(store)
    return 0


def rows_of(snapshot: Snapshot) -> int:
    return sum(file.num_rows for file in snapshot.files if file.kind == "scores")


def print_history(store: Store) -> None:
    chain = history(store)
    if not chain:
        print(f"{store.uri} has no snapshots yet.")
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for name in ("", "snapshot", "what", "run", "published (UTC)", "rows", "files"):
        table.add_column(name, justify="right" if name in ("snapshot", "rows", "files") else "left", no_wrap=True)
    last = chain[-1]
    for one in chain:
        is_back = one.kind == "run" and one.run_id in last.rolled_back
        mark = "[green]current[/green]" if one is last else "[dim]taken back[/dim]" if is_back else ""
        published, rows = one.created_at[:16].replace("T", " "), f"{rows_of(one):,}"
        table.add_row(mark, str(one.number), one.kind, one.run_id, published, rows, str(len(one.files)))
    console = Console(highlight=False)
    console.width = max(console.width, console.measure(table, options=console.options.update_width(10_000)).maximum)
    console.print(table)
    print(f"results  {store.uri}")
