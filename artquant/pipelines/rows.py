"""Rows on their way from the engine to Parquet."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from artquant.config import ReviewSpec
from artquant.core.scale import Scale, score_statistics
from artquant.core.schema import CRITIQUE_PARTS, PROBABILITY_COLUMNS, reject_schema, score_schema
from artquant.engines import Assessment


def outcome_schema() -> pa.Schema:
    """Return what the score stage hands on: all columns of scores and rejects (`reject_class` is '' for a score), and one time."""
    fields = {
        field.name: field
        for schema in (score_schema(), reject_schema())
        for field in schema
        if field.name not in ("scored_at", "rejected_at")
    }
    return pa.schema([*fields.values(), ("at", pa.timestamp("us", tz="UTC"))])


def score_columns(assessments: list[tuple[Assessment, int]], scale: Scale, review: ReviewSpec) -> dict[str, list[Any]]:
    """(assessment, row in it) of N artworks -> the columns that depend on the engine's answer, N values each."""
    probabilities = np.array([assessment.probabilities[row] for assessment, row in assessments]).reshape(-1, len(PROBABILITY_COLUMNS))
    mass = np.array([assessment.open_set_mass[row] for assessment, row in assessments])
    statistics = score_statistics(probabilities, scale)
    needs_review = (mass < review.min_open_set_mass) | (statistics["score_std"] > review.max_score_std)
    columns = {name: values.tolist() for name, values in statistics.items()}
    columns |= {name: probabilities[:, i].tolist() for i, name in enumerate(PROBABILITY_COLUMNS)}
    columns |= {"open_set_mass": mass.tolist(), "needs_review": needs_review.tolist()}
    critiques = [assessment.critiques[row] or {} for assessment, row in assessments]
    columns |= {part: [critique.get(part) for critique in critiques] for part in CRITIQUE_PARTS}
    return columns | {"critique_status": [assessment.critique_statuses[row] for assessment, row in assessments]}


def split(outcomes: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Split a table of `outcome_schema()` into scores and rejects."""
    is_score = pc.equal(outcomes.column("reject_class"), "")
    scored = outcomes.filter(is_score)
    scores = scored.rename_columns(["scored_at" if name == "at" else name for name in scored.column_names])
    rejected = outcomes.filter(pc.invert(is_score))
    rejects = rejected.rename_columns(["rejected_at" if name == "at" else name for name in rejected.column_names])
    return _as(scores, score_schema()), _as(rejects, reject_schema())


def _as(table: pa.Table, schema: pa.Schema) -> pa.Table:
    return table.select(schema.names).cast(schema)
