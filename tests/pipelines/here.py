"""A run without Ray, for tests whose property needs no other process: the stages work here, one after another.

The plan, the stages and the stores are the real ones, and what a stage is started with is pickled as on its way to a worker. What Ray
schedules, restarts or ends is seen by the tests that take `scorer`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import ray
from ray import cloudpickle

from artquant.pipelines import run, theory
from artquant.progress import stages as progress
from tests.pipelines.runs import Run, Scorer

_actors: list[Any] = []


class Actor:
    """`actor.method.remote(...)` is the call itself; a pickled copy is the same actor."""

    def __init__(self, target: Any):
        self.target, self.number = target, len(_actors)
        _actors.append(self)

    def __getattr__(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(remote=getattr(self.target, name))

    def __reduce__(self) -> tuple[Any, ...]:
        return actor, (self.number,)


def actor(number: int) -> Actor:
    return _actors[number]


class Dataset:
    def __init__(self, blocks: Iterable[Any]):
        self.blocks = blocks

    def map_batches(self, stage: type, *, fn_constructor_args: tuple[Any, ...], **options: Any) -> Dataset:
        def outputs() -> Iterator[Any]:
            worker = stage(*cloudpickle.loads(cloudpickle.dumps(fn_constructor_args)))
            for block in self.blocks:
                yield from worker(block)

        return Dataset(outputs())

    def iter_batches(self, **options: Any) -> Iterator[Any]:
        return iter(self.blocks)


@contextmanager
def without_ray() -> Iterator[None]:
    """Runs of the block stay in this process, whether Ray is up or not."""

    def from_items(items: list[dict[str, int]], **options: Any) -> Dataset:
        return Dataset({name: np.array([value]) for name, value in item.items()} for item in items)

    data = SimpleNamespace(from_items=from_items)
    here = SimpleNamespace(
        data=data,
        exceptions=ray.exceptions,
        cluster_resources=lambda: {"CPU": 4.0},
        get=lambda value: value,
        get_runtime_context=lambda: SimpleNamespace(get_node_id=lambda: "1" * 56),
        remote=lambda **options: lambda kind: SimpleNamespace(options=lambda **more: SimpleNamespace(remote=lambda: Actor(kind()))),
    )
    with pytest.MonkeyPatch.context() as patch:
        for module in (run, theory, progress):
            patch.setattr(module, "ray", here)
        yield


class ScorerHere(Scorer):
    def score(self, *given: Any, **options: Any) -> Run:
        with without_ray():
            return super().score(*given, **options)
