"""How a command ends: signals, deaths without a word, errors that nobody foresaw, and what `make` is told."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from pytest import MonkeyPatch

from artquant.cli import local_ray
from artquant.cli.main import main
from artquant.cli.score import is_published
from artquant.cli.summary import keep_page
from artquant.config import ScoreSpec
from artquant.core.errors import RunFailed, UserError
from artquant.results.snapshots import commit, following
from artquant.storage.store import open_store
from tests.processes import ROOT

HEAVY = {"torch", "ray", "transformers", "numpy", "pyarrow", "scipy", "boto3", "obstore"}
SLEEPER = """
import os, sys, time
from artquant.cli import main as command
from artquant.cli.ends import supervised
def sleep(arguments):
    print("asleep", flush=True)
    for _ in range(600):  # in one go a signal that comes just before it would be heeded just after it
        time.sleep(0.1)
def die(arguments):
    os._exit(1)
def kill(arguments):
    os.kill(os.getpid(), 9)
command.run = {"sleep": sleep, "die": die, "kill": kill}[sys.argv[1]]
sys.exit(supervised(command.main, []))
"""


def start(what: str) -> subprocess.Popen:
    command = [sys.executable, "-c", SLEEPER, what]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_signal_ends_the_job_with_a_sentence_and_its_code(number: int, code: int) -> None:
    job = start("sleep")
    assert job.stdout and job.stdout.readline() == "asleep\n"
    os.killpg(job.pid, number) if number == signal.SIGINT else job.send_signal(number)  # a terminal tells all of a group, a scheduler one
    _, said = job.communicate(timeout=30)
    assert job.returncode == code
    assert said == "artquant: Stopped. Nothing was published; what was published before is current still.\n"


@pytest.mark.parametrize("what, code, how", [("die", 1, "with code 1"), ("kill", 137, "by signal 9")])
def test_a_death_without_a_word_is_told(what: str, code: int, how: str) -> None:
    job = start(what)
    _, said = job.communicate(timeout=30)
    assert job.returncode == code and said.count("\n") == 1
    assert said.startswith(f"artquant: The job's process ended {how} without a word") and "logs" in said


def test_who_kills_the_command_kills_the_job() -> None:
    job = start("sleep")
    assert job.stdout and job.stdout.readline() == "asleep\n"
    job.kill()
    started = time.monotonic()
    assert job.stdout.read() == "" and time.monotonic() - started < 20  # the pipe is closed: nobody holds its other end


def test_an_error_that_nobody_foresaw_is_a_sentence_and_its_traceback_is_kept(
    monkeypatch: MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(arguments: list[str]) -> int:
        raise TypeError("the moon\nis full")

    monkeypatch.setattr("artquant.cli.main.run", run)
    monkeypatch.setenv("ARTQUANT_HOME", str(tmp_path))
    assert main(["score"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "TypeError: the moon is full" in said
    (kept,) = tmp_path.glob("logs/*.txt")
    assert str(kept) in said and "Traceback" in kept.read_text()


def test_a_full_disk_of_this_machine_is_something_to_correct(monkeypatch: MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run(arguments: list[str]) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", "/data/home/server.log")

    monkeypatch.setattr("artquant.cli.main.run", run)
    assert main(["score"]) == 2
    assert capsys.readouterr().err == (
        "artquant: Cannot write /data/home/server.log: No space left on device; make room, or set ARTQUANT_HOME to another folder.\n"
    )


@pytest.mark.parametrize("num_failures", [1, 2])
def test_a_ray_that_does_not_start_is_started_once_more_and_then_told(
    num_failures: int, monkeypatch: MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import ray

    starts = []

    def init(**options: object) -> None:
        starts.append(options["address"])
        if len(starts) <= num_failures:
            raise Exception("The current node timed out during startup. This could happen because some of the raylet failed.")

    class Context:
        def get_temp_dir(self) -> str:
            return str(tmp_path)

        def get_session_name(self) -> str:
            return "session_1"

    (tmp_path / "session_1").mkdir()
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(ray, "get_runtime_context", Context)
    if num_failures == 1:
        local_ray.start_local_ray()
    else:
        with pytest.raises(RunFailed, match="Ray did not start, twice: The current node timed out during startup. Look at its logs"):
            local_ray.start_local_ray()
    assert starts == ["local", "local"]
    assert "Ray did not start (The current node timed out during startup.), trying once more" in capsys.readouterr().err


def test_old_sessions_of_ours_go_and_other_peoples_stay(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"session_{number}").mkdir()
        (tmp_path / f"session_{number}" / "artquant-job").write_text("1" if number == 1 else "999999999")
    (tmp_path / "session_0_of_others").mkdir()
    local_ray.forget_sessions(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["session_0_of_others", "session_1", "session_3", "session_4", "session_5"]


def test_a_page_that_cannot_be_copied_does_not_make_a_run_that_ended_well_fail(
    monkeypatch: MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("ARTQUANT_HOME", str(tmp_path))
    store = open_store(f"{tmp_path}/out")
    assert keep_page(store, "runs/a/report.html", "a") == store.uri_of("runs/a/report.html")
    assert "There is no copy of the page on this machine" in capsys.readouterr().err
    store.put("runs/a/report.html", b"<html>")
    assert keep_page(store, "runs/a/report.html", "a").startswith("file://")


def test_a_job_that_is_stopped_knows_whether_its_run_was_published(tmp_path: Path) -> None:
    output = f"{tmp_path}/out"
    assert not is_published(output, "tonight")
    first = following(None, "run", "yesterday", "w1", files=())
    commit(open_store(output), first)
    assert not is_published(output, "tonight")
    commit(open_store(output), following(first, "run", "tonight", "w2"))
    assert is_published(output, "tonight")


def test_an_error_after_publishing_says_that_the_run_is_published(
    monkeypatch: MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:

    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(b"a picture")
    monkeypatch.setenv("ARTQUANT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("artquant.cli.local_ray.running_ray", nullcontext)
    monkeypatch.setattr("artquant.engines.recipe.make_recipe", lambda *_: None)

    def run_score(spec: ScoreSpec, *_: object) -> None:
        if spec.run_id == "published":
            commit(open_store(str(spec.output)), following(None, "run", "published", "w", files=()))
        raise TypeError("the page is broken")

    monkeypatch.setattr("artquant.pipelines.score.run_score", run_score)
    places = [f"input={tmp_path}/in", f"output={tmp_path}/out", "model=tiny"]
    assert main(["score", *places, "run_id=published"]) == 0
    assert (
        "artquant: The run published is published, and its rows are current; what came after failed: TypeError" in capsys.readouterr().err
    )
    assert main(["score", f"input={tmp_path}/in", f"output={tmp_path}/other", "model=tiny", "run_id=another"]) == 1
    assert "Stopped by an error that nobody foresaw: TypeError: the page is broken" in capsys.readouterr().err


def make(*arguments: str) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "JOB", "ARGS")}
    return subprocess.run(["make", "-o", ".venv/.ready", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("stray", ["input=x", "engine.num_gpus=1", "ARG=input=x", "job=score"])
def test_a_setting_that_is_typed_as_a_variable_of_make_is_refused(stray: str) -> None:
    done = make("submit", "JOB=score", stray)
    assert done.returncode == 2 and "Started" not in done.stdout + done.stderr
    assert f"artquant: {stray.partition('=')[0]}= is no variable of this Makefile" in done.stderr and "ARGS=" in done.stderr


def test_make_retry_tries_the_class_that_is_named_and_no_other_target_takes_one() -> None:
    done = make("-n", "retry", "CLASS=throttled", "ARGS=input=/a output=/b")
    assert 'artquant score config=jobs/score.yaml "retry=throttled" input=/a output=/b' in done.stdout
    for arguments, words in ((("retry",), "say which reject class"), (("submit", "JOB=score", "CLASS=x"), "CLASS= is for make retry")):
        done = make("-n", *arguments)
        assert done.returncode == 2 and words in done.stderr


def test_a_target_that_is_misspelt_is_answered_with_where_to_look() -> None:
    done = make("sumbit")
    assert done.returncode == 2 and "there is no target 'sumbit': make help" in done.stderr


@pytest.mark.skipif(not (ROOT / ".venv" / "bin" / "artquant").exists(), reason="make uses .venv")
def test_sigterm_to_make_reaches_the_job(tmp_path: Path) -> None:
    """With a job that waits: its configuration is a pipe that nobody writes into."""
    os.mkfifo(tmp_path / "settings")
    command = ["make", "-o", ".venv/.ready", "submit", "JOB=score", f"ARGS=config={tmp_path}/settings"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    time.sleep(2)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode != 0 and "artquant: Stopped. Nothing was published" in said


@pytest.mark.parametrize(
    "says", ["print('x' * 100_000)", "from rich.console import Console; Console(highlight=False).print('x' * 100_000)", "print('x')"]
)
def test_a_reader_of_the_summary_that_goes_away_changes_no_exit_code(says: str) -> None:
    program = f"import artquant.cli.main as cli\ndef run(arguments):\n    {says}\n    return 0\ncli.run = run\ncli.command()"
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run([sys.executable, "-c", program], stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60, cwd=ROOT)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("arguments", [["--help"], ["help"], ["score", "--help"], ["train", "help"], ["evaluate", "-h"]])
def test_help_names_every_setting_with_its_default(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    from artquant.cli.main import spec_of
    from artquant.config import settings_of

    assert main(arguments) == 0
    said = capsys.readouterr().out
    if len(arguments) == 1:
        assert all(name in said for name in ("score", "train", "evaluate", "promote", "143"))
        return
    for setting in settings_of(spec_of(arguments[0])):
        assert f"  {setting.key}=" in said, setting.key
    assert "engine.num_workers=whole number   (default 1)" in said and max(map(len, said.splitlines())) <= 100


def test_help_and_refusals_import_nothing_heavy() -> None:
    program = "import sys; from artquant.cli.main import main; main(sys.argv[1:]); print(' '.join(sys.modules), file=sys.stderr)"
    for arguments in (["score", "--help"], ["scroe"], ["score", "input="], ["score", "input=/a"]):
        done = subprocess.run([sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60)
        loaded = set(done.stderr.splitlines()[-1].split())
        assert "artquant.config" in loaded and not loaded & {
            "torch",
            "ray",
            "transformers",
            "numpy",
            "pyarrow",
            "scipy",
            "boto3",
            "obstore",
        }


def test_a_model_that_was_found_usable_is_not_looked_at_again_and_another_is(monkeypatch: MonkeyPatch, tmp_path: Path) -> None:
    from artquant.engines import recipe

    looked = []
    monkeypatch.setenv("ARTQUANT_HOME", str(tmp_path))
    monkeypatch.setattr(recipe, "check_usable", lambda checkpoint: looked.append(checkpoint.model_digest))
    for digest in ("a", "a", "b", "a"):
        recipe.check_usable_once(SimpleNamespace(model_digest=digest))
    assert looked == ["a", "b"]
    monkeypatch.setattr(recipe, "code_digest", lambda: "other code")
    recipe.check_usable_once(SimpleNamespace(model_digest="a"))
    assert looked == ["a", "b", "a"]

    def refuse(checkpoint: object) -> None:
        looked.append("refused")
        raise UserError("The model cannot be used.")

    monkeypatch.setattr(recipe, "check_usable", refuse)
    for _ in range(2):
        with pytest.raises(UserError):
            recipe.check_usable_once(SimpleNamespace(model_digest="c"))
    assert looked[-2:] == ["refused", "refused"]
