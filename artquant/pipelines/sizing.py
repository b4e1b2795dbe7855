"""How a collection is cut into tasks and blocks, and which processes there are."""

import math
from collections.abc import Mapping
from types import MappingProxyType

from artquant.config import EngineSpec, FetchSpec, FitSpec
from artquant.results.plan import LARGE_SHARD

BLOCK_BYTES = 64 << 20
FETCH_CPUS = 0.5  # that the scheduler sets aside for each process
NO_RATES: Mapping[str, float] = MappingProxyType({})
_RAY_CPUS = 1.0  # for Ray Data's own tasks, one at a time at least


def fetch_workers(spec: FetchSpec, engine: EngineSpec, num_cpus: int, rates: Mapping[str, float] = NO_RATES) -> int:
    """Return the number of processes that only fetch and decode; zero beside engines without a GPU, which use the same cores.

    Where the last run measured what one of them and one engine do a second, it is what all engines consume and a quarter more, so that
    neither starves the other; else, and at most, one for every two CPUs.
    """
    if spec.num_workers is not None:
        return spec.num_workers
    if not engine.num_gpus:
        return 0
    most = max(1, num_cpus // 2)
    fetched, scored = (rates.get(f"{stage}_per_worker") for stage in ("fetch", "score"))
    return max(1, min(most, math.ceil(1.25 * engine.num_workers * scored / fetched))) if fetched and scored else most


def share_of(spec: FetchSpec, num_processes: int) -> FetchSpec:
    """Return the settings of each of so many processes that share the run's budget of requests."""
    limit = spec.max_requests_per_second
    return spec.model_copy(update={"max_requests_per_second": limit / num_processes}) if limit else spec


def lacking(fetch: FetchSpec, engine: EngineSpec, num_cpus: float, num_gpus: float, fit: FitSpec | None = None) -> str | None:
    """Say why a run would wait for ever with so many CPUs and GPUs, and what to do; None if they suffice."""
    num_fetch = fetch_workers(fetch, engine, int(num_cpus))
    cpus = {"engine": num_fetch * FETCH_CPUS + engine.num_workers * engine.num_cpus + _RAY_CPUS}
    sections: dict[str, EngineSpec | FitSpec] = {"engine": engine}
    if fit:
        sections["fit"], cpus["fit"] = fit, fit.num_workers * fit.num_cpus
    for name, section in sections.items():
        asked = f"{name}.num_gpus={section.num_gpus:g}" + (
            f" for each of {name}.num_workers={section.num_workers}" if section.num_workers > 1 else ""
        )
        if section.num_gpus * section.num_workers > num_gpus:
            return (
                f"{asked}, but Ray sees {f'{num_gpus:g}' if num_gpus else 'no'} GPU on this machine: set {name}.num_gpus=0 to use the CPU, "
                "ask for fewer, or name a cluster that has them in RAY_ADDRESS."
            )
        if cpus[name] > num_cpus:
            others = f", fetch.num_workers={num_fetch} and Ray itself included" if name == "engine" else ""
            return (
                f"{name}.num_workers={section.num_workers} with {name}.num_cpus={section.num_cpus:g} each needs {cpus[name]:g} of Ray's "
                f"CPUs{others}, and this machine has {num_cpus:g}: ask for fewer workers, or name a larger cluster in RAY_ADDRESS."
            )
    return None


def shards_per_task(num_planned: int, num_shards: int, num_workers: int) -> int:
    """Return the number of shards in a task: some 2,000 artworks, but few enough that each worker gets four tasks at least.

    Tasks are this large because few artworks are fetched while the last ones of a task are scored.
    """
    return max(1, min(LARGE_SHARD * num_shards // num_planned, num_shards // (4 * num_workers)))


def rows_per_block(num_planned: int, batch_size: int, num_workers: int, image_bytes: int) -> int:
    """Return how many artworks travel together: whole engine batches of about BLOCK_BYTES.

    There are fewer if a small collection would not give every engine some eight blocks. Every block costs the scheduler some 20 ms,
    whatever its size.
    """
    rows = min(BLOCK_BYTES // image_bytes, num_planned // (8 * num_workers))
    return batch_size * max(1, rows // batch_size)
