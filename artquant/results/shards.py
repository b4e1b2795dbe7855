"""The unit of work: a shard's outcomes are an attempt until a record names it, and a record is created once. What has one is never done
again, whoever goes on."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from artquant.core.errors import RunFailed
from artquant.core.schema import ARTWORK_ID, SHARD
from artquant.results import layout
from artquant.results.datafiles import read_table
from artquant.results.plan import Plan
from artquant.storage.store import Conflict, Store


@dataclass(frozen=True)
class ShardRecord:
    """Which attempt stands for the shard."""

    shard: int
    attempt: str
    num_rows: int
    num_bytes: int
    etag: str


def records(store: Store, work: str, plan: Plan) -> dict[int, ShardRecord]:
    """Return the shards that are done: one listing, and a small object for each."""
    keys = [info.key for info in store.list(layout.shards_prefix(work)) if info.key.endswith(f"-{plan.digest}.json")]
    with ThreadPoolExecutor(16) as pool:  # small objects, one round trip each
        found = [ShardRecord(**json.loads(data)) for data in pool.map(store.get, keys)]
    return {record.shard: record for record in found}


def write_shard(store: Store, work: str, plan: Plan, number: int, outcomes: pa.Table) -> ShardRecord:
    """Write an attempt and its record; where another's record is there already, that one stands."""
    key = layout.attempt_key(work, number, secrets.token_hex(6))
    sink = pa.BufferOutputStream()
    pq.write_table(outcomes, sink, compression="zstd")
    data = sink.getvalue().to_pybytes()
    record = ShardRecord(number, key, outcomes.num_rows, len(data), store.put(key, data))
    place = layout.shard_key(work, number, plan.digest)
    try:
        store.put_if_absent(place, json.dumps(asdict(record)).encode())
    except Conflict:
        winner = ShardRecord(**json.loads(store.get(place)))
        if winner != record:
            store.delete(key)
        return winner
    return record


def read_shard(store: Store, record: ShardRecord) -> pa.Table:
    """Return the outcomes of a shard. Raises RunFailed where the object is not the one that the record names."""
    info = store.head(record.attempt)
    if info.size_bytes != record.num_bytes or (record.etag and info.etag and info.etag != record.etag):
        raise RunFailed(f"{store.uri_of(record.attempt)} is not what was written: somebody else writes below {store.uri}.")
    return read_table(store, record.attempt)


class ShardCollector:
    """Gathers outcomes, which come in any order, and writes each shard as soon as it is whole. Called by one thread."""

    def __init__(self, store: Store, work: str, plan: Plan, on_written: Callable[[ShardRecord], None] = lambda record: None):
        self.store, self.work, self.plan, self.on_written = store, work, plan, on_written
        self.expected = plan.shard_rows
        self.open: dict[int, list[pa.Table]] = {}
        self.pool = ThreadPoolExecutor(4)
        self.writing: list[Future[ShardRecord]] = []

    def add(self, outcomes: pa.Table) -> None:
        """Raise RunFailed where a shard gets an artwork twice."""
        numbers = outcomes.column(SHARD).to_numpy()
        starts = [0, *(i for i in range(1, len(numbers)) if numbers[i] != numbers[i - 1]), len(numbers)]
        for start, stop in zip(starts, starts[1:], strict=False):
            if stop > start:
                self._add(int(numbers[start]), outcomes.slice(start, stop - start))

    def _add(self, number: int, part: pa.Table) -> None:
        parts = self.open.setdefault(number, [])
        parts.append(part.drop_columns(SHARD))
        num_rows = sum(one.num_rows for one in parts)
        if num_rows < self.expected[number]:
            return
        table = pa.concat_tables(self.open.pop(number)).sort_by(ARTWORK_ID)
        check_ids(self.plan, number, table)
        self.writing.append(self.pool.submit(self._write, number, table))
        while len(self.writing) > 16:  # what is not written yet is held
            self.writing.pop(0).result()

    def _write(self, number: int, table: pa.Table) -> ShardRecord:
        record = write_shard(self.store, self.work, self.plan, number, table)
        self.on_written(record)
        return record

    def stop(self) -> list[pa.Table]:
        """Wait until what is whole is written, and return the outcomes of the other shards."""
        for writing in self.writing:
            writing.result()
        self.pool.shutdown()
        return [part for parts in self.open.values() for part in parts]

    def finish(self) -> None:
        """Wait until all is written. Raises RunFailed where a shard stayed short of artworks."""
        self.stop()
        if self.open:
            number = min(self.open)
            came = sum(one.num_rows for one in self.open[number])
            raise RunFailed(f"The run does not add up: {came} of {self.expected[number]} artworks of shard {number} came through.")


def check_ids(plan: Plan, number: int, table: pa.Table) -> None:
    """Raise RunFailed where the rows are not the shard's artworks, each once."""
    if not table.column(ARTWORK_ID).combine_chunks().equals(plan.ids(number).combine_chunks()):
        raise RunFailed(f"The run does not add up: the rows of shard {number} are not those of the planned artworks.")


def missing(plan: Plan, done: Mapping[int, ShardRecord]) -> list[int]:
    return [number for number in range(len(plan.shard_rows)) if number not in done]
