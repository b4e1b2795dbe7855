"""The stage of the describe job that asks the judge for single sentences."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa

from artquant.agreement.metrics import Interval
from artquant.config import ExamSpec, FetchSpec
from artquant.core import schema
from artquant.descriptions.claims import measure
from artquant.descriptions.exam import painted_rows
from artquant.descriptions.recipes import PlayerRecipe
from artquant.paintings.exam import square
from artquant.pipelines.describe_stages import RemoteBudget
from artquant.pipelines.frame import Batch, Stage
from artquant.pipelines.in_hand import OPENING
from artquant.pipelines.loader import Loader
from artquant.progress.stages import Counter
from artquant.prompts import Templates
from artquant.records.description import ClaimMarks, LevelClaims
from artquant.storage.store import open_store

CLAIMING = "single claims"


@dataclass(frozen=True, kw_only=True)
class ClaimSettings:
    """`rows`: (artwork_id, uri, level, texts) of kept descriptions."""

    judge: PlayerRecipe
    templates: Templates
    exam: ExamSpec
    rows: tuple[tuple[str, str, str, Mapping[str, str]], ...]
    images: str | None
    fetch: FetchSpec
    output: str
    purse: object
    stall_seconds: float
    counter: Counter
    suspicions: str = ""


class ClaimStage(Stage[Batch, pa.Table]):
    """One row in; the marks out, as JSON."""

    def __init__(self, settings: ClaimSettings):
        super().__init__(CLAIMING, settings)
        self.settings = settings

    def count(self, output: pa.Table) -> tuple[int, int]:
        return output.num_rows, 0

    def process(self, batch: Batch) -> Iterator[pa.Table]:
        given = self.settings
        with self.in_hand.holding(OPENING):
            judge = given.judge.open()
        loader = Loader(given.images, judge.image_size, given.fetch, self.in_hand)
        places = [{schema.ARTWORK_ID: name, schema.URI: uri, schema.ETAG: ""} for name, uri, _, _ in given.rows]
        pixels, loading = loader.begin(places)
        found = [one.result() for one in loading]
        there = [row for row, one in enumerate(found) if not one[schema.REJECT_CLASS]]
        kept = [(given.rows[row][0], found[row][schema.ETAG], *given.rows[row][2:]) for row in there]
        paintings = painted_rows(given.exam.size)
        squares = np.stack([square(row["seed"], judge.image_size) for row in paintings])
        asker = given.judge.asker(judge, open_store(given.output), RemoteBudget(given.purse), given.templates.judge.digest)
        marks = measure(asker, given.templates.judge, (paintings, squares), (kept, pixels[there]), given.exam)
        yield pa.table({"marks": [json.dumps(asdict(marks))]})


def marks_of(document: str) -> ClaimMarks:
    """Read what the stage made."""
    given = json.loads(document)
    levels = [LevelClaims(one["level"], one["num"], Interval(*one["unsupported"])) for one in given.pop("levels")]
    return ClaimMarks(**given, levels=levels)
