"""Rows on their way from the engine to Parquet."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from artquant.core.schema import AT, REJECT_CLASS, REJECTED_AT, SCORED_AT, SHARD, reject_schema, score_schema


def outcome_schema() -> pa.Schema:
    """Return what the score stage hands on: all columns of scores and rejects (`reject_class`: '' for a score), the shard, one time."""
    fields = {
        field.name: field for schema in (score_schema(), reject_schema()) for field in schema if field.name not in (SCORED_AT, REJECTED_AT)
    }
    return pa.schema([*fields.values(), (SHARD, pa.int32()), (AT, pa.timestamp("us", tz="UTC"))])


def split(outcomes: pa.Table, carry: Sequence[str] = ()) -> tuple[pa.Table, pa.Table]:
    """Split a table of `outcome_schema()`, and the columns that are carried, into scores and rejects."""
    is_score = pc.equal(outcomes.column(REJECT_CLASS), "")
    scored = outcomes.filter(is_score)
    scores = scored.rename_columns([SCORED_AT if name == AT else name for name in scored.column_names])
    rejected = outcomes.filter(pc.invert(is_score))
    rejects = rejected.rename_columns([REJECTED_AT if name == AT else name for name in rejected.column_names])
    return _as(scores, score_schema(carry)), _as(rejects, reject_schema())


def _as(table: pa.Table, schema: pa.Schema) -> pa.Table:
    return table.select(schema.names).cast(schema)
