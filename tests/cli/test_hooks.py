"""Whoever is to be told of a run's end is told, and whatever becomes of that fails nothing."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest

from artquant.cli.hooks import tell_end, told
from artquant.cli.main import main
from artquant.config import HookSpec, WatchSpec
from artquant.core.errors import AnotherRun, Held, RunFailed
from tests.progress.test_watch import web

SUMMARY = {"status": "held", "run_id": "tonight", "output": "s3://bucket/scores", "num_scored": 7}


def test_a_webhook_is_sent_the_summary_and_its_address_may_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with web() as (address, asked):
        monkeypatch.setenv("HOOK", f"{address}/secret")
        tell_end(WatchSpec(webhook="$HOOK"), SUMMARY)
    assert [(method, path, json.loads(body)) for method, path, body in asked] == [("POST", "/secret", SUMMARY)]
    assert capsys.readouterr().err == ""


def test_a_command_has_the_summary_on_its_input_and_the_ending_in_its_environment(tmp_path: Path) -> None:
    tell_end(WatchSpec(command=f'cat > {tmp_path}/in; echo "$ARTQUANT_STATUS $ARTQUANT_RUN_ID $ARTQUANT_OUTPUT" > {tmp_path}/env'), SUMMARY)
    assert json.loads((tmp_path / "in").read_text()) == SUMMARY
    assert (tmp_path / "env").read_text() == "held tonight s3://bucket/scores\n"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"webhook": "http://127.0.0.1:9/"}, "The webhook was not told of the end of the run: Connection refused."),
        ({"webhook": "$NOT_SET"}, "The webhook was not told of the end of the run: NOT_SET is not set."),
        ({"webhook": "http://a b/"}, "The webhook was not told of the end of the run: "),
        ({"command": "exit 7"}, "The command at the end of the run failed: it ended with exit code 7."),
        ({"command": "sleep 100000 & wait", "hook_seconds": 0.2}, "it took more than 0.2 s and was ended."),
    ],
)
def test_what_fails_is_one_line(settings: dict[str, object], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    tell_end(WatchSpec.model_validate(settings), SUMMARY)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("artquant: ") and sentence in line


def test_a_webhook_that_refuses_is_said_without_its_address(capsys: pytest.CaptureFixture[str]) -> None:
    with web(status=403) as (address, _):
        tell_end(WatchSpec(webhook=f"{address}/secret"), SUMMARY)
    said = capsys.readouterr().err
    assert "Forbidden" in said and "secret" not in said


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, "published"),
        (RunFailed("no"), "failed"),
        (KeyboardInterrupt("Stopped."), "stopped"),
        (Held("beyond"), "held"),
        (AnotherRun("x"), "refused"),
    ],
)
def test_each_ending_of_a_job_is_told(error: BaseException | None, status: str, tmp_path: Path) -> None:
    with suppress(BaseException), told(HookSpec(command=f"cat > {tmp_path}/in"), "train") as summary:
        summary |= {"run_id": "tonight", "output": "s3://bucket/out"}
        if error:
            raise error
        summary["status"] = "published"
    heard = json.loads((tmp_path / "in").read_text())
    assert (heard["job"], heard["status"], heard["run_id"], heard["output"]) == ("train", status, "tonight", "s3://bucket/out")
    assert heard.get("message") == (str(error) if error else None)


@pytest.mark.parametrize("job", ["train", "evaluate", "describe"])
def test_a_job_that_fails_says_so_to_its_hooks(job: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    places = [f"annotations.uri={tmp_path}/none.csv", f"annotations.images={tmp_path}", f"output={tmp_path}/out"]
    assert main([job, *places, f"watch.command=cat > {tmp_path}/in", "watch.hook_seconds=5"]) == 2
    heard = json.loads((tmp_path / "in").read_text())
    assert (heard["job"], heard["status"]) == (job, "failed") and "none.csv" in heard["message"]
