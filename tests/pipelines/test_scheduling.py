"""What Ray Data is asked for, and what its workers are started with; no Ray runs here."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest
import torch

from artquant.config import EngineSpec, FetchSpec, ReviewSpec
from artquant.core import schema
from artquant.core.errors import RunFailed
from artquant.engines import Assessment
from artquant.engines.recipe import EngineRecipe
from artquant.pipelines import feed, loader, run, theory
from artquant.pipelines.run import ScoringRun
from artquant.pipelines.stages import FetchSettings, ScoreSettings, ScoreStage
from artquant.progress.stages import ProgressCounter, StageReport
from artquant.results import layout
from artquant.storage.budget import Budget
from artquant.storage.requests import REQUESTS
from tests.pipelines.engines import RED, RedEngine

NOBODY: Any = SimpleNamespace(**{name: SimpleNamespace(remote=lambda *given: None) for name in ("add", "note", "opens")})  # nobody looks


class Dataset:
    """Notes what each `map_batches` is given."""

    def __init__(self) -> None:
        self.stages: list[tuple[type, dict[str, Any]]] = []

    def map_batches(self, stage: type, **options: Any) -> Dataset:
        self.stages.append((stage, options))
        return self

    def take_all(self) -> list[Any]:
        return []

    def iter_batches(self, **options: Any) -> Iterator[Any]:
        yield from ()


@pytest.fixture
def dataset(monkeypatch: pytest.MonkeyPatch) -> Dataset:
    dataset = Dataset()
    data = SimpleNamespace(range=lambda *given, **options: dataset, from_items=lambda *given, **options: dataset)
    fake = SimpleNamespace(data=data, cluster_resources=lambda: {"CPU": 8.0}, put=lambda value: value, exceptions=run.ray.exceptions)
    for module in (run, theory, feed):
        monkeypatch.setattr(module, "ray", fake)
    for module in (run, theory):
        monkeypatch.setattr(module, "show_progress", lambda *given: nullcontext())
    return dataset


REVIEW = ReviewSpec(max_score_std=1.0)


def execute(engine: EngineSpec, fetch: FetchSpec, **changes: Any) -> None:
    recipe = EngineRecipe(RedEngine, RED, RedEngine.image_size, RedEngine.scale.values, "red", engine)
    fixed = {"run_id": "tonight", "input": "file:///in", "output": "file:///out", "stall_minutes": 2.0}
    scoring = ScoringRun(**{**fixed, "fetch": fetch, "review": REVIEW, **changes})
    run.execute(scoring, recipe, layout.plan_key("night-1"), dict.fromkeys(range(8), 125), NOBODY, lambda outcomes: None)


def settings_of(dataset: Dataset) -> tuple[FetchSettings, ScoreSettings]:
    given = [one for _, options in dataset.stages for one in options["fn_constructor_args"]]
    return given[0], given[1]


@pytest.mark.parametrize("num_fetch", [0, 3])
def test_engines_are_as_many_and_have_what_the_settings_say(dataset: Dataset, num_fetch: int) -> None:
    engine = EngineSpec(name="torch", num_workers=2, num_gpus=0.5, num_cpus=1.5, batch_size=7)
    execute(engine, FetchSpec(num_workers=num_fetch))
    assert len(dataset.stages) == (2 if num_fetch else 1)
    options = dataset.stages[-1][1]
    assert (options["compute"].min_size, options["compute"].max_size) == (2, 2)
    assert (options["num_cpus"], options["num_gpus"]) == (1.5, 0.5)
    if num_fetch:
        fetchers = dataset.stages[0][1]
        assert (fetchers["compute"].min_size, fetchers["compute"].max_size) == (num_fetch, num_fetch)


@pytest.mark.parametrize("num_fetch", [0, 1])
def test_workers_are_started_with_the_runs_settings(dataset: Dataset, num_fetch: int) -> None:
    fetching = FetchSpec(num_workers=num_fetch, threads=3)
    execute(EngineSpec(name="torch", batch_size=7, critique=False), fetching)
    fetch, score = settings_of(dataset)
    assert fetch.fetch == fetching and (fetch.input, fetch.output, fetch.stall_seconds) == ("file:///in", "file:///out", 120.0)
    assert (score.batch_size, score.critique, score.review, score.run_id, score.stall_seconds) == (7, False, REVIEW, "tonight", 120.0)
    assert fetch.suspicions == score.suspicions == "file:///out/_artquant/runs/night-1/suspicions"
    assert fetch.block_rows % 7 == 0


def test_the_theorys_engines_are_those_of_the_settings(dataset: Dataset) -> None:
    settings = theory.TheorySettings(open_engine=RedEngine, images="file:///in", fetch=FetchSpec(), stall_seconds=60.0, counter=NOBODY)
    rows = [{"artwork_id": str(number)} for number in range(100)]
    theory.theory_terms(rows, settings, EngineSpec(num_workers=3, num_gpus=0.25, num_cpus=2))
    (_, options) = dataset.stages[0]
    assert options["compute"].max_size == 3 and (options["num_cpus"], options["num_gpus"]) == (2, 0.25)
    assert options["fn_constructor_args"] == (settings,)


@pytest.mark.parametrize("num_workers, expected", [(None, 1), (0, 1), (3, 3)])
def test_a_trainings_pictures_are_read_as_the_settings_say(dataset: Dataset, num_workers: int | None, expected: int) -> None:
    fetch = FetchSpec(num_workers=num_workers, threads=5)
    assert list(feed.PictureFeed("file:///in", fetch, 90.0).read(["a", "b"], 16, 2)) == []
    (_, options) = dataset.stages[0]
    assert options["compute"].max_size == expected and options["fn_constructor_args"][-2:] == (fetch, 90.0)


class Noting(RedEngine):
    """Notes how many pictures it is given at a time, and whether texts are asked for."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, bool]] = []

    def assess(self, pixels: np.ndarray, critique: bool = False) -> Assessment:
        self.calls.append((len(pixels), critique))
        return super().assess(pixels, critique)


@pytest.mark.parametrize("critique", [True, False])
def test_the_engine_is_given_whole_batches_and_told_whether_texts_are_wanted(critique: bool) -> None:
    engine = Noting()
    common: dict[str, Any] = {"open_engine": lambda: engine, "identity": RED, "run_id": "r", "stall_seconds": 3600.0, "counter": NOBODY}
    stage = ScoreStage(ScoreSettings(batch_size=4, critique=critique, review=ReviewSpec(max_score_std=5.0), **common))
    text = np.array([""] * 10)
    block = {name: text for name in (schema.ARTWORK_ID, schema.URI, schema.REASON, schema.ETAG, schema.REJECT_CLASS, schema.MESSAGE)}
    block |= {name: np.ones(10, np.int32) for name in ("width", "height", schema.ATTEMPTS)}
    pixels = np.full((10, 16, 16, 3), 128, np.uint8)
    made = pa.concat_tables(list(stage.process(block | {schema.PIXELS: pixels})))
    assert engine.calls == [(4, critique), (4, critique), (2, critique)]
    assert made.num_rows == 10 and made.column("needs_review").to_pylist() == [False] * 10


class Cramped(Noting):
    """Whose device holds three images."""

    def assess(self, pixels: np.ndarray, critique: bool = False) -> Assessment:
        answer = super().assess(pixels, critique)
        if len(pixels) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return answer


class Told:
    """A counter that keeps what it is told."""

    def __init__(self) -> None:
        self.counter = ProgressCounter()
        for name in ("add", "note", "opens", "refuse"):
            setattr(self, name, SimpleNamespace(remote=getattr(self.counter, name)))


def test_a_worker_that_scores_the_golden_set_otherwise_is_counted_by_its_node() -> None:
    def open_engine() -> Noting:
        raise RunFailed("A probability is off.")

    told = Told()
    given: dict[str, Any] = {"open_engine": open_engine, "identity": RED, "run_id": "r", "stall_seconds": 3600.0, "counter": told}
    with pytest.raises(RunFailed, match="off"):
        ScoreStage(ScoreSettings(batch_size=8, critique=True, review=ReviewSpec(), **given))
    assert told.counter.snapshot()["score and critique"].refused == {socket.gethostname(): 1}
    assert told.counter.doing("score and critique") == "loading the model"


def test_a_worker_whose_memory_is_full_says_so_counts_it_and_stays_with_smaller_batches() -> None:
    engine, told = Cramped(), Told()
    given: dict[str, Any] = {"open_engine": lambda: engine, "identity": RED, "run_id": "r", "stall_seconds": 3600.0, "counter": told}
    stage = ScoreStage(ScoreSettings(batch_size=8, critique=False, review=ReviewSpec(), **given))
    text = np.array([""] * 16)
    block = {name: text for name in (schema.ARTWORK_ID, schema.URI, schema.REASON, schema.ETAG, schema.REJECT_CLASS, schema.MESSAGE)}
    block |= {name: np.ones(16, np.int32) for name in ("width", "height", schema.ATTEMPTS)}
    made = pa.concat_tables(list(stage(block | {schema.PIXELS: np.full((16, 16, 16, 3), 128, np.uint8)})))
    assert made.num_rows == 16 and not any(made.column("reject_class").to_pylist())
    assert [num for num, _ in engine.calls] == [8, 4, *[2] * 8]
    assert told.counter.snapshot()["score"].num_shrunk == 2 and told.counter.doing("score") == "at the first batch"
    assert told.counter.take_notes() == [
        "Memory does not hold 8 images at a time: this worker scores 2 from now on; engine.batch_size=2 spares the failed tries."
    ]


@pytest.mark.parametrize("num_fetch, expected", [(0, 20.0), (4, 12.0)])
def test_the_processes_of_a_run_share_its_budget_of_requests(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, num_fetch: int, expected: float
) -> None:
    budget = Budget()
    monkeypatch.setattr(run, "BUDGET", budget)
    monkeypatch.setattr(loader, "BUDGET", budget)
    seen: list[float | None] = []

    def iter_batches(self: Dataset, **options: Any) -> Iterator[Any]:
        seen.append(budget.rate)
        yield from ()

    monkeypatch.setattr(Dataset, "iter_batches", iter_batches)
    execute(EngineSpec(batch_size=7, num_workers=2), FetchSpec(num_workers=num_fetch, max_requests_per_second=60))
    assert settings_of(dataset)[0].fetch.max_requests_per_second == expected
    assert seen == [expected] and budget.rate == 60, "the driver is one of them, and alone before and after"
    loader.Loader("/tmp", 8, settings_of(dataset)[0].fetch)
    assert budget.rate == expected


def test_a_workers_batches_and_requests_reach_the_counter_once() -> None:
    told = Told()
    REQUESTS.drain()
    report = StageReport(cast(Any, told), "score")
    for seconds in (0.01, 2.0):
        report.add(1, seconds, 0)
    REQUESTS.add("get", "ok")
    report.send()
    report.send()
    count = told.counter.snapshot()["score"]
    assert (count.batches, count.requests) == ({0: 1, 5: 1}, {("get", "ok"): 1})
