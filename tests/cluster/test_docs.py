"""What the operations' pages name is there: files, settings, metrics, drills."""

from __future__ import annotations

import re
import subprocess

import pytest

from artquant.config import ScoreSpec, settings_of
from artquant.progress.metrics import exposition, families
from tests.cluster.manifests import CLUSTER
from tests.progress.test_metrics import RUN

ROOT = CLUSTER.parent
PAGES = {name: (ROOT / "docs" / name).read_text() for name in ("operations.md", "runbook.md")}
MAKEFILE = (ROOT / "Makefile").read_text()
DRILLS = re.findall(r"^DRILL_([a-z-]+) :=", MAKEFILE, re.MULTILINE)


def test_files_and_settings_that_are_named_are_there() -> None:
    settings = {setting.key for setting in settings_of(ScoreSpec)}
    for page in PAGES.values():
        for path in re.findall(r"((?:cluster|tests|bench)/[\w./-]+\w)", page):
            assert (ROOT / path).exists(), path
        assert set(re.findall(r"`((?:watch|fetch|engine)\.\w+)", page)) <= settings


def test_every_metric_of_a_run_is_explained_and_no_other_is() -> None:
    told = PAGES["operations.md"].replace("artquant_run_start_`, `_progress_`, `_predicted_end_`, `_deadline_timestamp_seconds", "")
    explained = set(re.findall(r"`(artquant_[a-z_]+[a-z])[`{]", told))
    said = set(re.findall(r"^# TYPE (artquant_\w+) ", exposition(families(RUN, 1160.0)).decode(), re.MULTILINE))
    moments = {f"artquant_run_{name}_timestamp_seconds" for name in ("start", "progress", "predicted_end", "deadline")}
    assert explained == said - moments and moments <= said


def test_the_drills_are_those_of_the_page_and_their_tests_are_there() -> None:
    table = PAGES["operations.md"].partition("| `make drill DRILL=`")[2]
    assert re.findall(r"^\| ([a-z-]+) \|", table, re.MULTILINE) == DRILLS
    for drill in DRILLS:
        shown = subprocess.run(["make", "-n", "drill", f"DRILL={drill}"], cwd=ROOT, capture_output=True, text=True)
        nodes = re.findall(r"(tests/\S+\.py)(?:::(\w+))?", shown.stdout)
        assert nodes, drill
        for file, name in nodes:
            assert f"def {name}(" in (ROOT / file).read_text() if name else (ROOT / file).exists()


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_are_ones_that_the_program_knows(page: str) -> None:
    from artquant.cli.help import COMMANDS, JOBS, OPERATIONS
    from artquant.cli.snapshots import COMMANDS as ON_SNAPSHOTS

    for command in re.findall(r"(?:`|^    )artquant ([a-z]+)", PAGES[page], re.MULTILINE):
        assert command in {*JOBS, *COMMANDS, *OPERATIONS, "describe"}, command
    for command in re.findall(r"artquant snapshots ([a-z]+)", PAGES[page]):
        assert command in ON_SNAPSHOTS, command
