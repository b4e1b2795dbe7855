"""Pictures for training, streamed in a given order through Ray Data with the score job's own fetch and decode."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
from ray.data import ActorPoolStrategy, DataContext

from artquant.config import FetchSpec
from artquant.core.schema import ARTWORK_ID, ETAG, PIXELS, REJECT_CLASS
from artquant.pipelines.frame import Batch
from artquant.pipelines.in_hand import of_this_worker
from artquant.pipelines.loader import Loader
from artquant.pipelines.sizing import share_of
from artquant.pipelines.stages import batched

_BLOCK_BYTES = 16 << 20


class ReadStage:
    """Block numbers in; pixels (N, S, S, 3) uint8 and presence (N,) bool of the block's artworks out."""

    def __init__(self, artwork_ids: Any, block_rows: int, images_uri: str, image_size: int, spec: FetchSpec, stall_seconds: float):
        self.loader = Loader(images_uri, image_size, spec, of_this_worker(stall_seconds))
        self.blocks = list(batched(ray.get(artwork_ids["ids"]), block_rows))

    def __call__(self, batch: Batch) -> Iterator[Batch]:
        for number in batch["id"].tolist():
            pixels, loading = self.loader.begin([{ARTWORK_ID: name, ETAG: ""} for name in self.blocks[number]])
            yield {"is_there": np.array([not loaded.result()[REJECT_CLASS] for loaded in loading]), PIXELS: pixels}


@dataclass(frozen=True)
class PictureFeed:
    """An :class:`artquant.training.data.PictureSource` over a collection in object storage. Picklable."""

    images_uri: str
    fetch: FetchSpec
    stall_seconds: float

    def read(self, artwork_ids: Sequence[str], size: int, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        if not artwork_ids:
            return
        context = DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True
        block_rows = max(1, min(_BLOCK_BYTES // (size * size * 3), len(artwork_ids)))
        num_blocks = -(-len(artwork_ids) // block_rows)
        context.target_max_block_size = max(1 << 20, 2 * block_rows * size * size * 3)
        num_workers = self.fetch.num_workers or 1
        dataset = ray.data.from_items([{"id": number} for number in range(num_blocks)], override_num_blocks=num_blocks).map_batches(
            ReadStage,
            # The ids travel by reference: a list of them may be long.
            fn_constructor_args=(
                {"ids": ray.put(list(artwork_ids))},
                block_rows,
                self.images_uri,
                size,
                share_of(self.fetch, num_workers),
                self.stall_seconds,
            ),
            batch_size=1,
            compute=ActorPoolStrategy(size=num_workers),
            num_cpus=0.5,
        )
        for batch in dataset.iter_batches(batch_size=batch_size, batch_format="numpy", prefetch_batches=2):
            yield batch[PIXELS], batch["is_there"]
