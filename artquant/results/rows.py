"""Rows on their way from the engine to Parquet."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from artquant.core.schema import (
    AT,
    DESCRIBED_AT,
    REJECT_CLASS,
    REJECTED_AT,
    SCORED_AT,
    SHARD,
    description_schema,
    reject_schema,
    score_schema,
)
from artquant.results import layout


@dataclass(frozen=True)
class RowKind:
    """What a job publishes beside its rejects: the folder, the columns, and the one that says when a row was made."""

    name: layout.Kind
    schema: Callable[..., pa.Schema]
    time: str


SCORES = RowKind("scores", score_schema, SCORED_AT)
DESCRIPTIONS = RowKind("descriptions", description_schema, DESCRIBED_AT)
KINDS = {kind.name: kind for kind in (SCORES, DESCRIPTIONS)}


def outcome_schema(kind: RowKind = SCORES) -> pa.Schema:
    """Return what the score stage hands on: all columns of scores and rejects (`reject_class`: '' for a score), the shard, one time."""
    fields = {
        field.name: field for schema in (kind.schema(), reject_schema()) for field in schema if field.name not in (kind.time, REJECTED_AT)
    }
    return pa.schema([*fields.values(), (SHARD, pa.int32()), (AT, pa.timestamp("us", tz="UTC"))])


def split(outcomes: pa.Table, carry: Sequence[str] = (), kind: RowKind = SCORES) -> tuple[pa.Table, pa.Table]:
    """Split a table of `outcome_schema()`, and the columns that are carried, into scores and rejects."""
    is_score = pc.equal(outcomes.column(REJECT_CLASS), "")
    scored = outcomes.filter(is_score)
    scores = scored.rename_columns([kind.time if name == AT else name for name in scored.column_names])
    rejected = outcomes.filter(pc.invert(is_score))
    rejects = rejected.rename_columns([REJECTED_AT if name == AT else name for name in rejected.column_names])
    return _as(scores, kind.schema(carry)), _as(rejects, reject_schema())


def _as(table: pa.Table, schema: pa.Schema) -> pa.Table:
    return table.select(schema.names).cast(schema)
