"""The chain of snapshots: each names its parent, and creating the next number is the commit (../docs/nights.md).

Nothing here trusts an answer: a create that conflicts or breaks off is read back before anybody is told what became of it.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from artquant.core.errors import OlderProgram, OutcomeUnknown, UserError
from artquant.core.schema import RejectClass
from artquant.results import layout
from artquant.storage.store import Conflict, FetchError, Store

FORMAT_VERSION = 1
SnapshotKind = Literal["adopted", "run", "rollback", "release", "forget", "compact"]


@dataclass(frozen=True)
class DataFile:
    """A file of rows: its immutable home, and its name in the view that is read by glob."""

    kind: layout.Kind
    data: str
    view: str
    num_rows: int
    num_bytes: int
    run_id: str


@dataclass(frozen=True)
class Snapshot:
    """What is published. `removed`: files of earlier snapshots that are not of this one, for the view; `ledger`: keys, oldest first;
    `scorers`: a scorer's digest -> the identity that it stands for; `collections`: a collection's id -> what was asked for; `rolled_back`:
    runs that were taken back, and `quarantined`: scorers that came with them -> the run; `state`: the snapshot whose files these are,
    another one after a rollback; `digest`: of what was asked; `gates`: how the run compared with the last one; `tallies`: by scorer,
    what the next run is compared with; `carried`: columns that some of the score files have beside those of the schema."""

    number: int
    parent: int
    kind: SnapshotKind
    run_id: str
    write_id: str
    created_at: str
    files: tuple[DataFile, ...]
    removed: tuple[DataFile, ...] = ()
    ledger: tuple[str, ...] = ()
    scorers: dict[str, dict[str, str]] = field(default_factory=dict)
    collections: dict[str, dict[str, Any]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    rolled_back: tuple[str, ...] = ()
    quarantined: dict[str, str] = field(default_factory=dict)
    state: int = 0
    digest: str = ""
    gates: tuple[dict[str, Any], ...] = ()
    tallies: dict[str, dict[str, Any]] = field(default_factory=dict)
    carried: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), indent=1).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> Snapshot:
        document = json.loads(data)
        for name in ("files", "removed"):
            document[name] = tuple(DataFile(**one) for one in document[name])
        lists = {name: tuple(document[name]) for name in ("ledger", "rolled_back", "gates", "carried") if name in document}
        return cls(**document | lists)


class Superseded(Exception):
    """Another writer's snapshot has the number: `winner`. Nothing of this one is visible, or ever will be."""

    def __init__(self, winner: Snapshot):
        super().__init__(f"snapshot {winner.number} is of run {winner.run_id}")
        self.winner = winner


def check_format(store: Store, is_writer: bool = False) -> None:
    """Raise OlderProgram where a newer program wrote the output."""
    document = _read(store, layout.FORMAT)
    needed = json.loads(document)["min_writer" if is_writer else "min_reader"] if document else 0
    if needed > FORMAT_VERSION:
        raise OlderProgram(
            f"{store.uri} is written in format {needed}, and this program knows format {FORMAT_VERSION}: install a newer artquant-jobs."
        )


def mark_format(store: Store) -> None:
    """Leave the mark that older programs look for."""
    with suppress(Conflict):
        store.put_if_absent(layout.FORMAT, json.dumps({"format": FORMAT_VERSION, "min_reader": 1, "min_writer": 1}).encode())


def read_snapshot(store: Store, number: int) -> Snapshot | None:
    """None where there is no such snapshot. Raises FetchError where the store does not say."""
    data = _read(store, layout.snapshot_key(number))
    return Snapshot.from_json(data) if data is not None else None


def head(store: Store) -> Snapshot | None:
    """Return the last snapshot; CURRENT is where the search begins, and no more than that."""
    hint = _read(store, layout.CURRENT)
    try:
        number = int(json.loads(hint or b"{}").get("snapshot") or 0)
    except (ValueError, AttributeError, TypeError):
        number = 0
    last = read_snapshot(store, number) if number > 0 else None
    if last is None:
        number = 0
    while (following := read_snapshot(store, number + 1)) is not None:
        last, number = following, number + 1
    return last


def commit(store: Store, snapshot: Snapshot) -> None:
    """Create the snapshot. Returns when it is committed, by this call or by another process of the same work.

    Raises Superseded where another has the number, and OutcomeUnknown where the store does not say.
    """
    key = layout.snapshot_key(snapshot.number)
    problem: Exception | None = None
    for _ in range(3):
        try:
            store.put_if_absent(key, snapshot.to_json())
            return
        except (Conflict, UserError) as error:
            problem = error
        try:
            seen = read_snapshot(store, snapshot.number)
        except FetchError as error:
            raise OutcomeUnknown(
                f"The store did not say whether the run {snapshot.run_id} is published ({error.message}): run the same command again."
            ) from error
        if seen is not None:
            if seen.write_id == snapshot.write_id:
                return
            raise Superseded(seen)
    raise OutcomeUnknown(
        f"The run {snapshot.run_id} could not be published, as it seems: run the same command again ({problem})."
    ) from problem


def point_current(store: Store, snapshot: Snapshot) -> None:
    """Write CURRENT for people: the last publishing run, its manifest, and the snapshot's number."""
    pointer = {"run_id": snapshot.run_id, "manifest": layout.run_key(snapshot.run_id, "manifest.json"), "snapshot": snapshot.number}
    store.put(layout.CURRENT, json.dumps(pointer).encode() + b"\n")


def following(parent: Snapshot | None, kind: SnapshotKind, run_id: str, write_id: str, **changes: Any) -> Snapshot:
    """Return the snapshot after `parent` that changes just this."""
    base = parent or Snapshot(0, 0, "run", "", "", "", ())
    now = datetime.now(UTC).isoformat(timespec="seconds")
    number = base.number + 1
    fixed = {"number": number, "parent": base.number, "kind": kind, "run_id": run_id, "write_id": write_id, "created_at": now}
    return replace(base, **{"state": number, "gates": (), **fixed, **changes})


def with_files(parent: Snapshot | None, files: tuple[DataFile, ...], number: int) -> tuple[tuple[DataFile, ...], tuple[DataFile, ...]]:
    """(files, removed) of the snapshot `number` that is to hold `files`: what once went out comes back under a new name."""
    before = parent.files if parent else ()
    gone = parent.removed if parent else ()
    burnt, taken = {file.view for file in gone}, views_of(parent) | {file.view for file in files}
    named: list[DataFile] = []
    for file in files:
        view = layout.renamed_view(file.view, number, taken) if file.view in burnt else file.view
        taken.add(view)
        named.append(replace(file, view=view))
    kept = {file.view for file in named}
    return tuple(named), (*gone, *(file for file in before if file.view not in kept))


def views_of(snapshot: Snapshot | None) -> set[str]:
    """Return all names in the view that are used up."""
    return {file.view for file in (*snapshot.files, *snapshot.removed)} if snapshot else set()


def history(store: Store) -> list[Snapshot]:
    """All snapshots, oldest first."""
    last = head(store)
    found = [read_snapshot(store, number) for number in range(1, last.number + 1)] if last else []
    return [snapshot for snapshot in found if snapshot is not None]


def _read(store: Store, key: str) -> bytes | None:
    try:
        return store.get(key)
    except FetchError as error:
        if error.reject_class is RejectClass.MISSING:
            return None
        raise
