"""Alerts fire where they must and not beside it, and whatever they and the dashboard ask for is what a run says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from artquant.progress.metrics import exposition, families
from tests.cluster.manifests import CLUSTER
from tests.progress.test_metrics import RUN

FOLDER = CLUSTER / "monitoring"
RULES = yaml.safe_load((FOLDER / "rules.yaml").read_text())
ALL = [rule for group in RULES["groups"] for rule in group["rules"]]
ALERTS = [rule for rule in ALL if "alert" in rule]
NAMES = sorted({rule["alert"] for rule in ALERTS})
TESTS = sorted(FOLDER.glob("*.test.yaml"))
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
OF_THE_STORE = {"artquant_orphan_objects"}  # artquant snapshots metrics


@pytest.fixture
def promtool() -> Any:
    if not shutil.which("promtool"):
        pytest.skip("promtool is not installed: it comes with Debian's package prometheus")

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True)

    return run


def test_rules_and_scrapes_are_valid_and_every_alert_is_as_its_tests_say(promtool: Any, tmp_path: Path) -> None:
    config = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())
    for one in config["scrape_configs"]:
        one.pop("kubernetes_sd_configs", None)  # Debian's build does without
    shutil.copy(FOLDER / "rules.yaml", tmp_path)
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(config))
    checks = [("check", "config", tmp_path / "prometheus.yaml"), *(("test", "rules", file) for file in TESTS)]
    for arguments in checks:
        done = promtool(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("spoilt", ["vector(1) > 2", 'label_replace(vector(1), "job", "artquant-score", "", "")'])
def test_an_alert_that_never_fires_and_one_that_always_does_are_found(spoilt: str, promtool: Any, tmp_path: Path) -> None:
    rules = yaml.safe_load((FOLDER / "rules.yaml").read_text())
    for rule in (rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule):
        rule |= {"expr": spoilt, "annotations": {}}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    said = ""
    for file in TESTS:
        shutil.copy(file, tmp_path)
        done = promtool("test", "rules", tmp_path / file.name)
        said += done.stdout + done.stderr
    assert sorted(set(re.findall(r'expr: "ALERTS{alertname=..(\w+)', said))) == NAMES


def test_each_alert_says_how_bad_it_is_and_has_a_page_that_says_what_to_do() -> None:
    pages = re.split(r"^## ", (CLUSTER.parent / "docs" / "runbook.md").read_text(), flags=re.MULTILINE)[1:]
    found = {page.partition("\n")[0]: page for page in pages}
    assert sorted(found) == NAMES
    assert all(f"\n**{part}** " in page for page in found.values() for part in ("Means", "Look at", "Do"))
    for rule in ALERTS:
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert rule["annotations"]["runbook_url"].endswith(f"docs/runbook.md#{rule['alert'].lower()}")
        assert rule["annotations"]["dashboard_url"].endswith(f"/{DASHBOARD['uid']}")


def test_what_is_asked_for_is_what_a_run_says_or_what_is_recorded_of_it() -> None:
    said = set(re.findall(r"^(artquant_\w+?)(?:\{| )", exposition(families(RUN, 1160.0)).decode(), re.MULTILINE)) | OF_THE_STORE
    recorded = {rule["record"] for rule in ALL if "record" in rule}
    for expression in (*QUERIES, *(rule["expr"] for rule in ALL)):
        named = set(re.findall(r"(?:\w+:)?artquant_\w+(?::\w+)?", re.sub(r'"[^"]*"', "", expression)))
        assert named and named <= said | recorded, expression
    labels = {label for name in re.findall(r"by \(([^)]*)\)", " ".join(QUERIES)) for label in name.split(", ")}
    assert labels <= {"job", "stage", "class", "le", "op", "code", "node", "which"}


def test_every_query_of_the_dashboard_is_prometheus_own(promtool: Any, tmp_path: Path) -> None:
    rules = [{"record": f"panel:{number}", "expr": query.replace("$job", "a")} for number, query in enumerate(QUERIES)]
    (tmp_path / "panels.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = promtool("check", "rules", tmp_path / "panels.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_is_one_that_can_be_read() -> None:
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    cells = [
        (x, y) for place in places for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24, "panels lie over each other"
    assert all(panel["title"] and panel["targets"] for panel in DASHBOARD["panels"])
