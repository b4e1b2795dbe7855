"""Critiques that wait: which scored artworks lack their texts, and whose turn comes first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from artquant.core.identity import Identity
from artquant.core.schema import (
    ARTWORK_ID,
    CRITIQUE_STATUS,
    DTYPE,
    MODEL_DIGEST,
    NEEDS_REVIEW,
    PREPROCESSING_DIGEST,
    PROMPT_DIGEST,
    REASON,
    SCORED_AT,
    CritiqueStatus,
    Reason,
)
from artquant.results.snapshots import Snapshot
from artquant.storage.store import Store

PRIORITIES = ("new", "uncertain", "rest")
_IDENTITY = (MODEL_DIGEST, PROMPT_DIGEST, PREPROCESSING_DIGEST, DTYPE)
_COLUMNS = [ARTWORK_ID, REASON, NEEDS_REVIEW, SCORED_AT, CRITIQUE_STATUS, *_IDENTITY]


@dataclass(frozen=True)
class Queue:
    """Texts alone are asked for, of so many artworks at the most; `since`: what was new since then comes first."""

    room: int
    since: datetime


def scores_of(store: Store, snapshot: Snapshot | None) -> Iterator[pa.Table]:
    """Yield the columns of the snapshot's scores that priorities are read from, row group by row group."""
    for file in snapshot.files if snapshot else ():
        if file.kind == "scores":
            parquet = pq.ParquetFile(store.open_input(file.data), pre_buffer=False)
            for number in range(parquet.num_row_groups):
                yield parquet.read_row_group(number, columns=_COLUMNS)


def next_in_line(scores: Iterable[pa.Table], identity: Identity, queue: Queue) -> pa.Array:
    """Return the ids of at most `queue.room` artworks that this scorer scored without texts: new ones first, then those whose score asks
    for a person's eye, then the rest; within each as they come. Memory grows with the room alone."""
    held: dict[str, list[pa.Array]] = {name: [] for name in PRIORITIES}
    counts: Counter[str] = Counter()
    for table in scores:
        table = table.filter(pc.equal(table.column(CRITIQUE_STATUS), CritiqueStatus.NOT_REQUESTED.value))
        for name in _IDENTITY:
            table = table.filter(pc.equal(table.column(name), getattr(identity, name)))
        fresh = pc.is_in(table.column(REASON), pa.array([Reason.NEW.value, Reason.CHANGED.value]))
        is_new = pc.and_(fresh, pc.greater_equal(table.column(SCORED_AT), pa.scalar(queue.since, table.schema.field(SCORED_AT).type)))
        masks = np.where(is_new, 0, np.where(pc.fill_null(table.column(NEEDS_REVIEW), False), 1, 2))
        for rank, name in enumerate(PRIORITIES):
            ids = table.column(ARTWORK_ID).filter(pa.array(masks == rank)).slice(0, queue.room - counts[name])
            counts[name] += len(ids)
            held[name].extend(ids.chunks)
    line = pa.chunked_array([chunk for name in PRIORITIES for chunk in held[name]], pa.string())
    return line.slice(0, queue.room).combine_chunks()
