"""What Prometheus reads of a run: one series a label, counted once, under the names that dashboards and alerts use."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter

import pytest
from prometheus_client.parser import text_string_to_metric_families

from artquant.progress.counts import BATCH_BUCKETS, StageCount, bucket_of
from artquant.progress.metrics import RunState, exposition, families

RUN = RunState(
    run_id="tonight",
    model_digest="abc",
    version="0.1.0",
    num_planned=100,
    num_done_before=20,
    num_scored=28,
    rejects=Counter({"missing": 1, "throttled": 1}),
    num_engines=2,
    stages={
        "fetch and decode": StageCount(num_rows=60, busy_seconds=3.0, throttled_seconds=4.0, requests={("get", "ok"): 60}),
        "score and critique": StageCount(num_rows=32, busy_seconds=9.0, batches={0: 1, 3: 2}, refused={"node-1": 1}),
    },
    requests=Counter({("get", "ok"): 2, ("create", "conflict"): 1}),
    throttled_seconds=1.0,
    began_at=1000.0,
    first_done_at=1100.0,
    progress_at=1150.0,
    deadline_at=9000.0,
    num_left={"critique": 40},
    published_at=500.0,
    succeeded_at=600.0,
    refused_at=700.0,
    head=7,
    view=6,
    cost_per_thousand=0.003,
)

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(state: RunState, now: float = 1160.0) -> Samples:
    """(name, labels) -> value, of the text as a scraper parses it; nothing is there twice."""
    text = exposition(families(state, now)).decode()
    found = [
        (sample.name, tuple(sorted(sample.labels.items())), sample.value)
        for one in text_string_to_metric_families(text)
        for sample in one.samples
    ]
    by_key = {(name, labels): value for name, labels, value in found}
    assert len(by_key) == len(found)
    return by_key


def of(state: RunState, name: str, **labels: str) -> float:
    return samples(state)[name, tuple(sorted(labels.items()))]


def test_finished_artworks_are_counted_exactly_and_those_of_earlier_processes_are_done_too() -> None:
    assert of(RUN, "artquant_rows_total", stage="score", outcome="scored") == 28
    assert of(RUN, "artquant_rows_total", stage="score", outcome="rejected") == 2
    assert of(RUN, "artquant_rejects_total", **{"class": "missing"}) == 1
    assert (of(RUN, "artquant_run_planned_rows"), of(RUN, "artquant_run_done_rows")) == (100, 50)


def test_what_waits_is_what_one_stage_has_and_the_next_has_not() -> None:
    assert of(RUN, "artquant_queue_rows", stage="fetch") == 20  # 100 - 20 before - 60 fetched
    assert of(RUN, "artquant_queue_rows", stage="score") == 30  # 60 fetched - 30 done


def test_the_store_is_asked_by_driver_and_workers_together() -> None:
    assert of(RUN, "artquant_store_requests_total", op="get", code="ok") == 62
    assert of(RUN, "artquant_store_requests_total", op="create", code="conflict") == 1
    assert of(RUN, "artquant_store_throttled_seconds_total") == 5.0


def test_batches_fall_into_the_same_buckets_everywhere() -> None:
    counts = [of(RUN, "artquant_batch_seconds_bucket", stage="score", le=str(bound)) for bound in BATCH_BUCKETS]
    assert counts == [1, 1, 1, *[3] * (len(BATCH_BUCKETS) - 3)]
    assert of(RUN, "artquant_batch_seconds_count", stage="score") == 3
    assert of(RUN, "artquant_batch_seconds_sum", stage="score") == 9.0
    assert [bucket_of(seconds) for seconds in (0.0, 0.05, 0.051, 300.0, 301.0)] == [0, 0, 1, len(BATCH_BUCKETS) - 1, len(BATCH_BUCKETS)]


def test_the_end_is_predicted_from_what_this_process_did() -> None:
    assert of(RUN, "artquant_run_predicted_end_timestamp_seconds") == 1160 + 50 * 60 / 30
    assert RunState(num_planned=9).predicted_end(5.0) is None


def test_times_that_are_not_known_are_left_out() -> None:
    names = {name for name, _ in samples(RunState())}
    assert not {
        name for name in names if name.startswith(("artquant_last_", "artquant_refused", "artquant_run_deadline", "artquant_snapshot"))
    }
    assert of(RUN, "artquant_last_publish_timestamp_seconds") == 500 and of(RUN, "artquant_last_success_timestamp_seconds") == 600
    assert of(RUN, "artquant_snapshot_number", which="head") == 7 and of(RUN, "artquant_snapshot_number", which="view") == 6


def test_labels_are_few_and_the_runs_id_is_one_of_its_info_alone() -> None:
    allowed = {"stage", "outcome", "class", "op", "code", "le", "node", "which"}
    for (name, labels), _ in samples(RUN).items():
        if name != "artquant_run_info":
            assert {label for label, _ in labels} <= allowed, name
    assert of(RUN, "artquant_run_info", run_id="tonight", model_digest="abc", version="0.1.0") == 1


def test_prometheus_own_linter_finds_nothing() -> None:
    if not shutil.which("promtool"):
        pytest.skip("promtool is not installed: it comes with Debian's package prometheus")
    done = subprocess.run(["promtool", "check", "metrics"], input=exposition(families(RUN, 1160.0)), capture_output=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
