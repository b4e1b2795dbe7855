"""Outcomes to staged Parquet parts. What `on_write_complete` is handed are the results of exactly the write tasks that won."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from ray.data import Datasink
from ray.data.block import Block, BlockAccessor
from ray.data.datasource import WriteResult

from artquant.pipelines.rows import split
from artquant.results import layout
from artquant.results.publish import Part, write_part
from artquant.results.summary import Summary
from artquant.storage.store import open_store


@dataclass
class Written:
    """What write tasks made."""

    summary: Summary
    parts: list[Part] = field(default_factory=list)


class StagingSink(Datasink[Written]):
    """Each write task makes one part of scores and one of rejects below the run's staging prefix, under a name of its own:
    a task that is tried again leaves a part that nobody names, and that goes with the staging area."""

    def __init__(self, output_uri: str, run_id: str, level_values: tuple[float, ...], rows_per_file: int, progress: Any):
        self.output_uri, self.run_id, self.level_values, self.rows_per_file, self.progress = (
            output_uri,
            run_id,
            level_values,
            rows_per_file,
            progress,
        )
        self.written = Written(Summary(level_values))

    @property
    def min_rows_per_write(self) -> int:
        return self.rows_per_file

    def write(self, blocks: Iterable[Block], ctx: Any) -> Written:
        outcomes = pa.concat_tables([BlockAccessor.for_block(block).to_arrow() for block in blocks])
        scores, rejects = split(outcomes)
        store, attempt, made = open_store(self.output_uri), uuid.uuid4().hex, Written(Summary(self.level_values))
        kinds: tuple[tuple[layout.Kind, pa.Table], ...] = (("scores", scores), ("rejects", rejects))
        for kind, table in kinds:
            if table.num_rows:
                made.parts.append(write_part(store, kind, layout.staged_key(self.run_id, kind, attempt), table))
        made.summary.add_scores(scores.to_pydict())
        made.summary.add_rejects(rejects.to_pydict())
        self.progress.add.remote("write", outcomes.num_rows, 0.0)
        return made

    def on_write_complete(self, write_result: WriteResult[Written]) -> None:
        for made in write_result.write_returns:
            self.written.parts += made.parts
            self.written.summary.merge(made.summary)
