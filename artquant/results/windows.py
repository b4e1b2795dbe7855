"""Tables that are sorted by artwork_id, walked side by side in bounded memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from artquant.core.schema import ARTWORK_ID
from artquant.storage.store import Store

WINDOW_ROWS, RUN_ROWS = 65_536, 1 << 19
_NARROW_ROWS = 2048  # a row group of each run is held while they are merged


class Sorted:
    """A stream of tables in the order of artwork_id, of which the first rows can be looked at."""

    def __init__(self, tables: Iterator[pa.Table]):
        self._tables, self._is_over = tables, False
        self._held: pa.Table | None = None

    def fill(self) -> None:
        while not self._is_over and (self._held is None or self._held.num_rows == 0):
            following = next(self._tables, None)
            self._is_over = following is None
            self._held = following if following is not None else self._held

    @property
    def is_over(self) -> bool:
        """Nothing is held, and nothing comes."""
        self.fill()
        return self._is_over and (self._held is None or self._held.num_rows == 0)

    @property
    def last(self) -> str:
        """The id of the last row that is held."""
        assert self._held is not None
        return str(self._held.column(ARTWORK_ID)[-1].as_py())

    def take(self, bound: str | None) -> pa.Table | None:
        """Return the rows up to and with the id `bound`; all that are held for None."""
        self.fill()
        if self._held is None or bound is None:
            taken, self._held = self._held, None
            return taken
        count = pc.sum(pc.less_equal(self._held.column(ARTWORK_ID), bound)).as_py() or 0
        taken, self._held = self._held.slice(0, count), self._held.slice(count)
        return taken


def windows(streams: Sequence[Sorted]) -> Iterator[list[pa.Table | None]]:
    """One table a stream with all rows of a range of ids; the ranges follow each other. No id is in two of them."""
    while True:
        live = [stream for stream in streams if not stream.is_over]
        if not live:
            return
        bound = min(stream.last for stream in live)
        yield [_all_of(stream, bound) for stream in streams]


def _all_of(stream: Sorted, bound: str) -> pa.Table | None:
    """All rows up to `bound`: more than one table of the stream may end with it."""
    parts: list[pa.Table] = []
    while not stream.is_over:
        part = stream.take(bound)
        if part is None or part.num_rows == 0:
            break
        parts.append(part)
    return pa.concat_tables(parts) if parts else None


def read_sorted(store: Store, key: str, columns: Sequence[str] | None = None) -> Sorted:
    """Read a Parquet object of ours, row group by row group."""
    file = pq.ParquetFile(store.open_input(key), pre_buffer=False)
    return Sorted(pa.Table.from_batches([batch]) for batch in file.iter_batches(WINDOW_ROWS, columns=columns and list(columns)))


@contextmanager
def sorted_stream(tables: Iterator[pa.Table], run_rows: int | None = None) -> Iterator[Iterator[pa.Table]]:
    """Sort the rows of `tables` by artwork_id. What comes in order passes through a file; what does not is sorted in runs. `run_rows`: of
    wide rows, how many are held at a time."""
    group_rows = min(WINDOW_ROWS, _NARROW_ROWS) if run_rows else WINDOW_ROWS
    with tempfile.TemporaryDirectory(prefix="artquant-sort-") as folder:
        runs: list[Path] = []
        writer: pq.ParquetWriter | None = None
        last: str | None = None
        for table in _chunks(tables, run_rows or RUN_ROWS):
            ids = table.column(ARTWORK_ID)
            if table.num_rows > 1 and not pc.all(pc.less_equal(ids.slice(0, len(ids) - 1), ids.slice(1))).as_py():
                table = table.sort_by(ARTWORK_ID)
                ids = table.column(ARTWORK_ID)
            if writer is None or (last is not None and ids[0].as_py() < last):
                if writer is not None:
                    writer.close()
                runs.append(Path(folder) / f"{len(runs)}.parquet")
                writer = pq.ParquetWriter(runs[-1], table.schema, compression="zstd")
            writer.write_table(table, row_group_size=group_rows)
            last = ids[-1].as_py()
        if writer is not None:
            writer.close()
        yield _merged(runs, min(WINDOW_ROWS, max(256, (run_rows or RUN_ROWS * 8) // max(1, len(runs)))))


def _merged(runs: Sequence[Path], window_rows: int) -> Iterator[pa.Table]:
    files = [pq.ParquetFile(run, pre_buffer=False) for run in runs]
    try:
        streams = [Sorted(pa.Table.from_batches([batch]) for batch in file.iter_batches(window_rows)) for file in files]
        for parts in windows(streams):
            present = [part for part in parts if part is not None]
            yield pa.concat_tables(present).sort_by(ARTWORK_ID) if len(present) > 1 else present[0]
    finally:
        for file in files:
            file.close()


def _chunks(tables: Iterator[pa.Table], num_rows: int) -> Iterator[pa.Table]:
    """Tables of some `num_rows` rows."""
    held: list[pa.Table] = []
    for table in tables:
        held.append(table)
        if sum(part.num_rows for part in held) >= num_rows:
            yield pa.concat_tables(held).combine_chunks()
            held = []
    if any(part.num_rows for part in held):
        yield pa.concat_tables(held).combine_chunks()
