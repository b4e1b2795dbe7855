"""What a run says to Prometheus. Counted in the driver: the exporters of workers keep what dead ones counted, and sums over them count
twice. One process tells of one run, so each metric is one series a label; no artwork, address or message is a label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from artquant.progress.counts import BATCH_BUCKETS, StageCount

FETCH = "fetch"


@dataclass
class RunState:
    """A run as its driver knows it. Times are Unix seconds; None where there is none or it is not known."""

    job: str = "artquant"
    run_id: str = ""
    model_digest: str = ""
    version: str = ""
    is_active: bool = True
    is_held: bool = False
    num_planned: int = 0
    num_done_before: int = 0  # by the process before this one, of the same run
    num_scored: int = 0
    rejects: Counter[str] = field(default_factory=Counter)
    num_engines: int = 0
    stages: dict[str, StageCount] = field(default_factory=dict)
    requests: Counter[tuple[str, str]] = field(default_factory=Counter)  # of the driver itself
    throttled_seconds: float = 0.0
    began_at: float = 0.0
    first_done_at: float | None = None
    progress_at: float = 0.0
    deadline_at: float | None = None
    num_left: dict[str, int] = field(default_factory=dict)  # stage -> artworks that a deadline left for the next night
    published_at: float | None = None
    succeeded_at: float | None = None
    refused_at: float | None = None  # another run had the output
    head: int | None = None
    view: int | None = None
    cost_per_thousand: float | None = None

    @property
    def num_done(self) -> int:
        return self.num_done_before + self.num_scored + self.rejects.total()

    def predicted_end(self, now: float) -> float | None:
        """When the last row comes if it goes on as it did since the first; None before there is a rate."""
        num_new = self.num_scored + self.rejects.total()
        if self.first_done_at is None or not num_new or now <= self.first_done_at:
            return None
        return now + (self.num_planned - self.num_done) * (now - self.first_done_at) / num_new


def families(state: RunState, now: float) -> Iterator[Metric]:
    """All metrics of a run; one that is not known yet is left out."""
    stages = {short(name): count for name, count in state.stages.items()}
    yield _info(state)
    rows = CounterMetricFamily("artquant_rows", "Artworks that left a stage; those of score are exact", labels=("stage", "outcome"))
    if fetched := stages.get(FETCH):
        rows.add_metric((FETCH, "done"), fetched.num_rows)
    rows.add_metric(("score", "scored"), state.num_scored)
    rows.add_metric(("score", "rejected"), state.rejects.total())
    yield rows
    rejects = CounterMetricFamily("artquant_rejects", "Artworks without a score, by reject class", labels=("class",))
    for name, num in sorted(state.rejects.items()):
        rejects.add_metric((name,), num)
    yield rejects
    engines = [count for name, count in stages.items() if name != FETCH]
    yield CounterMetricFamily("artquant_engine_busy_seconds", "Seconds in engines, summed over them", value=sum(_busy(engines)))
    yield from _of_the_store(state)
    queue = GaugeMetricFamily("artquant_queue_rows", "Artworks that wait for a stage", labels=("stage",))
    num_fetched = max(fetched.num_rows if fetched else 0, state.num_done - state.num_done_before)
    queue.add_metric((FETCH,), max(0, state.num_planned - state.num_done_before - num_fetched))
    queue.add_metric(("score",), max(0, num_fetched - (state.num_done - state.num_done_before)))
    yield queue
    batches = HistogramMetricFamily("artquant_batch_seconds", "Duration of one batch of a stage", labels=("stage",))
    bounds = [*map(str, BATCH_BUCKETS), "+Inf"]
    for name, count in stages.items():
        totals = accumulate(count.batches.get(bucket, 0) for bucket in range(len(bounds)))
        batches.add_metric((name,), list(zip(bounds, totals, strict=True)), count.busy_seconds)
    yield batches
    refused = CounterMetricFamily("artquant_admissions_refused", "Engines that scored the golden set otherwise", labels=("node",))
    for count in stages.values():
        for node, num in count.refused.items():
            refused.add_metric((node,), num)
    yield refused
    left = GaugeMetricFamily("artquant_run_left_rows", "Artworks that a deadline left for the next night", labels=("stage",))
    for stage, num in state.num_left.items():
        left.add_metric((stage,), num)
    yield left
    for name, (about, value) in _gauges(state, now).items():
        if value is not None:
            yield GaugeMetricFamily(f"artquant_{name}", about, value=value)
    if state.head is not None and state.view is not None:
        yield snapshot_numbers(state.head, state.view)


def short(stage: str) -> str:
    """`fetch and decode` -> `fetch`: a label that does not change with what is asked of the stage."""
    return stage.partition(" ")[0]


def snapshot_numbers(head: int, view: int) -> Metric:
    numbers = GaugeMetricFamily("artquant_snapshot_number", "The last snapshot, and the one that readers by glob see", labels=("which",))
    numbers.add_metric(("head",), head)
    numbers.add_metric(("view",), view)
    return numbers


def _info(state: RunState) -> Metric:
    names = ("run_id", "model_digest", "version")
    info = GaugeMetricFamily("artquant_run_info", "Which run this process is at; always 1", labels=names)
    info.add_metric((state.run_id, state.model_digest, state.version), 1)
    return info


def _busy(counts: list[StageCount]) -> Iterator[float]:
    return (count.busy_seconds for count in counts)


def _of_the_store(state: RunState) -> Iterator[Metric]:
    total = state.requests.copy()
    for count in state.stages.values():
        total.update(count.requests)
    requests = CounterMetricFamily("artquant_store_requests", "Requests to the store, by operation and outcome", labels=("op", "code"))
    for (operation, outcome), num in sorted(total.items()):
        requests.add_metric((operation, outcome), num)
    yield requests
    seconds = state.throttled_seconds + sum(count.throttled_seconds for count in state.stages.values())
    yield CounterMetricFamily("artquant_store_throttled_seconds", "Waiting for an overloaded store, summed over threads", value=seconds)


def _gauges(state: RunState, now: float) -> dict[str, tuple[str, float | None]]:
    return {
        "run_active": ("1 while the run works, 0 when it has ended", float(state.is_active)),
        "run_held": ("1 where the run is finished and waits for a person", float(state.is_held)),
        "run_planned_rows": ("Artworks of the run's plan", state.num_planned),
        "run_done_rows": ("Of these, those that are scored or rejected", state.num_done),
        "run_engines": ("Engines that the run asked for", state.num_engines),
        "run_start_timestamp_seconds": ("When this process began", state.began_at),
        "run_progress_timestamp_seconds": ("When the number of finished artworks last grew", state.progress_at),
        "run_predicted_end_timestamp_seconds": ("When the last artwork comes at this rate", state.predicted_end(now)),
        "run_deadline_timestamp_seconds": ("When the run is to be over", state.deadline_at),
        "run_cost_per_thousand": ("What a thousand scores cost, in the currency of price_per_hour", state.cost_per_thousand),
        "last_publish_timestamp_seconds": ("When the last snapshot of a run was published", state.published_at),
        "last_success_timestamp_seconds": ("When a run last ended well, also where nothing was due", state.succeeded_at),
        "refused_start_timestamp_seconds": ("When a run was refused, because another had the output", state.refused_at),
    }


class _Collector(Collector):
    def __init__(self, collected: Callable[[], Iterable[Metric]]):
        self._collected = collected

    def collect(self) -> Iterable[Metric]:
        return self._collected()


def registry_of(collected: Callable[[], Iterable[Metric]]) -> CollectorRegistry:
    """Return a registry that asks for the metrics whenever it is read."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(collected))
    return registry


def exposition(collected: Iterable[Metric]) -> bytes:
    """Return the text that Prometheus reads."""
    return generate_latest(registry_of(lambda: collected))
