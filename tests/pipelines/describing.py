"""A small collection, a server that knows it, and the describe job over both."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from artquant.config import ResolvedDescribeSpec
from artquant.core.schema import CRITIQUE_PARTS
from artquant.descriptions.exam import painted_rows
from artquant.paintings.exam import square
from artquant.storage.store import Store, open_store
from tests.pipelines.runs import read_by_glob

SIZE, EXAM = 48, 4
COLOURS = ("red", "green", "blue", "ochre", "violet", "grey", "black", "white", "amber", "teal", "rose", "olive")


@dataclass(frozen=True)
class World:
    """`known`: what a server is to know: the collection's pictures, and those of the exam."""

    root: Path
    rows: list[dict[str, Any]]
    known: list[tuple[np.ndarray, Mapping[str, Any]]]

    @property
    def output(self) -> Store:
        return open_store(f"file:{self.root}/out")

    def settings(self, url: str, **changes: Any) -> dict[str, Any]:
        player = {"base_url": url, "timeout_seconds": 20.0, "picture_tokens": 100, "max_tokens": 300, "concurrency": 4}
        return {
            "annotations": {"uri": f"{self.root}/ratings.parquet", "images": f"file:{self.root}/art"},
            "output": self.output.uri,
            "generator": player | {"model": "writer"},
            "judge": player | {"model": "critic"},
            "exam": {"size": EXAM},
            "claims": 0,
            "picture_size": SIZE,
            "workers": {"shard_rows": 4},
            "fetch": {"threads": 2},
        } | changes

    def described(self) -> dict[str, dict[str, Any]]:
        return {row["artwork_id"]: row for row in read_by_glob(self.output, "descriptions").to_pylist()}

    def set_aside(self) -> dict[str, dict[str, Any]]:
        return {row["artwork_id"]: row for row in read_by_glob(self.output, "rejects").to_pylist()}


def make_world(root: Path, num: int = 12) -> World:
    (root / "art").mkdir(parents=True)
    rows, known = [], []
    for number, colour in enumerate(COLOURS[:num]):
        rng = np.random.default_rng(number)
        small = rng.integers(0, 255, (4, 4, 3), np.uint8)
        pixels = small.repeat(SIZE // 4, 0).repeat(SIZE // 4, 1)
        Image.fromarray(pixels).save(root / "art" / f"{number:02d}.png")
        texts = {part: f"The {part} of {colour} is the one that it has." for part in CRITIQUE_PARTS}
        row = {"artwork_id": f"{number:02d}.png", "score": 1.0 + 9 * number / (num - 1), "comment": f"seen by number {number}"}
        rows.append(row)
        known.append((pixels, {**row, **texts, "score": round(row["score"], 1)}))
    pq.write_table(pa.Table.from_pylist(rows), root / "ratings.parquet")
    known += [(square(row["seed"], SIZE), row) for row in painted_rows(EXAM)]
    return World(root, rows, known)


def describe(spec: Mapping[str, Any]) -> Any:
    """What `make submit JOB=describe` does once Ray is up; None where nothing is due."""
    from artquant.cli.describe import players_of
    from artquant.descriptions.collection import read_collection
    from artquant.pipelines.describe import claimed_descriptions, run_describe
    from artquant.results.plan import PlanSummary

    typed = ResolvedDescribeSpec.model_validate(spec)
    players, collection = players_of(typed), read_collection(typed)
    with claimed_descriptions(typed, players, collection) as work:
        return None if isinstance(work, PlanSummary) else run_describe(typed, players, collection, work)


def asked(requests: list[dict[str, Any]]) -> list[str]:
    """What was asked, one text a request: two that are alike are the same question asked twice."""
    return [json.dumps(one, sort_keys=True) for one in requests]
