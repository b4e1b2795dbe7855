"""Work in waves: a plan of its own for what is due next, with the same shards and records, below the night's work.

A wave's rows are those that the last one left open, and new ones. Its plan is stored before it begins: whoever goes on follows it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from artquant.core.schema import ARTWORK_ID, plan_schema
from artquant.results import layout
from artquant.results.ledger import ledger_schema
from artquant.results.plan import Draft, Plan, PlanSummary, store_plan
from artquant.storage.store import Store


def wave_work(work: str, number: int) -> str:
    """Return the folder of the work's wave, as a work of its own."""
    return f"{work}/waves/{number:05d}"


def open_wave(store: Store, work: str, number: int) -> Plan | None:
    """Return the plan of a wave that was begun; None where it was not."""
    key = layout.plan_key(wave_work(work, number))
    return Plan(store, key) if store.exists(key) else None


def begin_wave(store: Store, work: str, number: int, rows: Sequence[Mapping[str, Any]], shard_rows: int, columns: Sequence[str]) -> Plan:
    """Store the plan of a wave: rows of `plan_schema(columns)`, cut into shards in the order of their ids."""
    table = pa.Table.from_pylist(sorted(rows, key=lambda row: str(row[ARTWORK_ID])), plan_schema(columns))
    with tempfile.TemporaryDirectory(prefix="artquant-wave-") as folder:
        path = Path(folder) / "plan.parquet"
        pq.write_table(table, path, row_group_size=shard_rows, compression="zstd")
        num_shards = -(-table.num_rows // shard_rows)
        key = layout.plan_key(wave_work(work, number))
        store_plan(store, key, Draft(path, ledger_schema().empty_table(), PlanSummary(table.num_rows, 0, num_shards, {}, {})))
    return Plan(store, key)
