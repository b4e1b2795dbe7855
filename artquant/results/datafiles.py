"""Rows on their way into the files that a snapshot names, in the order in which they come."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from artquant.results import layout
from artquant.results.snapshots import DataFile
from artquant.storage.store import FetchError, Store

GROUP_ROWS = 10_000  # rows of a row group; so many are held while they are gathered


class DataFiles:
    """Rows of one kind, cut into files of `max_rows` in the homes of `work`, from number
    `first` on. `view_of`: a file's number -> its name in the view."""

    def __init__(
        self,
        store: Store,
        work: str,
        kind: layout.Kind,
        schema: pa.Schema,
        *,
        max_rows: int,
        run_id: str,
        view_of: Callable[[int], str],
        path: Path,
        first: int = 0,
    ):
        self.store, self.work, self.kind, self.schema = store, work, kind, schema
        self.max_rows, self.run_id, self.view_of, self.path = max_rows, run_id, view_of, path
        self.files: list[DataFile] = []
        self.first = first
        self._held: list[pa.Table] = []
        self._num_held = self._num_written = 0
        self._writer: pq.ParquetWriter | None = None

    def add(self, table: pa.Table) -> None:
        while table.num_rows:
            part = table.slice(0, self.max_rows - self._num_written - self._num_held)
            self._held.append(part)
            self._num_held += part.num_rows
            table = table.slice(part.num_rows)
            if self._num_written + self._num_held >= self.max_rows:
                self.close()
            elif self._num_held >= GROUP_ROWS:
                self._write()

    def _write(self) -> None:
        if self._writer is None:
            self._writer = pq.ParquetWriter(self.path, self.schema, compression="zstd")
        self._writer.write_table(pa.concat_tables(self._held), row_group_size=GROUP_ROWS)
        self._num_written += self._num_held
        self._held, self._num_held = [], 0

    def close(self) -> None:
        """Write what is held; the file is whole."""
        if self._num_held:
            self._write()
        if self._writer is None:
            return
        self._writer.close()
        number = self.first + len(self.files)
        key = layout.data_key(self.work, self.kind, number)
        if not _is_whole(self.store, key):  # else another built it from the same shards, and a snapshot may name it already
            self.store.put_file(key, self.path)
        self.files.append(DataFile(self.kind, key, self.view_of(number), self._num_written, self.path.stat().st_size, self.run_id))
        self._writer, self._num_written = None, 0


def read_table(store: Store, key: str, **options: Any) -> pa.Table:
    """Return a Parquet object as a table. It is read into Arrow's own memory first.

    A file of Python that Arrow's threads read may still be theirs when the process ends, and ends it with an abort. Raises FetchError.
    """
    return pq.read_table(pa.BufferReader(store.get(key)), **options)


def _is_whole(store: Store, key: str) -> bool:
    """Return whether there is such a file, and all of it: what is broken was never published, and is written again."""
    try:
        pq.ParquetFile(store.open_input(key), pre_buffer=False)
    except (FetchError, pa.ArrowException, OSError):
        return False
    return True
