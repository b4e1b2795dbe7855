"""The describe job from annotations to annotations, against a real server on loopback."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from artquant.annotations.read import read_annotations
from artquant.config import AnnotationSpec
from artquant.core.errors import UserError
from artquant.results import layout
from artquant.results.operations import rollback
from artquant.results.plan import Plan
from artquant.results.snapshots import head
from tests.model_server import ModelServer
from tests.pipelines.describing import COLOURS, World, asked, describe, make_world
from tests.processes import start_job

pytestmark = pytest.mark.slow
PARTS = ("perception", "cognition", "emotion")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path / "world")


def another(world: World, row: Any) -> Any:
    """The texts of the next picture: what a generator says that was fed the wrong one."""
    return world.known[(int(row["artwork_id"][:2]) + 1) % len(world.rows)][1]


def test_descriptions_are_judged_written_again_set_aside_published_and_train_a_model(world: World, local_ray: None):
    def first(row: Any) -> Any:
        return another(world, row) if row["score"] > 6 else row

    with ModelServer(world.known, first=first) as server:
        workers = {"shard_rows": 4, "wave_rows": 8}
        described = describe(world.settings(server.url, run_id="one", workers=workers))
        waves = sorted(
            info.key for info in world.output.list("_artquant/runs") if info.key.endswith("plan.parquet") and "/waves/" in info.key
        )
        sizes = [Plan(world.output, key).summary.num_planned for key in waves]
        assert sizes == [8, 5, 4], "what is left open rides with what is new"
        rows = world.described()
        assert described.num_kept == len(rows) == 12 and described.num_set_aside == 0
        assert described.by_round == {1: 7, 2: 5} and described.exam["auc"] == 1.0
        for _, known in world.known[:12]:
            row = rows[known["artwork_id"]]
            assert {part: row[part] for part in PARTS} == {part: known[part] for part in PARTS}
            assert round(row["score"], 1) == known["score"] and row["num_rounds"] == (2 if known["score"] > 6 else 1)
            verdicts = json.loads(row["verdicts"])
            assert verdicts[-1]["agreed"] and verdicts[-1]["probability"] == pytest.approx(0.9)
            if row["num_rounds"] == 2:
                assert verdicts[0]["reason"] == "it tells of something else" and verdicts[0]["texts"]["emotion"] != row["emotion"]
            assert row["input_tokens"] > 0 and row["output_tokens"] > 0 and row["run_id"] == "one" and row["language"] == "English"
            assert row["generator_digest"] != row["judge_digest"] and row["template_digest"] and row["exam_digest"]
        assert sum(row["input_tokens"] + row["output_tokens"] for row in rows.values()) <= described.tokens == server.tokens
        say = [one["messages"][0]["content"][0]["text"] for one in server.requests]
        assert any("seen by number 3" in text and "mean is 5.5" in text for text in say)
        assert any("refused: it tells of something else. It said:" in text for text in say)
        # What is published is an annotation source as it is.
        source = read_annotations(AnnotationSpec(uri=world.output.child("descriptions").uri))
        assert source.table.num_rows == 12 and source.rejects.num_rows == 0
        assert source.table.column("emotion").to_pylist() == [rows[name]["emotion"] for name in sorted(rows)]
        # The same once more: nothing is due, and after a rollback every answer is still there.
        num = len(server.requests)
        assert describe(world.settings(server.url)) is None
        rollback(world.output)
        assert world.described() == {}
        with pytest.raises(UserError, match="was taken back"):
            describe(world.settings(server.url))
        again = describe(world.settings(server.url, run_id="two", accept_rolled_back=True))
        assert again.num_kept == 12 and len(server.requests) == num and again.tokens == 0
        assert [snapshot.kind for snapshot in [head(world.output)] if snapshot] == ["run"]


def test_a_generator_that_was_fed_the_wrong_picture_is_refused_and_a_retry_asks_anew(world: World, local_ray: None):
    with ModelServer(world.known) as server:
        right = server.text
        server.text = lambda body: (  # type: ignore[method-assign]
            json.dumps({part: another(world, server.seen(body))[part] for part in PARTS}) if body["model"] == "writer" else right(body)
        )
        described = describe(world.settings(server.url, max_rounds=2, limit=4))
        assert (described.num_kept, described.aside["not_agreed"][0]) == (0, 4)
        assert {row["message"] for row in world.set_aside().values()} == {"it tells of something else"}
        assert describe(world.settings(server.url, max_rounds=2, limit=4)).num_set_aside == 4  # the others
        server.text = right  # type: ignore[method-assign]
        assert describe(world.settings(server.url, max_rounds=2, retry=["not_agreed"], limit=4)).num_kept == 4


def test_a_round_without_gain_is_the_last(world: World, local_ray: None, monkeypatch):
    class Knowing:
        """Reads each artwork's own score from its colour, whatever the round."""

        def read(self, texts: list[str]) -> np.ndarray:
            return np.array([next((i for i, colour in enumerate(COLOURS) if f"of {colour} is" in text), 0) for text in texts], float)

    monkeypatch.setattr("artquant.pipelines.describe.taught_readers", lambda: (Knowing(), Knowing()))
    monkeypatch.setattr("artquant.pipelines.describe_rounds.MIN_TOOK", 8)
    with ModelServer(world.known) as server:
        right = server.text
        refused = json.dumps({"agrees": "no", "reason": "it never fits"})
        is_exam = lambda body: server.seen(body)["artwork_id"].startswith("exam/")  # noqa: E731
        server.text = lambda body: right(body) if body["model"] == "writer" or is_exam(body) else refused  # type: ignore[method-assign]
        described = describe(world.settings(server.url, max_rounds=4))
        assert (described.num_set_aside, described.aside["not_agreed"][0]) == (12, 12)
        assert {row["attempts"] for row in world.set_aside().values()} == {2}
        assert described.rounds_note.startswith("No round after round 2 was made") and len(described.rounds) == 2
        described = describe(world.settings(server.url, max_rounds=4, stop_without_gain=False, force=True))
        assert described.rounds_note == "" and len(described.rounds) == 4


def test_sentences_are_asked_one_by_one_of_the_picture(world: World, local_ray: None):
    """A generator that adds the same sentence to every emotion, and a judge that looks at the picture and not for that."""
    with ModelServer(world.known) as server:
        right, more = server.text, "A dog waits in front."

        def text(body: Any) -> str:
            answer = right(body)
            if body["model"] == "writer":
                texts = json.loads(answer)
                return json.dumps(texts | {"emotion": f"{texts['emotion']} {more}"})
            if "wrote of this picture" in body["messages"][0]["content"][0]["text"]:
                return answer
            body["messages"][0]["content"][0]["text"] = body["messages"][0]["content"][0]["text"].replace(f" {more}", "")
            return right(body)

        server.text = text  # type: ignore[method-assign]
        described = describe(world.settings(server.url, claims=5))
        assert described.num_kept == 12
        claims = described.claims
        assert claims and claims.auc > 0.9 and claims.false_refusals == 0
        assert sum(one.num for one in claims.levels) == 5 * 4
        assert all(one.unsupported.value == 0.25 for one in claims.levels)
        page = world.output.get(layout.run_key(described.run_id, "report.html")).decode()
        assert "not to be seen in the picture" in page
        blind = describe(world.settings(server.url, claims=0, force=True))
        assert blind.claims is None


def test_a_budget_is_never_passed_what_was_done_is_kept_and_a_larger_one_goes_on(world: World, local_ray: None):
    with ModelServer(world.known) as server:
        exam = describe(world.settings(server.url, limit=1)).tokens
        limit = exam + 3000
        described = describe(world.settings(server.url, budget_tokens=limit))
        assert 0 < described.num_kept < 11 and described.aside["budget"][0] == 11 - described.num_kept
        assert server.tokens <= described.tokens_in_all <= limit
        kept = world.described()
        described = describe(world.settings(server.url, budget_tokens=1_000_000))
        assert len(world.described()) == 12 and kept.items() <= world.described().items()
        assert len(asked(server.requests)) == len(set(asked(server.requests))), "something was asked twice"
        with pytest.raises(UserError, match="budget_tokens=10 is spent"):
            describe(world.settings(server.url, budget_tokens=10, force=True))


def test_a_judge_that_says_yes_to_all_does_not_judge(world: World, local_ray: None):
    with ModelServer(world.known, verdict=lambda fits: True) as server, pytest.raises(UserError, match="one verdict"):
        describe(world.settings(server.url))
    assert world.described() == {} and all(one["model"] == "critic" for one in server.requests)


def test_a_run_that_is_killed_goes_on_and_asks_nothing_twice(world: World, tmp_path: Path):
    with ModelServer(world.known) as server:
        slow = server.answer

        def answer(handler: Any) -> None:
            time.sleep(0.2)
            slow(handler)

        server.answer = answer  # type: ignore[method-assign]
        settings = world.settings(server.url)
        config = tmp_path / "settings.yaml"
        config.write_text(json.dumps(settings))
        first = start_job("describe", [f"config={config}"], tmp_path / "home")
        deadline = time.monotonic() + 180
        while len([one for one in server.requests if one["model"] == "writer"]) < 7:
            assert first.poll() is None and time.monotonic() < deadline, first.stderr.read()
            time.sleep(0.05)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait(60)
        time.sleep(1)  # what was on its way is answered, to nobody
        before = len(server.requests)
        assert world.described() == {}
        second = start_job("describe", [f"config={config}"], tmp_path / "home")
        assert second.wait(240) == 0, second.stderr.read()
    assert len(world.described()) == 12
    twice = len(server.requests) - len(set(asked(server.requests)))
    assert before < len(server.requests) and twice <= settings["generator"]["concurrency"], "only what was on its way may be asked again"
