"""Whether a cluster has room for what a run needs, will have, or never can; `wait_for_room` asks it, the others decide."""

import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import ray
from ray.autoscaler.sdk import request_resources

from artquant.config import EngineSpec, FitSpec
from artquant.core.errors import RunFailed, UserError

Resources = Mapping[str, float]  # of a node: CPU, GPU
_KUBERAY = {"RAY_CLUSTER_NAME", "KUBERAY_GEN_RAY_START_CMD"}  # set in the operator's pods, whose groups may begin at zero
_BOOTSTRAP = Path("~/ray_bootstrap_config.yaml")  # on the head of a cluster that `ray up` made
_EVERY_SECONDS, _SAY_SECONDS = 2.0, 60.0


@dataclass(frozen=True)
class Need:
    """So many workers at the least, and `wanted` if there is room, of so many GPUs and CPUs each. `name`: of their section."""

    name: str
    least: int
    wanted: int
    num_gpus: float
    num_cpus: float

    @property
    def each(self) -> str:
        gpus = f"{self.num_gpus:g} GPU and " if self.num_gpus else ""
        return f"{gpus}{self.num_cpus:g} CPU each"


def needs_of(engine: EngineSpec, fit: FitSpec | None = None) -> list[Need]:
    needs = [Need("engine", engine.min_workers, engine.num_workers, engine.num_gpus, engine.num_cpus)]
    return needs + ([Need("fit", fit.num_workers, fit.num_workers, fit.num_gpus, fit.num_cpus)] if fit else [])


def room_for(need: Need, nodes: Sequence[Resources]) -> int:
    """Return how many of these workers the nodes hold, if they hold nothing else; one worker lies on one node."""

    def on(node: Resources) -> int:
        by_cpu = math.floor(node.get("CPU", 0) / need.num_cpus + 1e-9)
        return min(by_cpu, math.floor(node.get("GPU", 0) / need.num_gpus + 1e-9)) if need.num_gpus else by_cpu

    return sum(map(on, nodes))


def never(need: Need, nodes: Sequence[Resources], ceiling: Resources | None) -> str | None:
    """Say why there will not be room for the least of them, and what to do; None where there may be.

    `ceiling`: what the cluster may grow to, where an autoscaler says so. Without one a person may still add nodes of the kinds there are.
    """
    per_worker = {"GPU": need.num_gpus, "CPU": need.num_cpus}
    for kind, each in per_worker.items():
        there = sum(node.get(kind, 0) for node in nodes)
        most = max(there, ceiling.get(kind, 0)) if ceiling is not None else math.inf if there else 0
        if each * need.least > most:
            grown = f"grows to {most:g} {kind}" if ceiling is not None else f"has no {kind}, and nothing that adds nodes"
            fewer = f"{need.name}.min_workers" if need.name == "engine" else f"{need.name}.num_workers"
            return (
                f"{need.least} of {need.name}'s workers with {need.each} can never start: the cluster {grown}. Ask for less with {fewer} "
                f"or {need.name}.num_{kind.lower()}s, or let the cluster grow further."
            )
    return None


def wait_for_room(needs: Sequence[Need], minutes: float, now: Callable[[], float] = time.monotonic) -> None:
    """Return when the cluster has room for the least of each; ask its autoscaler for nodes meanwhile. Ray is running.

    Raises UserError where there never can be, and RunFailed where none came in so many minutes.
    """
    started, said_at = now(), -math.inf
    for need in needs:
        if why := never(need, nodes_now(), ceiling_now()):
            raise UserError(why)
    try:
        for need in needs:
            while (room := room_for(need, nodes_now())) < need.least:
                waited = now() - started
                if waited > minutes * 60:
                    raise RunFailed(
                        f"Asked for nodes for {need.least} of {need.name}'s workers with {need.each}, and after {minutes:g} minutes "
                        f"there is room for {room} on {len(nodes_now())} nodes: look at what the autoscaler says (ray status), ask for "
                        f"fewer with {need.name}.min_workers, or wait longer with engine.node_minutes. The same command goes on."
                    )
                if now() - said_at > _SAY_SECONDS:
                    if said_at == -math.inf:
                        each = {"CPU": need.num_cpus} | ({"GPU": need.num_gpus} if need.num_gpus else {})
                        request_resources(bundles=[each] * need.wanted)
                    said_at = now()
                    _say(f"Waiting for nodes: room for {room} of {need.least} workers of {need.name} ({need.each}), {waited:.0f} s so far")
                time.sleep(_EVERY_SECONDS)
            if need.wanted > room:
                _say(f"There is room for {room} of {need.wanted} workers of {need.name}; the others start when nodes come")
    finally:
        if said_at != -math.inf:  # from here on the workers themselves are the demand
            with suppress(ray.exceptions.RayError):
                request_resources(bundles=[])


def nodes_now() -> list[Resources]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def ceiling_now() -> Resources | None:
    """Return the most that the cluster's autoscaler may bring, without end where it does not say; None where there is no sign of one."""
    most: Resources | None = ray._private.state.state.get_max_resources_from_cluster_config()
    is_scaled = bool(_KUBERAY & os.environ.keys()) or _BOOTSTRAP.expanduser().exists()
    return most or ({"CPU": math.inf, "GPU": math.inf} if is_scaled else None)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
