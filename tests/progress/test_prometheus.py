"""A real Prometheus scrapes a run at work and is asked, in its own language, what dashboards and alerts ask."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from artquant.config import WatchSpec
from artquant.progress.counts import StageCount
from artquant.progress.watch import RunWatch

ALERTS = Path(__file__).resolve().parents[2] / "cluster" / "monitoring" / "rules.yaml"
Query = Callable[[str], dict[str, float]]


@contextmanager
def prometheus(target: str, folder: Path) -> Iterator[Query]:
    """A server that scrapes `target` five times a second; `query(expression)` is label values -> value."""
    scrape = {"job_name": "artquant", "scrape_interval": "200ms", "static_configs": [{"targets": [target]}]}
    config = {"global": {"evaluation_interval": "200ms"}, "scrape_configs": [scrape]}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    options = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data", f"--web.listen-address={address}"]
    server = subprocess.Popen(["prometheus", *options], stdout=subprocess.DEVNULL, stderr=(folder / "log").open("w"))

    def query(expression: str) -> dict[str, float]:
        url = f"http://{address}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(url, timeout=10) as answer:
            result = json.loads(answer.read())["data"]["result"]
        found = {",".join(v for k, v in sorted(one["metric"].items()) if k not in ("__name__", "instance", "job")): one for one in result}
        assert len(found) == len(result), "a metric is more than one series a label"
        return {labels: float(one["value"][1]) for labels, one in found.items()}

    try:
        yield query
    finally:
        server.terminate()
        server.wait(30)


def until(condition: Callable[[], bool]) -> None:
    """Return when the condition holds; the test's own time limit ends what never does."""
    while True:
        try:
            if condition():
                return
        except (urllib.error.URLError, ConnectionError):  # it is still starting
            pass
        time.sleep(0.1)


@pytest.mark.slow
def test_prometheus_reads_a_run_and_sees_it_end(tmp_path: Path) -> None:
    if not shutil.which("prometheus"):
        pytest.skip("prometheus is not installed: it is Debian's package of that name")
    watch = RunWatch()
    with watch.shown(WatchSpec(metrics_port=0), print):
        watch.know(run_id="tonight", model_digest="abc", version="0.1.0", num_planned=10, head=2, view=2)
        with prometheus(f"127.0.0.1:{watch.port}", tmp_path) as query:
            watch.add(["", "missing"])
            watch.see({"score": StageCount(num_rows=2, busy_seconds=1.0)})
            until(lambda: query("artquant_run_done_rows") == {"": 2})
            watch.add([""] * 3)
            until(lambda: query("artquant_run_done_rows") == {"": 5})
            assert query("sum(artquant_rows_total{stage='score'})") == {"": 5}
            assert query("artquant_rejects_total") == {"missing": 1}
            assert query("rate(artquant_rows_total{outcome='scored'}[1m]) > 0").keys() == {"scored,score"}
            assert query("artquant_run_info") == {"abc,tonight,0.1.0": 1}
            assert query("artquant_snapshot_number") == {"head": 2, "view": 2}
            watch.know(is_active=False)
            until(lambda: query("artquant_run_active") == {"": 0})
