"""However a run ends, its metrics, its log and whoever is to be told say so."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from artquant.cli.main import main
from artquant.core.errors import AnotherRun, Held, RunFailed
from artquant.paintings import jpeg, paint
from artquant.progress.watch import WATCH
from artquant.storage.store import Store, open_store
from tests.checkpoints import save_random_checkpoint
from tests.pipelines.here import without_ray
from tests.results import nights

Ended = tuple[int, dict[str, Any], str]


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Store, list[str]]]:
    """An output, and the settings that name it, four pictures, a model, and who is to be told; Ray's part runs in this process."""
    monkeypatch.setenv("ARTQUANT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("artquant.cli.local_ray.running_ray", nullcontext)
    source, output = open_store(str(tmp_path / "art")), open_store(str(tmp_path / "out"))
    for seed in range(4):
        source.put(f"{seed}.jpg", jpeg(paint(seed), 32))
    settings = [
        f"input={source.uri}",
        f"output={output.uri}",
        f"model={save_random_checkpoint(tmp_path / 'random', max_critique_tokens=2)}",
        "run_id=tonight",
    ]
    told = [f"watch.command=cat > {tmp_path}/told", f"watch.metrics_file={tmp_path}/run.prom"]
    with without_ray():
        yield output, ["score", *settings, *told, "engine.critique=false"]


@pytest.fixture
def ended(places: tuple[Store, list[str]], tmp_path: Path) -> Callable[..., Ended]:
    """`ended(settings)`: the exit code, what was told, and the metrics that are left."""

    def ended(*settings: str) -> Ended:
        code = main([*places[1], *settings])
        return code, json.loads((tmp_path / "told").read_text()), (tmp_path / "run.prom").read_text()

    return ended


def test_ray_may_end_while_the_page_is_made(
    ended: Callable[..., Ended], places: tuple[Store, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pages: list[list[str]] = []

    def end_ray() -> None:
        pages.append([info.key for info in places[0].list() if info.key.endswith(".html")])

    monkeypatch.setattr("artquant.cli.local_ray.running_ray", lambda: nullcontext(end_ray))
    assert ended()[0] == 0
    assert pages == [[]]


def test_a_published_night_and_one_with_nothing_due(ended: Callable[..., Ended], places: tuple[Store, list[str]]) -> None:
    code, told, metrics = ended("price_per_hour=3.6")
    assert (code, told["status"], told["run_id"], told["output"], told["snapshot"]) == (0, "published", "tonight", places[0].uri, 1)
    assert (told["num_planned"], told["num_scored"], told["page"][:4]) == (4, 4, "file")
    assert told["cost_per_thousand"] == pytest.approx(told["seconds"] / 4)  # a thousandth of the price each second
    for line in ("run_done_rows 4.0", 'snapshot_number{which="head"} 1.0', 'snapshot_number{which="view"} 1.0', "run_active 0.0"):
        assert f"artquant_{line}" in metrics
    assert "artquant_last_publish_timestamp_seconds" in metrics and "artquant_last_success_timestamp_seconds" in metrics
    assert 'run_id="tonight"' in metrics and "artquant_run_cost_per_thousand" in metrics
    code, told, metrics = ended("run_id=next")
    assert (code, told["status"], told["num_reused"]) == (0, "nothing due", 4)
    assert "artquant_last_success_timestamp_seconds" in metrics and "artquant_run_held 0.0" in metrics


@pytest.mark.parametrize(
    ("error", "code", "status", "line"),
    [
        (Held("Too unlike."), 4, "held", "artquant_run_held 1.0"),
        (AnotherRun("It is another's."), 3, "refused", "artquant_refused_start_timestamp_seconds"),
        (RunFailed("It broke."), 1, "failed", "artquant_run_planned_rows 4.0"),
        (KeyboardInterrupt(), 130, "stopped", "artquant_run_active 0.0"),
        (ZeroDivisionError("by us"), 1, "failed", "artquant_run_active 0.0"),
    ],
)
def test_every_other_end_is_told_by_its_name_and_is_no_success(
    error: BaseException, code: int, status: str, line: str, ended: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*given: Any) -> None:
        raise error

    monkeypatch.setattr("artquant.pipelines.score.run_score", run)
    found, told, metrics = ended()
    assert (found, told["status"], told["run_id"]) == (code, status, "tonight")
    assert line in metrics and "artquant_last_success" not in metrics
    assert str(error) in told["message"]


def test_a_failed_night_is_told_with_its_numbers(ended: Callable[..., Ended], tmp_path: Path) -> None:
    (tmp_path / "art" / "broken.jpg").write_bytes(b"no picture")
    code, told, metrics = ended("max_rejected_fraction=0", "min_rejected=1")
    assert (code, told["status"], told["num_rejected"]) == (1, "failed", 1)
    assert 'artquant_rejects_total{class="not_an_image"} 1.0' in metrics


def test_a_run_that_is_given_up_is_told_where_it_is_asked_for(tmp_path: Path) -> None:
    source, output = open_store(str(tmp_path / "art")), open_store(str(tmp_path / "out"))
    source.put("a.jpg", b"there")
    with pytest.raises(KeyboardInterrupt):
        nights.night(output, nights.asked(source), "broken-off", stop_after=0)
    assert main(["snapshots", "abandon", output.uri, f"watch.command=cat > {tmp_path}/told"]) == 0
    told = json.loads((tmp_path / "told").read_text())
    assert told == {"status": "abandoned", "job": "score", "run_id": "broken-off", "output": output.uri}


def test_as_json_the_whole_command_is_records_and_its_end_is_one_with_numbers(
    ended: Callable[..., Ended], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended("log_format=json")[0] == 0
    streams = capsys.readouterr()
    assert streams.out == ""
    records = [json.loads(line) for line in streams.err.splitlines()]
    assert {record["run_id"] for record in records} == {"tonight"}
    (end,) = (record for record in records if record["event"] == "ended")
    assert (end["status"], end["num_scored"]) == ("published", 4)


def test_a_scrape_during_the_run_sees_its_plan(places: tuple[Store, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def run(*given: Any) -> None:
        seen.append(urllib.request.urlopen(f"http://127.0.0.1:{WATCH.port}/metrics").read().decode())
        raise RunFailed("It was looked at.")

    monkeypatch.setattr("artquant.pipelines.score.run_score", run)
    assert main([*places[1], "watch.metrics_port=0"]) == 1
    assert "artquant_run_planned_rows 4.0" in seen[0] and "artquant_run_engines 1.0" in seen[0] and "artquant_run_active 1.0" in seen[0]


def test_a_night_with_an_end_is_shown_whole_with_what_it_leaves(ended: Callable[..., Ended], places: tuple[Store, list[str]]) -> None:
    code, told, metrics = ended("deadline=2099-01-01T06:00Z", "engine.critique=true")
    assert (code, told["status"]) == (0, "published")
    assert "artquant_run_deadline_timestamp_seconds 4.0709304e+09" in metrics
    assert "artquant_run_planned_rows 8.0" in metrics and "artquant_run_done_rows 8.0" in metrics, "four scores and their texts"
    assert 'artquant_run_left_rows{stage="critique"} 0.0' in metrics and 'artquant_run_left_rows{stage="score"} 0.0' in metrics
