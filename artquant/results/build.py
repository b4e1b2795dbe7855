"""From shards to files: the run's rows in the order of their ids, in the homes that a snapshot names, and its part of the ledger."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from artquant.core.errors import RunFailed
from artquant.core.schema import ARTWORK_ID, ETAG, REASON, REJECT_CLASS, URI, Reason, reject_schema
from artquant.results import layout
from artquant.results.claims import Intent
from artquant.results.datafiles import DataFiles
from artquant.results.ledger import PART_CRITIQUE, PART_SCORE, SCORED, content_of, ledger_schema, merged
from artquant.results.plan import Plan
from artquant.results.rewrite import LeavingWriter, Rewritten, rewrite
from artquant.results.rows import SCORES, RowKind, split
from artquant.results.shards import ShardRecord, check_ids, read_shard
from artquant.results.snapshots import DataFile, Snapshot, views_of
from artquant.results.source import Source, collection_of
from artquant.results.windows import read_sorted, windows
from artquant.storage.store import FetchError, Store

MAX_LEDGERS = 20  # files of a snapshot's ledger; then they are merged into one


@dataclass(frozen=True)
class Scoring:
    """What the rows of a run have in common. `is_content_known`: the catalogs of all nights spoke of the store's own etags, as the rows do,
    and the ledger tells which contents are scored."""

    model_id: str
    scorer: str
    source: Source
    critique: bool
    is_content_known: bool
    rows: RowKind = SCORES


@dataclass(frozen=True)
class Built:
    """The run's files, its ledger's key, counts by kind and reject class, and the parent's files without the rows that gave way."""

    files: tuple[DataFile, ...]
    ledger: str
    num_scored: int
    num_rejected: int
    rewritten: Rewritten


@dataclass(frozen=True)
class _Shards:
    """Reads every shard again, and proves that its rows are the planned ones."""

    store: Store
    plan: Plan
    done: Mapping[int, ShardRecord]
    scoring: Scoring
    snapshot: int
    files: Mapping[layout.Kind, DataFiles]
    leaving: Mapping[layout.Kind, LeavingWriter]
    on_shard: Callable[[pa.Table, pa.Table], None]
    counts: Counter[str] = field(default_factory=Counter)

    def ledger(self) -> Iterator[pa.Table]:
        """Put all rows into files, and return the ledger's on the way. Raises RunFailed."""
        last = ""
        for number in range(len(self.plan.shard_rows)):
            outcomes = read_shard(self.store, self.done[number])
            check_ids(self.plan, number, outcomes)
            last = _check_increasing(outcomes.column(ARTWORK_ID), last, number)
            planned = self.plan.table(number)  # the same artworks in the same order
            for name in self.plan.carry:
                outcomes = outcomes.append_column(name, planned.column(name))
            scores, rejects = split(outcomes, self.plan.carry, self.scoring.rows)
            self.on_shard(scores, rejects)
            self.files[self.scoring.rows.name].add(scores)
            self.files["rejects"].add(rejects)
            self._supersede(outcomes, planned.column(ETAG))
            self.counts["scored"] += scores.num_rows
            self.counts["rejected"] += rejects.num_rows
            yield self._rows(outcomes, planned)

    def _supersede(self, outcomes: pa.Table, planned: pa.ChunkedArray) -> None:
        """Note the identities that may be published already: they give way, to a score only where they have one themselves."""
        reason, is_score = outcomes.column(REASON), pc.equal(outcomes.column(REJECT_CLASS), "")
        is_forced = pc.equal(reason, Reason.FORCED.value)
        # Another content than the planned one may have been scored before. The etags of a manifest tell nothing of the rows'.
        may_be_there = pc.not_equal(reason, Reason.NEW.value)
        if self.scoring.is_content_known:
            is_again = pc.or_(is_forced, pc.equal(reason, Reason.CRITIQUE.value))
            may_be_there = pc.and_(may_be_there, pc.or_(is_again, pc.not_equal(outcomes.column(ETAG), planned)))
        self.leaving[self.scoring.rows.name].add(outcomes.filter(pc.and_(may_be_there, is_score)))
        self.leaving["rejects"].add(outcomes.filter(is_forced))

    def _rows(self, outcomes: pa.Table, planned: pa.Table) -> pa.Table:
        # What was scored is what the next night compares with, where its catalog will speak of the store's own etags.
        source, content = self.scoring.source, content_of(planned)
        if source.kind != "manifest":
            content = pc.if_else(pc.equal(planned.column(ETAG), ""), content, outcomes.column(ETAG))
        reject_class = outcomes.column(REJECT_CLASS)
        num, part = outcomes.num_rows, PART_CRITIQUE if self.scoring.critique else PART_SCORE
        columns = [
            outcomes.column(ARTWORK_ID),
            pa.array([part] * num, pa.string()),
            content,
            pa.array([self.scoring.scorer] * num, pa.string()),
            pc.if_else(pc.equal(reject_class, ""), SCORED, reject_class),
            collection_of(source, planned.column(URI)),
            pa.array([self.snapshot] * num, pa.int64()),
        ]
        return pa.table(columns, schema=ledger_schema())


def build(
    store: Store,
    parent: Snapshot | None,
    intent: Intent,
    plan: Plan,
    done: Mapping[int, ShardRecord],
    presence: pa.Table,
    scoring: Scoring,
    on_shard: Callable[[pa.Table, pa.Table], None] = lambda scores, rejects: None,
) -> Built:
    """Write the run's files and its ledger, and those of the parent's files again that hold an identity of the run. Raises RunFailed."""
    with tempfile.TemporaryDirectory(prefix="artquant-build-") as name, ExitStack() as stack:
        folder = Path(name)

        def files_of(kind: layout.Kind, schema: pa.Schema) -> DataFiles:
            def view_of(number: int) -> str:
                return layout.view_key(kind, scoring.model_id, date.fromisoformat(intent.run_date), intent.run_id, number, intent.number)

            size = intent.rows_per_file
            return DataFiles(store, intent.work, kind, schema, max_rows=size, run_id=intent.run_id, view_of=view_of, path=folder / kind)

        files: dict[layout.Kind, DataFiles] = {
            scoring.rows.name: files_of(scoring.rows.name, scoring.rows.schema(plan.carry)),
            "rejects": files_of("rejects", reject_schema()),
        }
        leaving: dict[layout.Kind, LeavingWriter] = {kind: LeavingWriter(kind, folder / f"leaving-{kind}") for kind in files}
        shards = _Shards(store, plan, done, scoring, intent.number, files, leaving, on_shard)
        num_rows = 0
        ledger = stack.enter_context(pq.ParquetWriter(folder / "ledger", ledger_schema(), compression="zstd"))
        for table in _with_presence(shards.ledger(), presence):
            ledger.write_table(table)
            num_rows += table.num_rows
        ledger.close()
        for one in files.values():
            one.close()
        key = layout.data_key(intent.work, "ledger", 0)
        store.put_file(key, folder / "ledger")
        made = (*files[scoring.rows.name].files, *files["rejects"].files)
        rewritten = rewrite(
            store,
            parent.files if parent else (),
            {kind: writer.whole() for kind, writer in leaving.items()},
            work=intent.work,
            snapshot=intent.number,
            taken=views_of(parent) | {file.view for file in made},
        )
        check_files(store, made, sum(plan.shard_rows))
        _read_back(store, key, num_rows, (folder / "ledger").stat().st_size)
        return Built(made, key, shards.counts["scored"], shards.counts["rejected"], rewritten)


def check_files(store: Store, files: Sequence[DataFile], num_planned: int) -> None:
    """Raise RunFailed where the files, read back, are not whole, or cannot hold each planned artwork once: the rows are as many, and of
    each kind the ids increase from row group to row group and from file to file."""
    last: dict[str, str] = {}
    for file in files:
        footer = _read_back(store, file.data, file.num_rows, file.num_bytes)
        column = footer.schema.names.index(ARTWORK_ID)
        for number in range(footer.num_row_groups):
            ids = footer.row_group(number).column(column).statistics
            if ids is None or not ids.has_min_max:  # of ids as long as a page
                continue
            if file.kind in last and ids.min <= last[file.kind]:
                raise RunFailed(f"The run does not add up: the ids of {store.uri_of(file.data)} do not increase.")
            last[file.kind] = ids.max
    num_rows = sum(file.num_rows for file in files)
    if num_rows != num_planned:
        raise RunFailed(f"The run does not add up: {num_planned:,} artworks were due, and the files hold {num_rows:,} rows.")


def _read_back(store: Store, key: str, num_rows: int, num_bytes: int) -> pq.FileMetaData:
    """Return the file's footer. Raises RunFailed where the store does not hold what was written."""
    try:
        size = store.head(key).size_bytes
        footer = pq.ParquetFile(store.open_input(key), pre_buffer=False).metadata
    except (FetchError, pa.ArrowException, OSError) as error:
        raise RunFailed(f"{store.uri_of(key)} was written and cannot be read back ({error}): run it again.") from error
    if (size, footer.num_rows) != (num_bytes, num_rows):
        raise RunFailed(
            f"{store.uri_of(key)} is not what was written ({num_rows:,} rows in {num_bytes:,} bytes): it has {footer.num_rows:,} rows in "
            f"{size:,} bytes."
        )
    return footer


def _check_increasing(ids: pa.ChunkedArray, last: str, shard: int) -> str:
    """Return the last id. Raises RunFailed where an id is not after the one before it, so that one could be there twice."""
    before = pa.chunked_array([pa.array([last], pa.string()), *ids.slice(0, len(ids) - 1).chunks])
    if not pc.all(pc.less(before.combine_chunks(), ids.combine_chunks())).as_py():
        raise RunFailed(f"The run does not add up: the ids of shard {shard} do not increase.")
    return str(ids[-1].as_py())


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
    return keys if len(keys) <= MAX_LEDGERS else (merged_ledger(store, keys, work),)


def merged_ledger(store: Store, keys: Sequence[str], work: str) -> str:
    """Return the key of one ledger with the rows of several, older ones first."""
    with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
        with pq.ParquetWriter(file.name, ledger_schema(), compression="zstd") as writer:
            for tables in windows([read_sorted(store, key) for key in keys]):
                table = merged(tables)
                if table is not None:
                    writer.write_table(table)
        key = layout.data_key(work, "ledger", 1)
        store.put_file(key, file.name)
    return key
