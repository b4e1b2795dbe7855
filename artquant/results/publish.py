"""From staged parts to a published run: prove that it adds up, make the parts visible, then move `CURRENT`, in this order."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from artquant.core.errors import RunFailed, UserError
from artquant.results import layout
from artquant.results.plan import PlanSummary, id_sum
from artquant.storage.store import FetchError, Store

_ID_SUM_KEY = b"artquant.id_sum"


@dataclass(frozen=True)
class Part:
    """One Parquet file of a run, as its footer has it."""

    kind: layout.Kind
    key: str
    num_rows: int
    num_bytes: int
    id_sum: int


def write_part(store: Store, kind: layout.Kind, key: str, table: pa.Table) -> Part:
    """Writes a table of `score_schema()` or `reject_schema()` as one object, its ids' checksum in the footer."""
    total = id_sum(table.column("artwork_id").to_pylist())
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), _ID_SUM_KEY: str(total).encode()})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", row_group_size=50_000)
    data = sink.getvalue().to_pybytes()
    store.put(key, data)
    return Part(kind, key, table.num_rows, len(data), total)


def read_footer(store: Store, part: Part) -> Part:
    """The part as its written file says, whatever the writer reported."""
    metadata = pq.read_metadata(store.open_input(part.key))
    return Part(part.kind, part.key, metadata.num_rows, part.num_bytes, int(metadata.metadata[_ID_SUM_KEY]))


def reconcile(plan: PlanSummary, parts: Iterable[Part]) -> tuple[int, int]:
    """(scored, rejected), once every planned artwork is in just one row. Raises RunFailed where it is not."""
    parts = list(parts)
    scored = sum(part.num_rows for part in parts if part.kind == "scores")
    rejected = sum(part.num_rows for part in parts if part.kind == "rejects")
    if scored + rejected != plan.num_planned:
        raise RunFailed(
            f"The run does not add up: {plan.num_planned} artworks due, {scored} scored and {rejected} rejected in the written files."
        )
    if sum(part.id_sum for part in parts) % 2**64 != plan.id_sum:
        raise RunFailed("The run does not add up: the written rows are not those of the planned artworks.")
    return scored, rejected


def placed(parts: Iterable[Part], model_id: str, run_date: date, run_id: str) -> list[tuple[Part, Part]]:
    """Each staged part with its published place; numbered in the order of the staged keys, so that publishing again does the same."""
    pairs, numbers = [], {"scores": 0, "rejects": 0}
    for part in sorted(parts, key=lambda part: part.key):
        key = layout.published_key(part.kind, model_id, run_date, run_id, numbers[part.kind])
        numbers[part.kind] += 1
        pairs.append((part, Part(part.kind, key, part.num_rows, part.num_bytes, part.id_sum)))
    return pairs


def publish(store: Store, run_id: str, pairs: list[tuple[Part, Part]], manifest: dict[str, Any]) -> None:
    """Copies the parts to their places, writes the manifest, and moves `CURRENT` to it, in this order."""
    for staged, published in pairs:
        store.copy(staged.key, published.key)
    manifest = {**manifest, "files": [asdict(published) for _, published in pairs]}
    key = layout.run_key(run_id, "manifest.json")
    store.put(key, json.dumps(manifest, indent=1, default=str).encode())
    _point_current(store, {"run_id": run_id, "manifest": key})


def drop_staging(store: Store, run_id: str) -> None:
    prefix = layout.staging_prefix(run_id)
    store.delete([info.key for info in store.list(prefix)])


def _point_current(store: Store, pointer: dict[str, Any]) -> None:
    """The last one wins, whole. An answer that was lost says nothing of the write: the store is asked what it has."""
    data = json.dumps(pointer).encode() + b"\n"
    try:
        store.put(layout.CURRENT, data)
    except UserError:
        try:
            is_there = store.get(layout.CURRENT) == data
        except FetchError:
            is_there = False
        if not is_there:
            raise
