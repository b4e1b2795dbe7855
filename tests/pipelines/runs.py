"""A night's run and what it left, read as anybody reads it: by glob, or from `CURRENT` on."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet as pq

from artquant.config import ResolvedScoreSpec
from artquant.engines import Engine
from artquant.records.run import RunReport
from artquant.storage.store import Store
from tests.pipelines.engines import RED, RedEngine
from tests.recipes import recipe_for


def spec_for(source: Store, output: Store, model: Path | None = None, **changes: Any) -> ResolvedScoreSpec:
    places = {"input": source.uri, "output": output.uri, "model": str(model) if model else None}
    return ResolvedScoreSpec.model_validate({**places, "fetch": {"threads": 4}, **changes})


@dataclass(frozen=True)
class Run:
    spec: ResolvedScoreSpec
    report: RunReport
    source: Store
    output: Store

    def table(self, kind: str) -> pa.Table:
        return read_by_glob(self.output, kind)

    def rows(self, kind: str) -> dict[str, dict[str, Any]]:
        """artwork_id -> row, of all that the glob finds; each id once."""
        rows = self.table(kind).to_pylist()
        by_id = {row["artwork_id"]: row for row in rows}
        assert len(by_id) == len(rows)
        return by_id

    def document(self, name: str) -> dict[str, Any]:
        return json.loads(self.output.get(f"runs/{self.spec.run_id}/{name}"))


class Scorer:
    """What `make submit JOB=score` does once Ray is up, with the spec's model or an engine of the tests;
    `between` happens when the plan is made."""

    def score(
        self, spec: ResolvedScoreSpec, open_engine: Callable[[], Engine] | None = None, between: Callable[[], object] = lambda: None
    ) -> Run:
        from artquant.engines.open import resolve
        from artquant.engines.recipe import EngineRecipe
        from artquant.pipelines.score import claimed_night, run_score
        from artquant.results.plan import PlanSummary
        from artquant.storage.store import open_store

        if spec.model:
            recipe = recipe_for(spec)
        else:
            values = RedEngine.scale.values
            recipe = EngineRecipe(open_engine or RedEngine, RED, RedEngine.image_size, values, "red on cpu, float64", resolve(spec.engine))
        with claimed_night(spec, recipe.identity) as work:
            between()
            assert not isinstance(work, PlanSummary), "nothing was due"
            report = run_score(spec, recipe, work)
        return Run(spec, report, open_store(spec.input or spec.output), open_store(spec.output))


def read_by_glob(store: Store, kind: str) -> pa.Table:
    """All rows below `scores/` or `rejects/`, hive partitions as columns. An empty table where there is no such folder."""
    address = urlsplit(store.uri)
    if address.scheme == "s3":
        endpoint = urlsplit(os.environ["AWS_ENDPOINT_URL"])
        files: pyarrow.fs.FileSystem = pyarrow.fs.S3FileSystem(
            access_key=os.environ["AWS_ACCESS_KEY_ID"],
            secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
            endpoint_override=endpoint.netloc,
            scheme=endpoint.scheme,
            region="us-east-1",
        )
    else:
        files = pyarrow.fs.LocalFileSystem()
    selector = pyarrow.fs.FileSelector(f"{address.netloc}{address.path}/{kind}", allow_not_found=True, recursive=True)
    if not files.get_file_info(selector):
        return pa.table({"artwork_id": pa.array([], pa.string())})
    return pyarrow.dataset.dataset(selector.base_dir, filesystem=files, format="parquet", partitioning="hive").to_table()


def spelled_out(key: str, data: bytes) -> str:
    """All text that an object holds, Parquet unpacked."""
    if not key.endswith(".parquet"):
        return data.decode(errors="replace")
    table = pq.read_table(io.BytesIO(data))
    return f"{table.schema.metadata} {table.to_pylist()}"
