"""What a cluster has room for, what it never will, and how long it is waited for; no cluster runs here."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from artquant.config import EngineSpec, FetchSpec, FitSpec
from artquant.core.errors import RunFailed, UserError
from artquant.pipelines import capacity
from artquant.pipelines.capacity import Resources, needs_of, never, room_for, wait_for_room
from artquant.pipelines.sizing import fetch_workers

HEAD: Resources = {"CPU": 4.0}
GPU_NODE: Resources = {"CPU": 8.0, "GPU": 4.0}
FOUR = needs_of(EngineSpec(num_workers=8, min_workers=4, num_gpus=1, num_cpus=2))


@pytest.mark.parametrize(
    "engine, expected",
    [
        ({"num_gpus": 1, "num_cpus": 0.5}, 8),
        ({"num_gpus": 1, "num_cpus": 3}, 4),  # CPUs are short: two a node
        ({"num_gpus": 0.1, "num_cpus": 0.1}, 80),  # thirds and tenths are no whole binary numbers
        ({"num_gpus": 8}, 0),  # eight GPUs, on two nodes
        ({"num_cpus": 3}, 5),
    ],
)
def test_a_worker_lies_on_one_node(engine: dict[str, Any], expected: int) -> None:
    (need,) = needs_of(EngineSpec(**engine))
    assert room_for(need, [HEAD, GPU_NODE, GPU_NODE]) == expected


@pytest.mark.parametrize(
    "engine, nodes, ceiling, said",
    [
        ({"num_gpus": 1, "num_workers": 100, "min_workers": 100}, [HEAD], None, "100 of engine's workers with 1 GPU and 0.5 CPU each can"),
        ({"num_gpus": 1}, [HEAD], None, "the cluster has no GPU, and nothing that adds nodes"),
        ({"num_gpus": 1, "num_workers": 100}, [HEAD, GPU_NODE], None, None),  # one is enough to begin, and a person may add nodes
        ({"num_gpus": 1, "num_workers": 9, "min_workers": 9}, [HEAD], {"CPU": 99, "GPU": 8}, "the cluster grows to 8 GPU"),
        ({"num_gpus": 1, "num_workers": 8, "min_workers": 8}, [HEAD], {"CPU": 99, "GPU": 8}, None),
        ({"num_cpus": 50, "num_workers": 2, "min_workers": 2}, [HEAD], {"CPU": 99}, "grows to 99 CPU"),
        ({"num_gpus": 1, "num_workers": 100}, [HEAD], {"CPU": 99, "GPU": 8}, None),  # eight of them will do
        ({}, [], {"CPU": 4}, None),  # from nothing
        ({"num_gpus": 1, "num_workers": 9, "min_workers": 9}, [HEAD], {"CPU": math.inf, "GPU": math.inf}, None),  # it does not say
    ],
)
def test_what_can_never_fit_is_said_at_once(
    engine: dict[str, Any], nodes: list[Resources], ceiling: Resources | None, said: str | None
) -> None:
    (need,) = needs_of(EngineSpec(**engine))
    why = never(need, nodes, ceiling)
    assert why is None if said is None else why and said in why and "engine.min_workers" in why


@pytest.mark.parametrize("variable, ceiling", [("RAY_CLUSTER_NAME", {"CPU": math.inf, "GPU": math.inf}), ("NOTHING", None)])
def test_a_group_that_begins_at_zero_is_no_cluster_without_gpus(monkeypatch: pytest.MonkeyPatch, variable: str, ceiling: Any) -> None:
    state = SimpleNamespace(get_max_resources_from_cluster_config=lambda: None)
    monkeypatch.setattr(capacity.ray._private.state, "state", state)
    monkeypatch.setattr(capacity, "_BOOTSTRAP", Path("/nowhere"))
    for name in capacity._KUBERAY:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, "art")
    assert capacity.ceiling_now() == ceiling


def test_a_trainings_workers_are_needed_all() -> None:
    assert [(need.name, need.least) for need in needs_of(EngineSpec(num_workers=3), FitSpec(num_workers=2))] == [("engine", 1), ("fit", 2)]


class Cluster:
    """Nodes that come at their seconds, by a clock that each look moves on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, arrivals: dict[float, list[Resources]], ceiling: Resources | None = None) -> None:
        self.seconds, self.asked = 0.0, list[list[dict[str, float]]]()
        monkeypatch.setattr(capacity, "nodes_now", lambda: [node for at, nodes in arrivals.items() if at <= self.seconds for node in nodes])
        monkeypatch.setattr(capacity, "ceiling_now", lambda: ceiling)
        monkeypatch.setattr(capacity, "request_resources", lambda bundles: self.asked.append(bundles))
        monkeypatch.setattr(capacity.time, "sleep", self.pass_by)

    def pass_by(self, seconds: float) -> None:
        self.seconds += seconds

    def wait(self, minutes: float = 5.0) -> None:
        wait_for_room(FOUR, minutes, lambda: self.seconds)


def test_nodes_are_asked_for_and_waited_for_and_the_demand_ends_with_the_wait(monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    cluster = Cluster(monkeypatch, {0: [HEAD], 100: [GPU_NODE]}, {"CPU": 99, "GPU": 99})
    cluster.wait()
    assert 100 <= cluster.seconds < 110
    assert cluster.asked == [[{"CPU": 2.0, "GPU": 1.0}] * 8, []]
    said = capfd.readouterr().err
    assert said.count("Waiting for nodes: room for 0 of 4 workers of engine") == 2
    assert "There is room for 4 of 8 workers of engine; the others start when nodes come" in said


def test_nodes_that_do_not_come_end_the_wait_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch, {0: [HEAD]}, {"CPU": 99, "GPU": 99})
    with pytest.raises(RunFailed, match=r"Asked for nodes for 4 of .* after 5 minutes there is room for 0 on 1 nodes: .*node_minutes"):
        cluster.wait()
    assert cluster.asked[-1] == []


def test_a_cluster_that_has_room_is_asked_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch, {0: [GPU_NODE, GPU_NODE]})
    cluster.wait(0)
    assert (cluster.seconds, cluster.asked) == (0, [])


def test_what_never_fits_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch, {0: [HEAD]})
    with pytest.raises(UserError, match="can never start"):
        cluster.wait()
    assert (cluster.seconds, cluster.asked) == (0, [])


@pytest.mark.parametrize(
    "rates, expected",
    [({}, 16), ({"score_per_worker": 300, "fetch_per_worker": 200}, 8), ({"score_per_worker": 3000, "fetch_per_worker": 100}, 16)],
)
def test_as_many_fetch_as_the_engines_consume_by_the_rates_that_were_measured(rates: dict[str, float], expected: int) -> None:
    """Four engines of 300 a second need 1,200, and a quarter more: 7.5 of 200 each."""
    assert fetch_workers(FetchSpec(), EngineSpec(num_workers=4, num_gpus=1), 32, rates) == expected
    assert fetch_workers(FetchSpec(num_workers=3), EngineSpec(num_workers=4, num_gpus=1), 32, rates) == 3
    assert fetch_workers(FetchSpec(), EngineSpec(num_workers=4), 32, rates) == 0
