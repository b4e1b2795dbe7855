"""What a person does to the chain of snapshots: each is one more snapshot, or touches nothing that one needs."""

from __future__ import annotations

import json
import secrets
import tempfile
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from artquant.core.errors import AnotherRun, UserError
from artquant.core.schema import ARTWORK_ID
from artquant.results import layout
from artquant.results.claims import end, is_ended, is_gone, last_intent
from artquant.results.clean import clean as clean
from artquant.results.gates import held_run
from artquant.results.ledger import FORGOTTEN, PART_PRESENCE, ledger_schema
from artquant.results.rewrite import Leaving, rewrite, runs_of_hits
from artquant.results.snapshots import Snapshot, Superseded, commit, following, history, read_snapshot, views_of, with_files
from artquant.results.view import repair
from artquant.results.windows import WINDOW_ROWS
from artquant.storage.store import Store


def published_head(store: Store) -> Snapshot:
    """Return the last snapshot, its view repaired. Raises UserError where there is none."""
    last = repair(store)
    if last is None:
        raise UserError(f"{store.uri} has no snapshots yet: artquant score publishes the first.")
    return last


def rollback(store: Store, run_id: str | None = None) -> Snapshot:
    """Take the newest run back: one more snapshot, with the files and the ledger of the one before it. What was made of it since, by
    compacting, is taken back first, by itself. With `run_id`, saying it again takes nothing more back. Raises UserError."""
    last = published_head(store)
    if run_id in last.rolled_back:
        return last
    newest = _existing(store, last.state)
    if run_id and newest.kind == "run" and newest.run_id != run_id:
        raise UserError(f"The newest run of {store.uri} is {newest.run_id}, not {run_id}: only the newest can be taken back.")
    before = read_snapshot(store, newest.parent) if newest.parent else None
    if newest.kind == "adopted" or not newest.files:  # adopted files lie where readers look: burying them would lose them
        raise UserError(f"{store.uri} holds no run that could be taken back.")
    base = before or Snapshot(0, 0, "run", "", "", "", ())
    _check_there(store, base)
    files, removed = with_files(last, base.files, last.number + 1)
    taken = (newest.run_id,) if newest.kind == "run" and newest.run_id not in last.rolled_back else ()
    scorers = sorted(set(newest.scorers) - set(base.scorers))
    return commit_or_lose(
        store,
        replace(
            following(last, "rollback", base.run_id or newest.run_id, f"rollback-{secrets.token_hex(4)}"),
            files=files,
            removed=removed,
            ledger=base.ledger,
            scorers=base.scorers,
            tallies=base.tallies,
            state=base.state,
            rolled_back=(*last.rolled_back, *taken),
            quarantined=last.quarantined | dict.fromkeys(scorers, newest.run_id),
        ),
    )


def release(store: Store, run_id: str) -> Snapshot:
    """Publish a run that is held, or again one that was taken back. Raises UserError where it is neither, or another run came after it."""
    if held := _held(store, run_id):
        return held
    last = published_head(store)
    again = next((one for one in reversed(history(store)) if one.kind == "run" and one.run_id == run_id), None)
    if again is None or run_id not in last.rolled_back:
        raise UserError(f"{run_id} is not held and was not taken back: artquant snapshots history {store.uri} lists what was.")
    parent = read_snapshot(store, again.parent)
    if (parent.state if parent else 0) != last.state:
        raise UserError(f"Something was published after {run_id} was taken back: score again, and what is due will be scored.")
    _check_there(store, again)
    files, removed = with_files(last, again.files, last.number + 1)
    return commit_or_lose(
        store,
        replace(
            following(last, "release", run_id, f"release-{secrets.token_hex(4)}"),
            files=files,
            removed=removed,
            ledger=again.ledger,
            scorers=again.scorers,
            tallies=again.tallies,
            state=again.state,
            rolled_back=tuple(one for one in last.rolled_back if one != run_id),
            quarantined={scorer: run for scorer, run in last.quarantined.items() if run != run_id},
        ),
    )


def _held(store: Store, run_id: str) -> Snapshot | None:
    """Publish the run if it is held; None where it is not. Raises UserError where another was published since then."""
    last = repair(store)
    for number in (last.number + 1, last.number) if last else (1,):
        intent = last_intent(store, number)
        found = held_run(store, intent.work) if intent and intent.run_id == run_id and not is_ended(store, intent) else None
        if intent is None or found is None:
            continue
        snapshot, manifest = found
        if last is not None and last.number >= snapshot.number and last.write_id != snapshot.write_id:
            raise UserError(f"Something was published after {run_id} was held: score again, and what is due will be scored.")
        commit_or_lose(store, snapshot)
        store.put(layout.run_key(run_id, "manifest.json"), json.dumps(manifest, indent=1).encode())
        end(store, intent, "released")
        return snapshot
    return None


def abandon(store: Store) -> str:
    """Give a broken run up, so that the next plans anew, and return its name. Raises AnotherRun where it is alive, UserError for none."""
    last = repair(store)
    intent = last_intent(store, last.number + 1 if last else 1)
    if intent is None or is_ended(store, intent):
        raise UserError(f"No run in {store.uri} is broken off: there is nothing to give up.")
    if not store.exists(layout.left_key(intent.number, intent.epoch)) and is_gone(intent) is False:
        raise AnotherRun(f"The run {intent.run_id} on {intent.host} (process {intent.pid}) is at work: stop it first.")
    end(store, intent, "it was given up")
    return intent.run_id


class Forgot(NamedTuple):
    """What was taken out: rows of the last snapshot, and the runs whose pages went, because they may show the artworks."""

    snapshot: Snapshot
    num_rows: int
    pages: tuple[str, ...]


def forget(store: Store, artwork_ids: Collection[str]) -> Forgot:
    """Take all rows of some artworks out, of older snapshots' data and of staging too, and remember not to score them again. Raises
    UserError."""
    last = published_head(store)
    ids, work = pa.array(sorted(set(artwork_ids)), pa.string()), f"forget-{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory(prefix="artquant-forget-") as name:
        folder = Path(name)
        pq.write_table(pa.table({ARTWORK_ID: ids}), folder / "ids", row_group_size=WINDOW_ROWS)
        leaving = Leaving(folder / "ids")
        everywhere = dict.fromkeys(layout.KINDS, leaving)
        rewritten = rewrite(store, last.files, everywhere, work=work, snapshot=last.number + 1, taken=views_of(last))
        files, removed = with_files(last, rewritten.of(last.files), last.number + 1)
        ledger = layout.data_key(work, "ledger", 0)
        pq.write_table(_forgotten(ids), folder / "ledger")
        store.put_file(ledger, folder / "ledger")
        snapshot = commit_or_lose(
            store, following(last, "forget", last.run_id, work, files=files, removed=removed, ledger=(*last.ledger, ledger))
        )
        store.delete([info.key for name in ids.to_pylist() for info in store.list(layout.answers_prefix(name))])
        return Forgot(snapshot, rewritten.num_rows, _delete_rows(store, snapshot, leaving))


def _delete_rows(store: Store, last: Snapshot, leaving: Leaving) -> tuple[str, ...]:
    """Delete every object with rows of the artworks that the last snapshot does not need, and the pages of runs that had such rows."""
    needed = {file.data for file in last.files}
    runs: set[str] = set()
    doomed: list[str] = []
    for info in store.list(f"{layout.ROOT}/runs"):
        # A ledger and its like hold the id alone: that is what is remembered.
        if info.key in needed or not info.key.endswith(".parquet") or "/data/ledger-" in info.key or info.key.endswith("/presence.parquet"):
            continue
        found = runs_of_hits(store, info.key, leaving)
        if found is not None:
            doomed.append(info.key)
            runs |= found
    pages = [run_id for run_id in sorted(runs) if store.exists(layout.run_key(run_id, "report.html"))]
    store.delete([layout.run_key(run_id, name) for run_id in runs for name in ("report.html", "rejects.parquet", "check.csv")])
    store.delete(doomed)
    return tuple(pages)


def _forgotten(ids: pa.Array) -> pa.Table:
    num = len(ids)
    columns = {name: pa.array([""] * num, pa.string()) for name in ("content", "scorer", "collection")}
    columns |= {ARTWORK_ID: ids, "part": pa.array([PART_PRESENCE] * num), "status": pa.array([FORGOTTEN] * num)}
    return pa.table(columns | {"snapshot": pa.array([0] * num, pa.int64())}).select(ledger_schema().names).cast(ledger_schema())


def _check_there(store: Store, snapshot: Snapshot) -> None:
    """Raise UserError where data of the snapshot was deleted, because artworks in it were forgotten."""
    for file in snapshot.files:
        if not store.exists(file.data):
            raise UserError(
                f"Snapshot {snapshot.number} cannot be had back: artworks in it were forgotten since then, and {file.data} with them."
            )


def _existing(store: Store, number: int) -> Snapshot:
    return (read_snapshot(store, number) if number else None) or Snapshot(0, 0, "run", "", "", "", ())


def commit_or_lose(store: Store, snapshot: Snapshot) -> Snapshot:
    """Commit the snapshot and bring the view to it. Raises AnotherRun where another was first, and OutcomeUnknown."""
    try:
        commit(store, snapshot)
    except Superseded as lost:
        repair(store)
        raise AnotherRun(f"The run {lost.winner.run_id} was first on {store.uri}: look at what it published, and say it again.") from lost
    repair(store)
    return snapshot
