"""The view: `scores/` and `rejects/` as a projection of the last snapshot, for everybody who reads by glob.

Any process may repair it at any time, and whatever a slow one still does is harmless: a name only goes from absent to data to an empty file
(a tombstone), and what comes back comes under a new name. What goes out goes first: a row may lag, it is never there twice.
"""

from __future__ import annotations

from functools import cache

import pyarrow as pa
import pyarrow.parquet as pq

from artquant.core.schema import reject_schema
from artquant.results import layout
from artquant.results.rows import KINDS
from artquant.results.snapshots import DataFile, Snapshot, head, point_current
from artquant.storage.store import Conflict, Store


@cache
def tombstone(kind: layout.Kind) -> bytes:
    """Return a Parquet file without rows, of the kind's schema."""
    schema = KINDS[kind].schema() if kind in KINDS else reject_schema()
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink)
    return bytes(sink.getvalue())


def repair(store: Store) -> Snapshot | None:
    """Make the view and CURRENT what the last snapshot says, and return it. The last act of every command, whatever came before."""
    while True:
        last = head(store)
        if last is None:
            return None
        folders = dict.fromkeys(("scores", "rejects", *(file.kind for file in (*last.files, *last.removed))))
        present = {info.key: info.size_bytes for folder in folders for info in store.list(folder)}
        for file in last.removed:
            _bury(store, file, present.get(file.view))
        for file in last.files:
            if file.view not in present and file.view != file.data:
                try:
                    store.put_if_absent(file.view, store.get(file.data))
                except Conflict:
                    continue
        point_current(store, last)
        newest = head(store)
        if newest is None or newest.number == last.number:
            return last


def _bury(store: Store, file: DataFile, size_bytes: int | None) -> None:
    empty = tombstone(file.kind)
    if size_bytes == len(empty):
        return
    if size_bytes is None:
        try:
            store.put_if_absent(file.view, empty)
            return
        except Conflict:
            pass  # a slow copier brought the file in just now
    store.put(file.view, empty)
