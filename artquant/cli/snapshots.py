"""`artquant snapshots history|rollback|release|abandon|forget|compact|clean|delta|metrics|slo OUTPUT`: what is
published, and changing it."""

import argparse
from typing import NoReturn

from rich.console import Console
from rich.table import Table

from artquant.cli import standing
from artquant.cli.hooks import tell_end
from artquant.config import ScoreSpec, load_spec
from artquant.core.errors import UserError
from artquant.core.format import count_of
from artquant.core.home import home
from artquant.results import operations
from artquant.results.compact import compact
from artquant.results.readers import export_delta
from artquant.results.snapshots import Snapshot, history
from artquant.results.trust import as_trusted
from artquant.storage.store import Store, open_store

COMMANDS = {
    "history": "list the snapshots",
    "rollback": "take the newest run back",
    "release": "publish a run that is held, or again one that was taken back",
    "abandon": "give a broken run up, so that the next plans anew",
    "forget": "take all rows of some artworks out, and never score them again",
    "compact": "merge the small files of many nights",
    "clean": "delete what no snapshot and no run needs",
    "delta": "write the last snapshot as a Delta table beside it",
    "metrics": "what a probe tells Prometheus, on the terminal, into a file or to a push gateway",
    "slo": "how the last nights stand against what is promised, by a time of day in UTC",
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message[:1].upper()}{message[1:]}: say artquant snapshots {'|'.join(COMMANDS)} OUTPUT.")


def run(arguments: list[str]) -> int:
    """Run one command on the chain of snapshots. Raises UserError and AnotherRun."""
    parser = _Parser(prog="artquant snapshots", allow_abbrev=False, description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("output", help="s3://bucket/prefix or a folder; `embedded` for the embedded store's")
    parser.add_argument(
        "names",
        nargs="*",
        help="the run to release or to take back, the artworks to forget, the rows of a compacted file, or of abandon whom to tell: "
        "watch.webhook=... watch.command=...",
    )
    options = parser.parse_args(arguments)
    if options.output == "embedded":
        from artquant.cli.places import embedded_bucket

        with embedded_bucket() as (bucket, _):
            return act(as_trusted(bucket.child("results")), options.command, options.names)
    return act(as_trusted(open_store(options.output)), options.command, options.names)


def act(store: Store, command: str, names: list[str]) -> int:
    if command in ("metrics", "slo"):
        if len(names) > 1:
            raise UserError(
                f"artquant snapshots {command} takes {'a file, a push gateway' if command == 'metrics' else 'a time of day'} or nothing."
            )
        (standing.metrics if command == "metrics" else standing.slo)(store, names)
        return 0
    needed = {"release": "the run", "forget": "the artworks"}.get(command)
    if command == "rollback" and len(names) > 1:
        raise UserError("artquant snapshots rollback takes back one run, the newest: say its name behind the output, or none.")
    if needed and (not names or (command == "release" and len(names) > 1)):
        raise UserError(f"artquant snapshots {command} needs {needed}: say which behind the output.")
    if command == "compact" and (len(names) > 1 or not all(name.isdecimal() and int(name) for name in names)):
        raise UserError("artquant snapshots compact takes how many rows a file is to hold: say one number behind the output, or none.")
    if command == "rollback":
        snapshot = operations.rollback(store, names[0] if names else None)
        print(f"Snapshot {snapshot.number} holds what was published before: {count_of(rows_of(snapshot), 'row')}.")
    elif command == "release":
        print(f"Snapshot {operations.release(store, names[0]).number} publishes {names[0]}.")
    elif command == "abandon":
        watch = load_spec(ScoreSpec, None, names).watch
        run_id = operations.abandon(store)
        print(f"The run {run_id} is given up: the next one plans anew.")
        tell_end(watch, {"status": "abandoned", "job": "score", "run_id": run_id, "output": store.uri})
    elif command == "forget":
        forgot = operations.forget(store, names)
        print(
            f"Snapshot {forgot.snapshot.number} has forgotten {count_of(len(set(names)), 'artwork')}, {count_of(forgot.num_rows, 'row')}."
        )
        if forgot.pages:
            print(f"The pages of {', '.join(forgot.pages)} are deleted as a whole, because they may show them.")
        for run_id in forgot.pages:
            (home() / "reports" / f"{run_id}.html").unlink(missing_ok=True)
    elif command == "compact":
        before = len(operations.published_head(store).files)
        made = compact(store, int(names[0]) if names else ScoreSpec.model_fields["rows_per_file"].default)
        if made is None:
            print("There are no two small files of one model: nothing is to be merged.")
        else:
            print(f"Snapshot {made.number} holds the same rows in {count_of(len(made.files), 'file')} instead of {before:,}.")
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


def gates_of(snapshot: Snapshot) -> str:
    """Return how the run compared with the one before it, in a word or two."""
    beyond = sum(check["outcome"] == "beyond" for check in snapshot.gates)
    return f"{beyond} beyond, released" if beyond else "passed" if any(check["outcome"] == "ok" for check in snapshot.gates) else ""


def print_history(store: Store) -> None:
    chain = history(store)
    if not chain:
        print(f"{store.uri} has no snapshots yet.")
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for name in ("", "snapshot", "what", "run", "published (UTC)", "rows", "files", "gates"):
        table.add_column(name, justify="right" if name in ("snapshot", "rows", "files") else "left", no_wrap=True)
    last = chain[-1]
    for one in chain:
        is_back = one.kind == "run" and one.run_id in last.rolled_back
        mark = "[green]current[/green]" if one is last else "[dim]taken back[/dim]" if is_back else ""
        published, rows = one.created_at[:16].replace("T", " "), f"{rows_of(one):,}"
        table.add_row(mark, str(one.number), one.kind, one.run_id, published, rows, str(len(one.files)), gates_of(one))
    console = Console(highlight=False)
    console.width = max(console.width, console.measure(table, options=console.options.update_width(10_000)).maximum)
    console.print(table)
    print(f"results  {store.uri}")
