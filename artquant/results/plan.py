"""Tonight's plan: which artworks are due and why, in the order of their ids, as one Parquet file of which a row group is a shard."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from artquant.core.errors import UserError
from artquant.core.schema import ARTWORK_ID, REASON, SIZE_BYTES, Reason, plan_schema
from artquant.results.layout import RESULT_FOLDERS
from artquant.results.ledger import Night, decide, ledger_schema, merged
from artquant.results.snapshots import Snapshot
from artquant.results.windows import Sorted, read_sorted, windows
from artquant.storage.store import Conflict, Store, open_store

SMALL_SHARD, LARGE_SHARD = 128, 2048
_SMALL_COLLECTION = 100_000  # artworks; a larger plan is cut into larger shards, so that its footer stays small
_METADATA_KEY = b"artquant.plan"


@dataclass(frozen=True)
class PlanSummary:
    """What the run must account for. `num_bytes`: of the objects, as far as the catalog says;
    `counts`: what becomes of the catalog's other rows, as in `decide`."""

    num_planned: int
    num_bytes: int
    num_shards: int
    reasons: dict[str, int]
    counts: dict[str, int]

    @property
    def num_reused(self) -> int:
        return self.counts.get("reused", 0)

    @property
    def num_excluded(self) -> int:
        return self.counts.get("excluded", 0)


def refuse_overlap(input_uri: str, output_uri: str) -> None:
    """Raise UserError where the next night would list results as artworks: the output is the input or lies in it, or the input lies
    where results are kept. Folders are compared where their links lead."""
    source, target = _parts(input_uri), _parts(output_uri)
    if target[: len(source)] == source:
        raise UserError(
            f"The output {output_uri} lies in the input {input_uri}, so the next run would take the results for artworks: "
            "give them places beside each other."
        )
    if source[: len(target)] == target and source[len(target)] in RESULT_FOLDERS:
        raise UserError(f"The input {input_uri} holds results of the output {output_uri}: give the place of the pictures.")


def refuse_nested(inputs: Sequence[str]) -> None:
    """Raise UserError where an input is or lies in another: its artworks would be there twice, under two ids."""
    for uri, other in permutations(inputs, 2):
        if _parts(uri)[: len(_parts(other))] == _parts(other):
            raise UserError(f"The input {uri} lies in the input {other}: leave it out of the list.")


def _parts(uri: str) -> list[str]:
    uri = open_store(uri).uri
    if uri.startswith("file://"):
        uri = f"file://{os.path.realpath(uri.removeprefix('file://'))}"
    return [part for part in uri.split("/") if part]


@dataclass(frozen=True)
class Draft:
    """A plan on this machine: the file, what went or came back (rows of the ledger), and the summary."""

    plan: Path
    presence: pa.Table
    summary: PlanSummary


def draft_plan(
    catalog: Iterator[pa.Table],
    store: Store,
    parent: Snapshot | None,
    night: Night,
    folder: Path,
    limit: int | None = None,
    carry: Sequence[str] = (),
    only: pa.Array | None = None,
) -> Draft:
    """Compare the catalog with the ledger of `parent`, range by range, in memory that does not grow with either. Writes nothing to the
    store. `limit`: plan no more than so many artworks, the first by id; `only`: nothing but the texts of these artworks. What is due and
    is not planned for that is counted as `queued`."""
    counts: Counter[str] = Counter()
    num_due = 0
    presence: list[pa.Table] = []
    writer = _PlanWriter(folder / "plan.parquet", plan_schema(carry))
    with ExitStack() as stack:
        stack.callback(writer.close)
        ledgers = [read_sorted(store, key) for key in (parent.ledger if parent else ())]
        for tables in windows([Sorted(catalog), *ledgers]):
            due, went = decide(tables[0], merged(tables[1:]), night, counts)
            presence.append(went)
            if due is not None and due.num_rows:
                if only is not None:
                    due = due.filter(pc.equal(due.column(REASON), Reason.CRITIQUE.value))
                num_due += due.num_rows
                chosen = due if only is None else due.filter(pc.is_in(due.column(ARTWORK_ID), only))
                writer.add(chosen.slice(0, None if limit is None else max(0, limit - writer.num_rows)))
    if limit is not None or only is not None:
        for reason in Reason:
            counts.pop(reason.value, None)
        counts.update(writer.reasons)
        counts["queued"] = num_due - writer.num_rows
    reasons = {reason.value: counts.pop(reason.value) for reason in Reason if counts[reason.value]}
    summary = PlanSummary(writer.num_rows, writer.num_bytes, writer.num_shards, reasons, dict(+counts))
    return Draft(folder / "plan.parquet", pa.concat_tables([ledger_schema().empty_table(), *presence]), summary)


class _PlanWriter:
    """Cuts due rows into shards: small ones while they may be all there are."""

    def __init__(self, path: Path, schema: pa.Schema):
        self.schema, self.num_rows, self.num_bytes, self.num_shards = schema, 0, 0, 0
        self.reasons: Counter[str] = Counter()
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")
        self._held: list[pa.Table] = []
        self._num_held = 0
        self._shard_rows: int | None = None

    def add(self, due: pa.Table) -> None:
        if not due.num_rows:
            return
        due = due.select(self.schema.names).cast(self.schema)
        self.reasons.update(due.column(REASON).to_pylist())
        self.num_bytes += pc.sum(due.column(SIZE_BYTES)).as_py() or 0
        self._held.append(due)
        self._num_held += due.num_rows
        self.num_rows += due.num_rows
        if self._shard_rows is None and self.num_rows >= _SMALL_COLLECTION:
            self._shard_rows = LARGE_SHARD
        if self._shard_rows:
            self._flush(self._shard_rows, is_last=False)

    def close(self) -> None:
        self._flush(self._shard_rows or SMALL_SHARD, is_last=True)
        self._writer.close()

    def _flush(self, rows: int, is_last: bool) -> None:
        table = pa.concat_tables(self._held) if self._held else self.schema.empty_table()
        whole = table.num_rows if is_last else table.num_rows // rows * rows
        for start in range(0, whole, rows):
            self._writer.write_table(table.slice(start, min(rows, whole - start)), row_group_size=rows)
            self.num_shards += 1
        self._held = [table.slice(whole)]
        self._num_held = table.num_rows - whole


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def store_plan(store: Store, key: str, draft: Draft) -> None:
    """Write the plan once; whoever goes on with the work follows the first. Raises UserError."""
    with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
        source = pq.ParquetFile(draft.plan)
        with pq.ParquetWriter(file.name, source.schema_arrow, compression="zstd") as writer:
            for number in range(source.num_row_groups):
                writer.write_table(source.read_row_group(number))
            writer.add_key_value_metadata({_METADATA_KEY: json.dumps(asdict(draft.summary)).encode()})
        with suppress(Conflict):
            store.put_if_absent(key, Path(file.name).read_bytes())


class Plan:
    """A written plan, read shard by shard."""

    def __init__(self, store: Store, key: str):
        self._file = pq.ParquetFile(store.open_input(key), pre_buffer=False)
        self._lock = threading.Lock()
        self.digest = hashlib.sha256(str(self._file.metadata.to_dict()).encode()).hexdigest()[:12]

    @property
    def carry(self) -> tuple[str, ...]:
        """The columns of the collection that travel to the scores."""
        return tuple(self._file.schema_arrow.names[len(plan_schema()) :])

    @property
    def summary(self) -> PlanSummary:
        return PlanSummary(**json.loads(self._file.metadata.metadata[_METADATA_KEY]))

    @property
    def shard_rows(self) -> list[int]:
        """Artworks of each shard."""
        return [self._file.metadata.row_group(number).num_rows for number in range(self._file.num_row_groups)]

    def shard(self, number: int) -> list[dict[str, Any]]:
        """Read the rows of a shard; may be called from several threads."""
        return list(self.table(number).to_pylist())

    def table(self, number: int) -> pa.Table:
        with self._lock:
            return self._file.read_row_group(number)

    def ids(self, number: int) -> pa.ChunkedArray:
        with self._lock:
            return self._file.read_row_group(number, columns=[ARTWORK_ID]).column(ARTWORK_ID)
