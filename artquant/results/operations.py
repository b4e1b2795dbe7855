"""What a person does to the chain of snapshots: each is one more snapshot, or touches nothing that one needs."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from artquant.core.errors import AnotherRun, UserError
from artquant.core.schema import ARTWORK_ID
from artquant.results import layout
from artquant.results.claims import end, is_ended, is_gone, last_intent
from artquant.results.ledger import FORGOTTEN, PART_PRESENCE, ledger_schema
from artquant.results.snapshots import DataFile, Snapshot, Superseded, commit, following, history, read_snapshot, with_files
from artquant.results.view import repair
from artquant.storage.store import Store


def published_head(store: Store) -> Snapshot:
    """Return the last snapshot, its view repaired. Raises UserError where there is none."""
    last = repair(store)
    if last is None:
        raise UserError(f"{store.uri} has no snapshots yet: artquant score publishes the first.")
    return last


def rollback(store: Store) -> Snapshot:
    """Take the newest run back: one more snapshot, with the files and the ledger of the one before it. Raises UserError."""
    last = published_head(store)
    newest = _existing(store, last.state)
    before = read_snapshot(store, newest.parent) if newest.parent else None
    if newest.kind == "adopted" or not newest.files:  # adopted files lie where readers look: burying them would lose them
        raise UserError(f"{store.uri} holds no run that could be taken back.")
    base = before or Snapshot(0, 0, "run", "", "", "", ())
    _check_there(store, base)
    files, removed = with_files(last, base.files, last.number + 1)
    taken = {file.run_id for file in last.files} - {file.run_id for file in files}
    scorers = sorted(set(newest.scorers) - set(base.scorers))
    return _commit(
        store,
        replace(
            following(last, "rollback", base.run_id or newest.run_id, f"rollback-{secrets.token_hex(4)}"),
            files=files,
            removed=removed,
            ledger=base.ledger,
            scorers=base.scorers,
            state=base.state,
            rolled_back=(*last.rolled_back, *sorted(taken)),
            quarantined=last.quarantined | dict.fromkeys(scorers, newest.run_id),
        ),
    )


def release(store: Store, run_id: str) -> Snapshot:
    """Publish a run again that was taken back. Raises UserError where it was not, or another run came after it."""
    last = published_head(store)
    again = next((one for one in reversed(history(store)) if one.kind == "run" and one.run_id == run_id), None)
    if again is None or run_id not in last.rolled_back:
        raise UserError(f"{run_id} was not taken back: artquant snapshots history {store.uri} lists what was.")
    parent = read_snapshot(store, again.parent)
    if (parent.state if parent else 0) != last.state:
        raise UserError(f"Something was published after {run_id} was taken back: score again, and what is due will be scored.")
    _check_there(store, again)
    files, removed = with_files(last, again.files, last.number + 1)
    return _commit(
        store,
        replace(
            following(last, "release", run_id, f"release-{secrets.token_hex(4)}"),
            files=files,
            removed=removed,
            ledger=again.ledger,
            scorers=again.scorers,
            state=again.state,
            rolled_back=tuple(one for one in last.rolled_back if one != run_id),
            quarantined={scorer: run for scorer, run in last.quarantined.items() if run != run_id},
        ),
    )


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


def forget(store: Store, artwork_ids: Collection[str]) -> tuple[Snapshot, int]:
    """Take all rows of some artworks out, of older snapshots' data too, and remember not to score them again: (snapshot, rows).

    Pages of runs that had such rows go: they show pictures. Raises UserError.
    """
    last = published_head(store)
    ids, work = pa.array(sorted(set(artwork_ids)), pa.string()), f"forget-{secrets.token_hex(4)}"
    files: list[DataFile] = []
    touched: dict[str, str] = {}
    num_rows = 0
    every = {file.data: file for one in history(store) for file in one.files}
    for number, file in enumerate(every.values()):
        if not store.exists(file.data):  # forgotten before, or cleaned
            continue
        table = pq.read_table(store.open_input(file.data))
        hit = pc.is_in(table.column(ARTWORK_ID), ids)
        if not pc.any(hit).as_py():
            continue
        kept = table.filter(pc.invert(hit)).replace_schema_metadata(table.schema.metadata)
        touched[file.data] = file.run_id
        if file.data not in {one.data for one in last.files}:
            continue
        num_rows += table.num_rows - kept.num_rows
        if kept.num_rows:
            key = layout.data_key(work, file.kind, number)
            sink = pa.BufferOutputStream()
            pq.write_table(kept, sink, compression="zstd")
            store.put(key, bytes(sink.getvalue()))
            view = layout.renamed_view(file.view, last.number + 1)
            files.append(DataFile(file.kind, key, view, kept.num_rows, sink.getvalue().size, file.run_id))
    wanted = (*(file for file in last.files if file.data not in touched), *files)
    named, removed = with_files(last, wanted, last.number + 1)
    ledger = layout.data_key(work, "ledger", 0)
    with tempfile.NamedTemporaryFile(suffix=".parquet") as target:
        pq.write_table(_forgotten(ids), target.name)
        store.put_file(ledger, target.name)
    snapshot = following(last, "forget", last.run_id, work, files=named, removed=removed, ledger=(*last.ledger, ledger))
    snapshot = _commit(store, replace(snapshot, state=snapshot.number))
    store.delete(list(touched))
    store.delete([layout.run_key(run_id, name) for run_id in set(touched.values()) for name in ("report.html", "rejects.parquet")])
    clean(store, timedelta(0))
    return snapshot, num_rows


def _forgotten(ids: pa.Array) -> pa.Table:
    num = len(ids)
    columns = {name: pa.array([""] * num, pa.string()) for name in ("content", "scorer", "collection")}
    columns |= {ARTWORK_ID: ids, "part": pa.array([PART_PRESENCE] * num), "status": pa.array([FORGOTTEN] * num)}
    return pa.table(columns | {"snapshot": pa.array([0] * num, pa.int64())}).select(ledger_schema().names).cast(ledger_schema())


def clean(store: Store, older_than: timedelta = timedelta(hours=48)) -> int:
    """Delete what no snapshot and no open work needs, and return how many objects. What is younger than `older_than` stays: a run that
    is slow is no garbage."""
    last = repair(store)
    if last is None:
        return 0
    used = {key for one in history(store) for key in (*(file.data for file in one.files), *one.ledger)}
    open_work = last_intent(store, last.number + 1)
    keep = f"{layout.work_prefix(open_work.work)}/" if open_work and not is_ended(store, open_work) else None
    now = datetime.now(UTC)
    doomed = [
        info.key
        for info in store.list(f"{layout.ROOT}/runs")
        if info.key not in used
        and not (keep and info.key.startswith(keep))
        and (not older_than or now - store.modified_at(info.key) > older_than)
    ]
    store.delete(doomed)
    return len(doomed)


def _check_there(store: Store, snapshot: Snapshot) -> None:
    """Raise UserError where data of the snapshot was deleted, because artworks in it were forgotten."""
    for file in snapshot.files:
        if not store.exists(file.data):
            raise UserError(
                f"Snapshot {snapshot.number} cannot be had back: artworks in it were forgotten since then, and {file.data} with them."
            )


def _existing(store: Store, number: int) -> Snapshot:
    return (read_snapshot(store, number) if number else None) or Snapshot(0, 0, "run", "", "", "", ())


def _commit(store: Store, snapshot: Snapshot) -> Snapshot:
    try:
        commit(store, snapshot)
    except Superseded as lost:
        repair(store)
        raise AnotherRun(f"The run {lost.winner.run_id} was first on {store.uri}: look at what it published, and say it again.") from lost
    repair(store)
    return snapshot
