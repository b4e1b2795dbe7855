"""Runs that ask for GPUs, on a Ray that has logical ones: they start, get what they asked for, and never fall to the CPU unasked."""

from __future__ import annotations

from pathlib import Path

import pytest

from artquant.config import EngineSpec, FetchSpec, FitSpec, ScoreSpec, load_spec
from artquant.core.errors import RunFailed, UserError
from artquant.pipelines.run import check_capacity
from artquant.storage.store import Store
from tests.pipelines.conftest import NUM_GPUS
from tests.pipelines.engines import REDS, GrantedEngine, red_score
from tests.pipelines.runs import Scorer, spec_for

APART = pytest.mark.parametrize("fetch", [{"num_workers": 0}, {}], ids=["together", "apart"])
ON_CPU = {"num_gpus": 1, "device": "cpu"}


@APART
def test_a_run_with_gpus_scores_each_artwork_on_a_worker_that_has_one(
    scorer: Scorer, source: Store, output: Store, fetch: dict, small_shards: None
) -> None:
    engine = {**ON_CPU, "num_workers": NUM_GPUS, "batch_size": 8}
    run = scorer.score(spec_for(source, output, engine=engine, fetch=fetch), GrantedEngine)
    assert {name: row["score"] for name, row in run.rows("scores").items()} == {
        name: pytest.approx(red_score(red)) for name, red in REDS.items()
    }


@APART
def test_artquant_scores_with_a_gpu_asked_for(scorer: Scorer, source: Store, output: Store, checkpoint: Path, fetch: dict) -> None:
    run = scorer.score(spec_for(source, output, model=checkpoint, engine={**ON_CPU, "critique": False}, fetch=fetch))
    assert set(run.rows("scores")) == set(REDS)
    assert "torch on cpu" in run.report.engine


@APART
def test_a_gpu_that_torch_does_not_see_is_refused(scorer: Scorer, source: Store, output: Store, checkpoint: Path, fetch: dict) -> None:
    with pytest.raises(RunFailed, match=r"given a GPU that torch .* does not see: .*engine\.device=cpu"):
        scorer.score(spec_for(source, output, model=checkpoint, engine={"num_gpus": 1, "name": "torch"}, fetch=fetch))
    assert not output.exists("CURRENT") and not list(output.list("_staging"))


@pytest.mark.parametrize(
    "engine, names",
    [
        ({"num_gpus": NUM_GPUS + 1}, [f"engine.num_gpus={NUM_GPUS + 1}", f"sees {NUM_GPUS} GPU", "RAY_ADDRESS"]),
        ({"num_gpus": 1, "num_workers": 3}, ["engine.num_gpus=1 for each of engine.num_workers=3"]),
        ({"num_workers": 100}, ["engine.num_workers=100", "this machine has 4"]),
    ],
)
def test_what_a_local_ray_will_never_have_is_refused_before_anything_is_scored(
    scorer: Scorer, source: Store, output: Store, engine: dict, names: list[str]
) -> None:
    with pytest.raises(UserError) as refusal:
        scorer.score(spec_for(source, output, engine=engine))
    assert all(name in str(refusal.value) for name in names), refusal.value
    assert {info.key.split("/")[1] for info in output.list()} == {
        "format.json",
        "intents",
        "probe.json",
        "runs",
    }  # the plan, and whose it is


def test_a_training_that_asks_for_gpus_that_are_not_there_is_refused(local_ray: None) -> None:
    with pytest.raises(UserError, match=r"fit\.num_gpus=3.*fit\.num_gpus=0"):
        check_capacity(FetchSpec(), EngineSpec(), FitSpec(num_gpus=3))
    with pytest.raises(UserError, match=r"fit\.num_workers=9.*this machine has 4"):
        check_capacity(FetchSpec(), EngineSpec(), FitSpec(num_workers=9))
    check_capacity(FetchSpec(), EngineSpec(), FitSpec(num_gpus=1))


def test_a_cluster_may_grow_and_begins_with_the_least(local_ray: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    check_capacity(FetchSpec(), EngineSpec(num_gpus=1, num_workers=100))
    with pytest.raises(RunFailed, match=rf"Asked for nodes for 3 of .* there is room for {NUM_GPUS} on 1 nodes"):
        check_capacity(FetchSpec(), EngineSpec(num_gpus=1, num_workers=3, min_workers=3, node_minutes=0))
    with pytest.raises(UserError, match=r"engine\.min_workers cannot be .3.: engine\.num_workers=2 is the most"):
        load_spec(ScoreSpec, None, ["engine.num_workers=2", "engine.min_workers=3"])
