"""Rows that give way to others, or to nobody: the files that hold them are written again without them, in homes of the work that does so
and under new names. In the same snapshot the new files come in and the old ones go out."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from artquant.core.schema import ARTWORK_ID, DTYPE, ETAG, MODEL_DIGEST, MODEL_ID, PREPROCESSING_DIGEST, PROMPT_DIGEST, RUN_ID
from artquant.results import layout
from artquant.results.snapshots import DataFile
from artquant.results.windows import WINDOW_ROWS
from artquant.storage.store import Store

IDENTITY = "identity"
# What sets a row of an artwork apart from its other rows; a reject does not hold more than this.
_APART = (ETAG, MODEL_DIGEST, PROMPT_DIGEST, PREPROCESSING_DIGEST, DTYPE)
_COLUMNS: Mapping[layout.Kind, tuple[str, ...]] = {
    "scores": _APART,
    "descriptions": _APART,
    "rejects": (ETAG, MODEL_ID),
}


def identities(table: pa.Table, kind: layout.Kind) -> pa.ChunkedArray:
    """(N,) texts: the same for two rows of one identity."""
    columns = [pc.fill_null(table.column(name), "") for name in (ARTWORK_ID, *_COLUMNS[kind])]
    return pc.binary_join_element_wise(*columns, "\x1f")


class Leaving:
    """Which rows leave: all of some artworks, or those of some identities (a column `identity`). A Parquet file on this machine, in the
    order of artwork_id; a row group of it is held at a time."""

    def __init__(self, path: Path):
        self._file = pq.ParquetFile(path)
        self.num_rows: int = self._file.metadata.num_rows
        self.is_by_identity = IDENTITY in self._file.schema_arrow.names
        self._ranges = [range_of(self._file, number) for number in range(self._file.num_row_groups)]

    def near(self, bounds: tuple[str, str] | None) -> Iterator[pa.Table]:
        """Return those whose ids may lie within `bounds`, part by part."""
        for number, own in enumerate(self._ranges):
            if not (bounds and own and (own[1] < bounds[0] or bounds[1] < own[0])):
                yield self._file.read_row_group(number)


class LeavingWriter:
    """Gathers identities of rows that leave, in the order of artwork_id."""

    def __init__(self, kind: layout.Kind, path: Path):
        self.kind, self.path = kind, path
        self._held: list[pa.Table] = []
        self._writer = pq.ParquetWriter(path, pa.schema([(ARTWORK_ID, pa.string()), (IDENTITY, pa.string())]), compression="zstd")

    def add(self, rows: pa.Table) -> None:
        """`rows`: of the kind's schema."""
        if rows.num_rows:
            self._held.append(pa.table({ARTWORK_ID: rows.column(ARTWORK_ID), IDENTITY: identities(rows, self.kind)}))
        if sum(table.num_rows for table in self._held) >= WINDOW_ROWS:
            self._write()

    def _write(self) -> None:
        if self._held:
            self._writer.write_table(pa.concat_tables(self._held))
        self._held = []

    def whole(self) -> Leaving:
        self._write()
        self._writer.close()
        return Leaving(self.path)


def range_of(file: pq.ParquetFile, number: int) -> tuple[str, str] | None:
    """Return the first and the last id of a row group; None where the file does not say."""
    place = file.schema_arrow.get_field_index(ARTWORK_ID)
    statistics = file.metadata.row_group(number).column(place).statistics
    return (statistics.min, statistics.max) if statistics is not None and statistics.has_min_max else None


def hits(file: pq.ParquetFile, kind: layout.Kind, leaving: Leaving) -> Iterator[tuple[int, pa.ChunkedArray]]:
    """Of each row group in which rows leave: its number, and (N,) bool, which. Of the others no more is read than the ids, if that."""
    for number in range(file.num_row_groups):
        ids: pa.ChunkedArray | None = None
        apart: pa.ChunkedArray | None = None
        found: pa.ChunkedArray | None = None
        for part in leaving.near(range_of(file, number)):
            if ids is None:
                ids = file.read_row_group(number, columns=[ARTWORK_ID]).column(ARTWORK_ID)
            hit = pc.is_in(ids, part.column(ARTWORK_ID).combine_chunks())
            if leaving.is_by_identity and pc.any(hit).as_py():
                if apart is None:
                    apart = identities(file.read_row_group(number, columns=[ARTWORK_ID, *_COLUMNS[kind]]), kind)
                hit = pc.is_in(apart, part.column(IDENTITY).combine_chunks())
            if pc.any(hit).as_py():
                found = hit if found is None else pc.or_(found, hit)
        if found is not None:
            yield number, found


def runs_of_hits(store: Store, key: str, leaving: Leaving) -> set[str] | None:
    """Return the runs of an object's rows that leave, as far as it names any; None where none leaves. `leaving`: whole artworks."""
    file = pq.ParquetFile(store.open_input(key), pre_buffer=False)
    runs: set[str] | None = None
    for number, mask in hits(file, "scores", leaving):
        runs = runs or set()
        if RUN_ID in file.schema_arrow.names:
            names = file.read_row_group(number, columns=[RUN_ID]).column(RUN_ID)
            runs |= set(pc.unique(names.filter(mask)).to_pylist())
    return runs


@dataclass(frozen=True)
class Rewritten:
    """Files -> what is in their place: None where no row is left. `num_rows`: that left."""

    files: Mapping[DataFile, DataFile | None]
    num_rows: int

    def of(self, files: Iterable[DataFile]) -> tuple[DataFile, ...]:
        """Return the files as they are now."""
        return tuple(now for file in files if (now := self.files.get(file, file)) is not None)


def rewrite(
    store: Store,
    files: Iterable[DataFile],
    leaving: Mapping[layout.Kind, Leaving],
    *,
    work: str,
    snapshot: int,
    taken: Collection[str],
) -> Rewritten:
    """Write each file again in which rows leave, row group by row group; whoever does so for the same work writes the same.

    `taken`: names in the view that are used up. Raises FetchError and UserError.
    """
    changed: dict[DataFile, DataFile | None] = {}
    names, num_rows = set(taken), 0
    for file in files:
        gone = leaving.get(file.kind)
        if gone is None or not gone.num_rows:
            continue
        source = pq.ParquetFile(store.open_input(file.data), pre_buffer=False)
        masks = dict(hits(source, file.kind, gone))
        if not masks:
            continue
        with tempfile.NamedTemporaryFile(suffix=".parquet") as target:
            num_kept = 0
            with pq.ParquetWriter(target.name, source.schema_arrow, compression="zstd") as writer:
                for number in range(source.num_row_groups):
                    table = source.read_row_group(number)
                    if number in masks:
                        table = table.filter(pc.invert(masks[number]))
                    if table.num_rows:
                        writer.write_table(table, row_group_size=table.num_rows)
                    num_kept += table.num_rows
            num_rows += file.num_rows - num_kept
            if num_kept == 0:
                changed[file] = None
                continue
            key, view = layout.data_key(work, f"rewritten-{file.kind}", len(changed)), layout.renamed_view(file.view, snapshot, names)
            names.add(view)
            store.put_file(key, target.name)
            changed[file] = replace(file, data=key, view=view, num_rows=num_kept, num_bytes=Path(target.name).stat().st_size)
    return Rewritten(changed, num_rows)
