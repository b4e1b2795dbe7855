"""From shards to files: the run's rows in the order of their ids, in the homes that a snapshot names, and its part of the ledger."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from artquant.core.schema import ARTWORK_ID, ETAG, REASON, REJECT_CLASS, Reason, reject_schema, score_schema
from artquant.results import layout
from artquant.results.claims import Intent
from artquant.results.ledger import PART_SCORE, SCORED, ledger_schema, merged
from artquant.results.plan import Plan
from artquant.results.rows import split
from artquant.results.shards import ShardRecord, check_ids, read_shard
from artquant.results.snapshots import DataFile, Snapshot
from artquant.results.windows import read_sorted, windows
from artquant.storage.store import Store

MAX_LEDGERS = 20  # files of a snapshot's ledger; then they are merged into one
_GROUP_ROWS = 50_000


@dataclass(frozen=True)
class Built:
    """The run's files, its ledger's key, and counts by kind and reject class."""

    files: tuple[DataFile, ...]
    ledger: str
    num_scored: int
    num_rejected: int
    num_new_rejected: int  # of those that are due for another reason than a retry


class _Files:
    """Rows of one kind, cut into files of `max_rows`."""

    def __init__(self, store: Store, intent: Intent, kind: layout.Kind, model_id: str, snapshot: int, folder: Path):
        self.store, self.intent, self.kind, self.model_id, self.snapshot, self.folder = store, intent, kind, model_id, snapshot, folder
        self.schema = score_schema() if kind == "scores" else reject_schema()
        self.files: list[DataFile] = []
        self.num_rows = 0
        self._writer: pq.ParquetWriter | None = None

    def add(self, table: pa.Table) -> None:
        while table.num_rows:
            if self._writer is None:
                self.num_rows, self._writer = 0, pq.ParquetWriter(self.folder / self.kind, self.schema, compression="zstd")
            part = table.slice(0, self.intent.rows_per_file - self.num_rows)
            self._writer.write_table(part, row_group_size=_GROUP_ROWS)
            self.num_rows += part.num_rows
            table = table.slice(part.num_rows)
            if self.num_rows >= self.intent.rows_per_file:
                self.close()

    def close(self) -> None:
        if self._writer is None:
            return
        self._writer.close()
        self._writer = None
        number, path = len(self.files), self.folder / self.kind
        key = layout.data_key(self.intent.work, self.kind, number)
        self.store.put_file(key, path)
        day = date.fromisoformat(self.intent.run_date)
        view = layout.view_key(self.kind, self.model_id, day, self.intent.run_id, number, self.snapshot)
        self.files.append(DataFile(self.kind, key, view, self.num_rows, path.stat().st_size, self.intent.run_id))


def build(
    store: Store,
    intent: Intent,
    plan: Plan,
    done: Mapping[int, ShardRecord],
    presence: pa.Table,
    *,
    model_id: str,
    scorer: str,
    collection: str,
    has_store_etags: bool,
    on_shard: Callable[[pa.Table, pa.Table], None] = lambda scores, rejects: None,
) -> Built:
    """Read every shard again, prove that its rows are the planned ones, and write the files. Raises RunFailed."""
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="artquant-build-") as name, ExitStack() as stack:
        folder = Path(name)
        kinds = {
            "scores": _Files(store, intent, "scores", model_id, intent.number, folder),
            "rejects": _Files(store, intent, "rejects", model_id, intent.number, folder),
        }
        ledger = stack.enter_context(pq.ParquetWriter(folder / "ledger", ledger_schema(), compression="zstd"))
        for table in _with_presence(
            _ledger_rows(store, plan, done, kinds, scorer, collection, intent.number, on_shard, counts, has_store_etags), presence
        ):
            ledger.write_table(table)
        ledger.close()
        for kind in kinds.values():
            kind.close()
        key = layout.data_key(intent.work, "ledger", 0)
        store.put_file(key, folder / "ledger")
        files = (*kinds["scores"].files, *kinds["rejects"].files)
        return Built(files, key, counts["scored"], counts["rejected"], counts["rejected anew"])


def _ledger_rows(
    store: Store,
    plan: Plan,
    done: Mapping[int, ShardRecord],
    kinds: Mapping[str, _Files],
    scorer: str,
    collection: str,
    snapshot: int,
    on_shard: Callable[[pa.Table, pa.Table], None],
    counts: Counter[str],
    has_store_etags: bool,
) -> Iterator[pa.Table]:
    for number in range(len(plan.shard_rows)):
        outcomes = read_shard(store, done[number])
        check_ids(plan, number, outcomes)
        scores, rejects = split(outcomes)
        on_shard(scores, rejects)
        kinds["scores"].add(scores)
        kinds["rejects"].add(rejects)
        counts["scored"] += scores.num_rows
        counts["rejected"] += rejects.num_rows
        counts["rejected anew"] += pc.sum(pc.not_equal(rejects.column(REASON), Reason.RETRY.value)).as_py() or 0
        planned = plan.table(number).column(ETAG)
        # What was scored is what the next night compares with, where its catalog will speak of the store's own etags.
        content = outcomes.column(ETAG) if has_store_etags else planned
        reject_class = outcomes.column(REJECT_CLASS)
        num = outcomes.num_rows
        columns = [
            outcomes.column(ARTWORK_ID),
            pa.array([PART_SCORE] * num, pa.string()),
            content,
            pa.array([scorer] * num, pa.string()),
            pc.if_else(pc.equal(reject_class, ""), SCORED, reject_class),
            pa.array([collection] * num, pa.string()),
            pa.array([snapshot] * num, pa.int64()),
        ]
        yield pa.table(columns, schema=ledger_schema())


def _with_presence(tables: Iterator[pa.Table], presence: pa.Table) -> Iterator[pa.Table]:
    """Both in the order of artwork_id; `presence` is one table, of what went and came back."""
    rest = presence.sort_by(ARTWORK_ID)
    for table in tables:
        bound = table.column(ARTWORK_ID)[-1]
        count = pc.sum(pc.less_equal(rest.column(ARTWORK_ID), bound)).as_py() or 0
        if count:
            table = pa.concat_tables([table, rest.slice(0, count)]).sort_by(ARTWORK_ID)
            rest = rest.slice(count)
        yield table
    if rest.num_rows:
        yield rest


def ledger_of(store: Store, parent: Snapshot | None, added: str, work: str) -> tuple[str, ...]:
    """Return the keys of the next snapshot's ledger: the parent's and the new one, merged into one file where they are many."""
    keys = (*(parent.ledger if parent else ()), added)
    if len(keys) <= MAX_LEDGERS:
        return keys
    with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
        with pq.ParquetWriter(file.name, ledger_schema(), compression="zstd") as writer:
            for tables in windows([read_sorted(store, key) for key in keys]):
                table = merged(tables)
                if table is not None:
                    writer.write_table(table)
        key = layout.data_key(work, "ledger", 1)
        store.put_file(key, file.name)
    return (key,)
