"""How a collection is cut, and for how many workers."""

from __future__ import annotations

import pytest

from artquant.config import EngineSpec, FetchSpec, FitSpec
from artquant.pipelines.sizing import fetch_workers, lacking, rows_per_block, shards_per_task


@pytest.mark.parametrize(
    "asked, num_gpus, num_cpus, expected",
    [(None, 0, 16, 0), (None, 1, 16, 8), (None, 1, 5, 2), (None, 1, 1, 1), (0, 1, 16, 0), (3, 0, 16, 3), (3, 1, 2, 3)],
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
    [(1_000_000, 1, 448, 96), (1_000_000, 1, 16, 87_360), (600, 2, 448, 32), (1_024, 2, 112, 64), (600, 2, 112, 32), (3, 8, 448, 32)],
)
def test_blocks_are_whole_batches_and_fewer_for_small_collections(num_planned: int, num_workers: int, side: int, expected: int) -> None:
    rows = rows_per_block(num_planned, 32, num_workers, side * side * 3)
    assert rows == expected and isinstance(rows, int)


@pytest.mark.parametrize(
    "engine, fit, num_cpus, num_gpus, said",
    [
        ({}, None, 1.5, 0, None),  # an engine and Ray itself
        ({}, None, 1, 0, "engine.num_workers=1 with engine.num_cpus=0.5 each needs 1.5 of Ray's CPUs, fetch.num_workers=0 and Ray itself"),
        ({"num_workers": 2, "num_cpus": 1.5}, None, 3, 0, "engine.num_cpus=1.5 each needs 4 of Ray's CPUs"),
        ({"num_gpus": 1}, None, 2, 1, None),  # one process fetches with half a CPU
        (
            {"num_gpus": 1},
            None,
            1.5,
            1,
            "each needs 2 of Ray's CPUs, fetch.num_workers=1 and Ray itself included, and this machine has 1.5:",
        ),
        ({"num_gpus": 1}, None, 9, 0, "engine.num_gpus=1, but Ray sees no GPU on this machine: set engine.num_gpus=0 to use the CPU"),
        ({"num_gpus": 0.5, "num_workers": 3}, None, 9, 1, "engine.num_gpus=0.5 for each of engine.num_workers=3, but Ray sees 1 GPU"),
        ({"num_gpus": 0.5, "num_workers": 2}, None, 9, 1, None),
        ({}, {"num_workers": 2, "num_cpus": 2}, 4, 0, None),
        ({}, {"num_workers": 2, "num_cpus": 2}, 3, 0, "fit.num_workers=2 with fit.num_cpus=2 each needs 4 of Ray's CPUs, and this machine"),
        ({}, {"num_gpus": 3}, 9, 2, "fit.num_gpus=3, but Ray sees 2 GPU on this machine: set fit.num_gpus=0"),
    ],
)
def test_what_would_wait_for_ever_is_said_with_what_to_do(
    engine: dict, fit: dict | None, num_cpus: float, num_gpus: float, said: str | None
) -> None:
    why = lacking(FetchSpec(), EngineSpec(**engine), num_cpus, num_gpus, FitSpec(**fit) if fit else None)
    assert why == said is None or (why and said and said in why and why.endswith("RAY_ADDRESS."))
