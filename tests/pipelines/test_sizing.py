"""How a collection is cut, and for how many workers."""

from __future__ import annotations

import pytest

from artquant.config import EngineSpec, FetchSpec
from artquant.pipelines.sizing import fetch_workers, rows_per_block, shards_per_task


@pytest.mark.parametrize(
    "asked, num_gpus, num_cpus, expected", [(None, 0, 16, 0), (None, 1, 16, 8), (None, 1, 1, 1), (0, 1, 16, 0), (3, 0, 16, 3), (3, 1, 2, 3)]
)
def test_who_fetches(asked: int | None, num_gpus: int, num_cpus: int, expected: int) -> None:
    assert fetch_workers(FetchSpec(num_workers=asked), EngineSpec(num_gpus=num_gpus), num_cpus) == expected


@pytest.mark.parametrize(
    "num_planned, num_shards, num_workers, expected",
    [
        (60, 1, 1, 1),
        (5_000, 40, 1, 10),  # four tasks for one worker
        (5_000, 40, 8, 1),  # all workers have something to do
        (90_000, 704, 1, 16),  # 2,048 artworks
        (10_000_000, 4_883, 8, 1),  # a large collection's shard is that large already
    ],
)
def test_how_many_shards_a_task_is(num_planned: int, num_shards: int, num_workers: int, expected: int) -> None:
    assert shards_per_task(num_planned, num_shards, num_workers) == expected


@pytest.mark.parametrize(
    "num_planned, num_workers, side, expected",
    [(1_000_000, 1, 448, 96), (1_000_000, 1, 16, 87_360), (600, 2, 448, 32), (600, 2, 112, 32), (3, 8, 448, 32)],
)
def test_blocks_are_whole_batches_and_fewer_for_small_collections(num_planned: int, num_workers: int, side: int, expected: int) -> None:
    assert rows_per_block(num_planned, 32, num_workers, side * side * 3) == expected
