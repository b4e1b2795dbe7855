"""The artworks to describe, with what is known of them: from annotations and their pictures, or from the rows of a score job."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from artquant.annotations.read import read_annotations
from artquant.config import ResolvedDescribeSpec
from artquant.core.errors import UserError
from artquant.core.scale import Scale
from artquant.core.schema import ARTWORK_ID, ETAG, GIVEN, NUM_RATERS, SCORE, SCORE_STD, SIZE_BYTES, URI
from artquant.prompts.asking import Statistics
from artquant.results.readers import latest_rows
from artquant.results.source import EXCLUDED, Source, catalog_schema
from artquant.storage.store import open_store

COMMENT = "comment"


@dataclass(frozen=True)
class Collection:
    """`rows`: of `catalog_schema` with `given`, a JSON object of the score, its spread, the raters and the comment; `images`: what ids are
    keys of, or None where each row has an address of its own."""

    rows: pa.Table
    source: Source
    images: str | None
    statistics: Statistics
    scale: Scale

    def tables(self) -> Iterator[pa.Table]:
        yield self.rows


def read_collection(spec: ResolvedDescribeSpec) -> Collection:
    """Read what is to be described; an artwork is changed where its picture, its score or its comment is another. Raises UserError."""
    rows = _scored(spec.scores) if spec.scores else _annotated(spec)
    if not rows:
        raise UserError("There is nothing to describe: no annotated artwork has a score and a picture.")
    listed = [
        {
            ARTWORK_ID: row[ARTWORK_ID],
            URI: row[URI],
            ETAG: hashlib.sha256(f"{row[ETAG]} {row[GIVEN]}".encode()).hexdigest()[:16],
            SIZE_BYTES: row[SIZE_BYTES],
            EXCLUDED: False,
            GIVEN: row[GIVEN],
        }
        for row in rows
    ]
    uri = str(spec.scores or spec.annotations.uri)
    source = Source("manifest", uri, carry=(GIVEN,))
    statistics = Statistics.of([json.loads(row[GIVEN])[SCORE] for row in rows])
    table = pa.Table.from_pylist(listed, catalog_schema((GIVEN,)))
    return Collection(table, source, None if spec.scores else spec.annotations.images, statistics, Scale(spec.annotations.level_values))


def _annotated(spec: ResolvedDescribeSpec) -> list[dict[str, Any]]:
    store = open_store(str(spec.annotations.images))
    there = {info.key: info for info in store.list()}
    rows = []
    for row in read_annotations(spec.annotations).table.to_pylist():
        info = there.get(row[ARTWORK_ID])
        if info is not None and row[SCORE] is not None:
            given = _given(row[SCORE], row.get("sigma"), row.get(NUM_RATERS), row.get(COMMENT))
            name = row[ARTWORK_ID]
            rows.append({ARTWORK_ID: name, URI: store.uri_of(name), ETAG: info.etag, SIZE_BYTES: info.size_bytes, GIVEN: given})
    return rows


def _scored(output: str) -> list[dict[str, Any]]:
    return [
        {
            ARTWORK_ID: row[ARTWORK_ID],
            URI: row[URI],
            ETAG: row[ETAG],
            SIZE_BYTES: None,
            GIVEN: _given(row[SCORE], row.get(SCORE_STD), None, None),
        }
        for row in latest_rows(output).to_pylist()
    ]


def _given(score: float, spread: float | None, raters: int | None, comment: str | None) -> str:
    return json.dumps({SCORE: round(score, 4), SCORE_STD: spread, NUM_RATERS: raters, COMMENT: comment or ""}, sort_keys=True)
