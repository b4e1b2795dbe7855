"""The theory's terms of artworks that have descriptions, on Ray Data: fetch, decode and ask the network, in one stage."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import ray
from ray.data import ActorPoolStrategy

from artquant.config import EngineSpec, FetchSpec
from artquant.core import schema
from artquant.core.errors import Reject, RunFailed, root_cause
from artquant.engines import Engine
from artquant.pipelines.frame import Batch, Stage
from artquant.pipelines.in_hand import OPENING
from artquant.pipelines.loader import Loader
from artquant.pipelines.run import data_context
from artquant.pipelines.sizing import BLOCK_BYTES, share_of
from artquant.progress.stages import Counter, show_progress

BATCH_ROWS = 8  # artworks in one pass: their texts are far longer than a score's prompt
TERMS = ("description_nll", "other_description_nll", "num_description_tokens")  # columns of `schema.evaluation_schema()`
THEORY = "theory"  # the stage, as the display names it


@dataclass(frozen=True, kw_only=True)
class TheorySettings:
    """What a worker that estimates the terms is started with."""

    open_engine: Callable[[], Engine]
    images: str
    fetch: FetchSpec
    stall_seconds: float
    counter: Counter
    suspicions: str = ""


class TheoryStage(Stage[Batch, Batch]):
    """Rows with `artwork_id` and the three texts in; out: `artwork_id` and TERMS, nan where the picture is gone or the texts do not fit.

    The other picture is the batch's next one; where there is none, `other_description_nll` is nan.
    """

    def __init__(self, settings: TheorySettings):
        from artquant.engines.theory import TheoryEngine
        from artquant.engines.torch_engine import TorchEngine

        super().__init__(THEORY, settings)
        with self.in_hand.holding(OPENING):
            engine = settings.open_engine()
        assert isinstance(engine, TorchEngine), "the theory needs the network itself"
        self.theory = TheoryEngine(engine)
        self.loader = Loader(settings.images, engine.image_size, settings.fetch, self.in_hand)

    def process(self, batch: Batch) -> Iterator[Batch]:
        rows = [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
        pixels, loading = self.loader.begin([{schema.ARTWORK_ID: row[schema.ARTWORK_ID], schema.ETAG: ""} for row in rows])
        usable = [i for i, loaded in enumerate(loading) if not loaded.result()[schema.REJECT_CLASS] and self.theory.fits(rows[i])]
        terms = {name: np.full(len(rows), np.nan) for name in TERMS}

        def estimate(indices: list[int]) -> list[tuple[float, ...]]:
            chosen = [usable[i] for i in indices]
            descriptions = [rows[i] for i in chosen]
            nll, num_tokens = self.theory.description_nll(pixels[chosen], descriptions)
            others = np.full(len(chosen), np.nan)
            if len(chosen) > 1:
                others, _ = self.theory.description_nll(np.roll(pixels[chosen], 1, axis=0), descriptions)
            return list(zip(nll, others, num_tokens, strict=True))

        estimates = self.in_hand.handle("estimating", [rows[i][schema.ARTWORK_ID] for i in usable], estimate)
        for i, estimated in zip(usable, estimates, strict=True):
            for name, value in zip(TERMS, (np.nan,) * 3 if isinstance(estimated, Reject) else estimated, strict=True):
                terms[name][i] = value
        yield {schema.ARTWORK_ID: batch[schema.ARTWORK_ID], **terms}

    def count(self, output: Batch) -> tuple[int, int]:
        return len(output[schema.ARTWORK_ID]), int(np.isnan(output["description_nll"]).sum())


def theory_terms(rows: Sequence[dict[str, str]], settings: TheorySettings, engine: EngineSpec) -> dict[str, dict[str, float]]:
    """Return artwork_id -> its TERMS, for those of `rows` that have them. Ray must be running. Raises RunFailed."""
    num_batches = -(-len(rows) // BATCH_ROWS)
    with data_context(BLOCK_BYTES, is_ordered=False), show_progress(settings.counter, len(rows), THEORY):
        dataset = ray.data.from_items(list(rows), override_num_blocks=num_batches).map_batches(
            TheoryStage,
            fn_constructor_args=(replace(settings, fetch=share_of(settings.fetch, engine.num_workers)),),
            batch_size=BATCH_ROWS,
            compute=ActorPoolStrategy(size=min(engine.num_workers, num_batches)),
            num_cpus=engine.num_cpus,
            num_gpus=engine.num_gpus or None,
        )
        try:
            made = dataset.take_all()
        except (ray.exceptions.RayError, RuntimeError) as error:
            raise RunFailed(f"The theory's terms could not be estimated: {root_cause(error)}; theory=false leaves them out.") from error
    return {row.pop(schema.ARTWORK_ID): row for row in made if not np.isnan(row["description_nll"])}
