"""The machines of a cluster, asked before anything is scored on them."""

import time
from typing import Any

from artquant.cli.terminal import say
from artquant.core.errors import UserError
from artquant.core.lock import differences, lock_here, versions_here

_ANSWER_SECONDS = 120.0


def check_nodes() -> None:
    """Raise UserError where a node has other versions than the lock. Ray is running. What does not answer in time is said, and let be."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ask = ray.remote(num_cpus=0, max_retries=0)(versions_here)
    asked: dict[Any, str] = {
        ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(): node["NodeManagerAddress"]
        for node in ray.nodes()
        if node["Alive"]
    }
    found: dict[str, dict[str, str]] = {}
    deadline = time.monotonic() + _ANSWER_SECONDS
    for answer, node in asked.items():
        try:
            found[node] = ray.get(answer, timeout=max(0.1, deadline - time.monotonic()))
        except ray.exceptions.RayError as error:  # it went, or it is busy: who works on it later is asked by nobody
            say(f"The node {node} did not say which versions it has: {type(error).__name__}")
    if sentence := differences(found, lock_here()):
        raise UserError(sentence)
