"""What each setting of the describe job changes, seen where it acts and without Ray."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from artquant.annotations.pairs import Fault
from artquant.cli.describe import players_of, read_spec
from artquant.config import DescribeSpec, ExamSpec, PlayerSpec, ResolvedDescribeSpec
from artquant.core.errors import UserError
from artquant.core.scale import Scale
from artquant.descriptions.collection import read_collection
from artquant.descriptions.endpoint import Endpoint, reservation
from artquant.descriptions.exam import painted_rows, questions_of
from artquant.descriptions.recipes import family_of, make_recipe
from artquant.pipelines import describe as job
from artquant.pipelines import describe_waves
from artquant.pipelines.describe import claimed_descriptions, identity_of
from artquant.results.plan import PlanSummary
from tests.descriptions.conftest import asking
from tests.pipelines.describing import World, make_world

ENDPOINT = {"base_url": "http://127.0.0.1:9/v1", "model": "writer"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("settings") / "world")


def typed(world: World, **changes: Any) -> ResolvedDescribeSpec:
    return ResolvedDescribeSpec.model_validate(world.settings("http://127.0.0.1:9/v1", **changes))


def recipe(picture_size: int = 64, share: float = 1.0, **changes: Any) -> Any:
    return make_recipe(PlayerSpec.model_validate(ENDPOINT | changes), picture_size, 0, share, "generator")


def test_the_engine_follows_from_what_is_named():
    assert recipe().engine == "openai" and recipe(engine="openai").engine == "openai"
    assert make_recipe(PlayerSpec(), 64, 0, 1.0, "judge").engine == "torch"
    with pytest.raises(UserError, match="judge.base_url and judge.model"):
        make_recipe(PlayerSpec(engine="openai"), 64, 0, 1.0, "judge")


def test_a_model_and_its_endpoint_are_known_by_both_and_belong_to_a_family():
    assert recipe().digest != recipe(model="other").digest != recipe(base_url="http://127.0.0.1:8/v1").digest
    assert recipe(family="meadow").family == "meadow" and recipe(model="org/Qwen3-VL-8B").family == family_of("qwen-max") == "qwen"


def test_an_endpoint_is_asked_as_the_settings_say(monkeypatch):
    monkeypatch.setenv("A_KEY", "k")
    made = recipe(
        96,
        0.5,
        environment_variable="A_KEY",
        timeout_seconds=7.0,
        concurrency=3,
        requests_per_minute=120,
        tokens_per_minute=6000,
        attempts=2,
    ).open()
    assert isinstance(made, Endpoint) and made.image_size == 96 and made.spec.attempts == 2
    assert (made.client.api_key, made.client.timeout, made.pool._max_workers) == ("k", 7.0, 3)
    assert (made.pace.seconds_of_one, made.pace.seconds_of_token) == (1.0, 0.02), "a worker has its share of the rates"


def test_a_reservation_is_what_a_request_takes_at_the_most():
    spec = PlayerSpec.model_validate(ENDPOINT | {"max_tokens": 100, "picture_tokens": 50, "input_price": 2.0, "output_price": 10.0})
    tokens, money = reservation(asking(1, "é" * 10), spec)
    assert tokens == 20 + 50 + 64 + 100 and money == pytest.approx((134 * 2.0 + 100 * 10.0) / 1e6)


def test_the_first_round_has_the_temperature_that_is_set_and_later_ones_half_a_degree(monkeypatch):
    for temperature, wanted in ((0.0, [0.0, 0.5]), (0.9, [0.9, 0.9])):
        endpoint, seen = Endpoint(PlayerSpec.model_validate(ENDPOINT | {"temperature": temperature}), 32), list[float]()

        def create(seen: list[float] = seen, **options: Any) -> Any:
            seen.append(options["temperature"])
            raise ValueError("enough")

        monkeypatch.setattr(endpoint.client.chat.completions, "create", create)
        for seed in (0, 1):
            with pytest.raises(ValueError, match="enough"):
                endpoint._send(asking(1, seed=seed))
        assert seen == wanted


def test_an_exam_has_so_many_artworks_with_each_fault():
    assert len(painted_rows(6)) == 6
    questions = questions_of(painted_rows(12), Scale(), "English")
    assert {question.row for question in questions} == set(range(12)) and len(questions) == 48
    assert {(question.row, question.fault) for question in questions} == {(row, fault) for row in range(12) for fault in Fault}


def test_pictures_leave_this_machine_only_where_that_is_allowed(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    outside = {"generator": ENDPOINT | {"base_url": "https://api.example.com/v1"}, "judge": ENDPOINT}
    with pytest.raises(UserError, match=r"generator\.base_url=.* lies outside .* allow_external=true"):
        players_of(DescribeSpec.model_validate(outside))
    assert (
        players_of(DescribeSpec.model_validate(outside | {"allow_external": True, "picture_size": 200})).generator.open().image_size == 200
    )


def test_what_is_asked_is_that_of_the_folder_of_templates(tmp_path: Path):
    for kind in ("levels", "generator", "judge"):
        from artquant.prompts import FOLDER

        (tmp_path / f"{kind}.txt").write_text((FOLDER / f"{kind}.txt").read_text().replace("mood", "atmosphere"))
    both = {"generator": ENDPOINT, "judge": ENDPOINT}
    mine = players_of(DescribeSpec.model_validate(both | {"templates": str(tmp_path)})).templates
    assert "atmosphere" in mine.levels.pieces["emotion"]
    assert mine.digest != players_of(DescribeSpec.model_validate(both)).templates.digest
    with pytest.raises(UserError, match="no folder of templates"):
        players_of(DescribeSpec.model_validate(both | {"templates": str(tmp_path / "none")}))


def test_what_a_description_depends_on_makes_another_identity_and_nothing_else_does(world: World):
    def identity(**changes: Any) -> Any:
        spec = typed(world, **changes)
        return identity_of(spec, players_of(spec))

    plain = identity()
    for change in (
        {"language": "German"},
        {"statistics": False},
        {"max_rounds": 2},
        {"picture_size": 60},
        {"exam": {"false_accepts": 0.2}},
    ):
        assert identity(**change) != plain, change
    for change in ({"budget_tokens": 5}, {"workers": {"num_workers": 3}}, {"limit": 2}, {"exam": {"size": 9}}):
        assert identity(**change) == plain, change


def test_an_artwork_is_changed_where_its_score_or_its_comment_is(world: World, tmp_path: Path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    before = {row["artwork_id"]: row["etag"] for row in read_collection(typed(world)).rows.to_pylist()}
    rows = [dict(row) for row in world.rows]
    rows[0]["score"], rows[1]["comment"] = 9.9, "another"
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "ratings.parquet")
    annotations = {"uri": f"{tmp_path}/ratings.parquet", "images": f"file:{world.root}/art"}
    after = {row["artwork_id"]: row["etag"] for row in read_collection(typed(world, annotations=annotations)).rows.to_pylist()}
    assert [name for name in before if before[name] != after[name]] == ["00.png", "01.png"]


def test_a_night_is_claimed_and_planned_as_the_settings_say(world: World, monkeypatch):
    asked: dict[str, Any] = {}

    def claimed(store: Any, parent: Any, wanted: Any, **options: Any) -> Any:
        asked.update(options, wanted=wanted, store=store)
        from contextlib import nullcontext

        return nullcontext(PlanSummary(0, 0, 0, {}, {}))

    monkeypatch.setattr(job, "claimed", claimed)
    changes = {"run_id": "r", "run_date": date(2026, 1, 2), "rows_per_file": 7, "stale_seconds": 3.0}
    rows = {"limit": 5, "retry": ["not_agreed"], "force": True, "accept_rolled_back": True}
    spec = typed(world, **changes, **rows)
    with claimed_descriptions(spec, players_of(spec), read_collection(spec)):
        pass
    assert (asked["run_id"], asked["run_date"], asked["rows_per_file"], asked["stale_seconds"]) == ("r", "2026-01-02", 7, 3.0)
    wanted = asked["wanted"]
    assert (wanted.limit, set(wanted.retry), wanted.force, wanted.accept_rolled_back) == (5, {"not_agreed"}, True, True)
    assert asked["store"].uri == spec.output


def test_workers_are_as_many_and_have_what_the_settings_say(world: World, monkeypatch):
    seen: dict[str, Any] = {}

    class Dataset:
        def map_batches(self, stage: Any, **options: Any) -> Any:
            seen.update(options)
            return self

        def iter_batches(self, **options: Any) -> Any:
            return (table for table in ())

    class Data:
        @staticmethod
        def range(num: int, **options: Any) -> Dataset:
            return Dataset()

    monkeypatch.setattr(describe_waves.ray, "data", Data, raising=False)
    spec = typed(world, workers={"num_workers": 3, "num_gpus": 0.5, "num_cpus": 2})
    list(describe_waves.stage_outputs(spec, object, None, 9))
    assert (seen["compute"].min_size, seen["num_gpus"], seen["num_cpus"]) == (3, 0.5, 2)


def test_a_worker_is_told_what_the_settings_say(world: World, monkeypatch):
    from types import SimpleNamespace

    work: Any = SimpleNamespace(intent=SimpleNamespace(work="w"))
    marks: Any = SimpleNamespace(threshold=0.4)

    def told(**changes: Any) -> Any:
        spec = typed(world, **changes)
        return describe_waves.settings_of(
            spec, players_of(spec), read_collection(spec), work, marks, None, None, "k", (1,), spec.max_rounds
        )  # type: ignore[arg-type]

    plain = told(stall_minutes=2.0, language="German", max_rounds=5)
    assert (plain.stall_seconds, plain.language, plain.max_rounds, plain.threshold, plain.fetch.threads) == (120.0, "German", 5, 0.4, 2)
    assert plain.statistics is not None and told(statistics=False).statistics is None
    assert plain.tries == 0 and told(retry=["not_agreed"]).tries == told(force=True).tries >= 100


def test_the_places_are_those_that_are_named(monkeypatch, tmp_path: Path):
    with pytest.raises(UserError, match="one of them says what is to be described"):
        read_spec(["scores=a", "annotations.uri=b", "annotations.images=c", "output=d"])
    with pytest.raises(UserError, match="needed too"):
        read_spec(["annotations.uri=b"])
    from artquant.cli import places

    seen: list[Any] = []

    def fill(bucket: Any, num: int) -> Any:
        seen.append(num)
        raise UserError("enough")

    monkeypatch.setattr(places, "fill_annotations", fill)
    monkeypatch.setenv("ARTQUANT_HOME", str(tmp_path))
    with pytest.raises(UserError, match="enough"), places.describe_places(DescribeSpec(sample_size=77)):
        pass
    assert seen == [77]


def test_the_scores_of_a_score_job_can_be_described(monkeypatch):
    import pyarrow as pa

    from artquant.descriptions import collection

    rows = [
        {"artwork_id": "a", "uri": "s3://b/a", "etag": "e", "score": 7.0, "score_std": 1.0},
        {"artwork_id": "b", "uri": "s3://b/b", "etag": "e", "score": 3.0, "score_std": 2.0},
    ]
    monkeypatch.setattr(collection, "latest_rows", lambda uri: pa.Table.from_pylist(rows) if uri == "s3://b/scores" else None)
    found = read_collection(ResolvedDescribeSpec.model_validate({"scores": "s3://b/scores", "output": "s3://b/out"}))
    assert found.rows.column("artwork_id").to_pylist() == ["a", "b"] and found.images is None and found.statistics.mean == 5.0


def test_the_bar_of_the_exam_is_that_of_the_settings():
    from artquant.descriptions.exam import check, marks_of

    faults = [Fault.NONE] * 10 + [Fault.OTHER_SCORE] * 10
    answers = np.repeat(np.array([0.9] * 6 + [0.1] * 4 + [0.2] * 10)[:, None], 2, 1)
    marks = marks_of(answers, faults, ExamSpec(), "w")
    check(marks, ExamSpec(false_refusals=0.5), "J")
    with pytest.raises(UserError, match="did not pass"):
        check(marks, ExamSpec(false_refusals=0.3), "J")
