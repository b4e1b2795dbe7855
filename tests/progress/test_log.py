"""As JSON, every line of a command is one object with the run's id, whoever printed it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

from artquant.progress import log


@pytest.fixture(autouse=True)
def put_back() -> Iterator[None]:
    yield
    log.as_text()


def records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_what_libraries_print_and_what_we_tell_are_records(capsys: pytest.CaptureFixture[str]) -> None:
    log.as_json(job="score", run_id="draft")
    log.add_fields(run_id="tonight")
    print("half a line, ", end="", file=sys.stderr)
    print('and its end\nand "another"\n', file=sys.stderr)
    print("50 %\r100 %", file=sys.stderr)
    Console(stderr=True).print("[bold]bold[/bold]")
    log.tell("heartbeat", num_done=3)
    log.tell("exit", "It broke.", "error", exit_code=1)
    found = records(capsys.readouterr().err)
    assert [one.get("message") for one in found] == ["half a line, and its end", 'and "another"', "100 %", "bold", None, "It broke."]
    assert {one["run_id"] for one in found} == {"tonight"} and {one["job"] for one in found} == {"score"}
    assert (found[4]["event"], found[4]["num_done"]) == ("heartbeat", 3)
    assert (found[5]["level"], found[5]["exit_code"]) == ("error", 1)
    assert all(one["time"].endswith("+00:00") for one in found)


def test_as_text_a_message_is_a_line_and_numbers_alone_are_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    log.tell("heartbeat", num_done=3)
    log.tell("exit", "It broke.", "error")
    assert capsys.readouterr().err == "It broke.\n"


def test_text_comes_back_and_nothing_is_left_of_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    log.as_json(run_id="tonight")
    log.as_text()
    print("plain", file=sys.stderr)
    log.as_json()
    print("again")
    streams = capsys.readouterr()
    assert streams.err == "plain\n" and "run_id" not in records(streams.out)[0]
