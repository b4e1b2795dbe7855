"""What an evaluation's settings change, with scores that are made up: no Ray runs here."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from artquant.annotations.seen import Seen
from artquant.annotations.split import split_of
from artquant.config import ResolvedAnnotationSpec, ResolvedEvaluateSpec
from artquant.core.errors import RunFailed, UserError
from artquant.core.schema import CRITIQUE_PARTS, PROBABILITY_COLUMNS, reject_schema, score_schema
from artquant.engines.open import resolve
from artquant.engines.recipe import EngineRecipe
from artquant.paintings import jpeg, paint
from artquant.pipelines import evaluate
from artquant.storage.store import Store, open_store
from tests.pipelines.engines import RED, RedEngine

NUM = 24


@pytest.fixture(scope="module")
def rated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Annotations of NUM pictures, each with the three texts, a light of three and a school of two."""
    folder = tmp_path_factory.mktemp("rated")
    with (folder / "ratings.jsonl").open("w") as file:
        for seed in range(NUM):
            open_store(str(folder / "art")).put(f"{seed}.jpg", jpeg(paint(seed), 32))
            texts = {part: f"{part} of {seed}" for part in CRITIQUE_PARTS}
            row = {"artwork_id": f"{seed}.jpg", "score": 1 + seed % 9, "light": "abc"[seed % 3], "school": "xy"[seed % 2], **texts}
            file.write(json.dumps(row) + "\n")
    return {"uri": str(folder / "ratings.jsonl"), "images": str(folder / "art")}


def spec_of(rated: dict[str, Any], output: Path, annotations: dict[str, Any] | None = None, **changes: Any) -> ResolvedEvaluateSpec:
    given = ResolvedAnnotationSpec.model_validate({**rated, **(annotations or {})})
    fixed = {"split": "all", "output": str(output), "registry": str(output / "models"), "run_id": "one", "bootstrap_rounds": 5}
    return ResolvedEvaluateSpec.model_validate({"annotations": given, **fixed, **changes})


def members(rated: dict[str, Any], output: Path, annotations: dict[str, Any], **changes: Any) -> set[str]:
    return set(evaluate.choose(spec_of(rated, output, annotations, **changes)).content)


def test_the_split_is_that_of_the_settings_fractions_and_seed(rated: dict[str, Any], tmp_path: Path) -> None:
    content = evaluate.choose(spec_of(rated, tmp_path)).content
    assert len(content) == NUM
    for seed, validation, test in ((0, 0.5, 0.2), (0, 0.2, 0.5), (7, 0.5, 0.2)):
        drawn = {"split_seed": seed, "validation_fraction": validation, "test_fraction": test}
        for split in ("train", "validation", "test"):
            expected = {name for name, digest in content.items() if split_of(digest, seed, validation, test) == split}
            assert members(rated, tmp_path, drawn, split=split) == expected, (drawn, split)


def test_what_the_model_has_seen_is_left_out_unless_that_split_is_asked_for(rated: dict[str, Any], tmp_path: Path) -> None:
    whole = {split: evaluate.choose(spec_of(rated, tmp_path, split=split)) for split in ("all", "train")}
    names = sorted(whole["train"].content)
    seen = Seen.of([whole["train"].content[name] for name in names], [])
    left = evaluate.choose(spec_of(rated, tmp_path), seen)
    assert set(left.content) == set(whole["all"].content) - set(names) and left.facts["num_seen"] == len(names)
    asked = evaluate.choose(spec_of(rated, tmp_path, split="train"), seen)
    assert asked.content == whole["train"].content and asked.facts["num_seen"] == len(names)
    with pytest.raises(UserError, match=r"was trained or validated on 24 of the 24 artworks of the split 'all': nothing is left"):
        evaluate.choose(spec_of(rated, tmp_path), Seen.of(whole["all"].content.values(), []))


@pytest.fixture
def run(rated: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`run(num_rejected, **settings)`: the evaluation, what was asked of the workers, and the output."""
    asked: dict[str, Any] = {}

    def predict(scoring: Any, recipe: EngineRecipe, content: Any, *others: Any) -> tuple[pa.Table, pa.Table]:
        asked["scoring"] = scoring
        ids = sorted(content)
        random = np.random.default_rng(0)
        rows = [
            {"artwork_id": name, "open_set_mass": 0.9, "needs_review": False}
            | dict(zip(PROBABILITY_COLUMNS, random.dirichlet(np.ones(5)).tolist(), strict=True))
            for name in ids[asked["num_rejected"] :]
        ]
        rejects = [{"artwork_id": name, "reject_class": "empty"} for name in ids[: asked["num_rejected"]]]
        return pa.Table.from_pylist(rows, score_schema()), pa.Table.from_pylist(rejects, reject_schema())

    def terms(rows: list[dict[str, str]], settings: Any, engine: Any) -> dict[str, dict[str, float]]:
        asked["theory"], asked["theory_engine"] = settings, engine
        return {
            row["artwork_id"]: dict.fromkeys(("description_nll", "other_description_nll", "num_description_tokens"), 1.0) for row in rows
        }

    def run(num_rejected: int = 0, **changes: Any) -> Any:
        asked.clear()
        asked["num_rejected"] = num_rejected
        output = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
        spec = spec_of(rated, output, **changes)
        values = RedEngine.scale.values
        recipe = EngineRecipe(RedEngine, RED, 16, values, "red", resolve(spec.engine), RedEngine)
        evaluation = evaluate.run_evaluation(spec, recipe, evaluate.choose(spec))
        return SimpleNamespace(report=evaluation.report, document=evaluation.document, asked=dict(asked), output=open_store(str(output)))

    monkeypatch.setattr(evaluate, "predict", predict)
    monkeypatch.setattr(evaluate, "theory_terms", terms)
    monkeypatch.setattr(evaluate, "check_capacity", lambda *given: None)
    monkeypatch.setattr(evaluate, "start_counter", lambda: None)
    return run


def keys(store: Store) -> set[str]:
    return {info.key for info in store.list()}


def test_an_evaluation_lies_in_the_output_under_its_name(run: Callable[..., Any]) -> None:
    found = run(run_id="named")
    assert keys(found.output) and all(key.startswith("evaluations/named/") for key in keys(found.output))
    assert found.report.run_id == "named" and found.asked["scoring"].run_id == "named"


def test_workers_fetch_and_stall_as_the_settings_say(run: Callable[..., Any]) -> None:
    asked = run(fetch={"threads": 3}, stall_minutes=2.0, engine={"num_cpus": 0.25}).asked
    assert asked["scoring"].fetch.threads == 3 == asked["theory"].fetch.threads
    assert asked["scoring"].stall_minutes == 2.0 and asked["theory"].stall_seconds == 120.0
    assert asked["theory_engine"].num_cpus == 0.25


def test_the_theory_looks_at_so_many_artworks_or_at_none(run: Callable[..., Any]) -> None:
    assert run().document["theory"]["num"] == NUM
    assert run(theory_limit=10).document["theory"]["num"] == 10
    without = run(theory=False)
    assert without.document["theory"] is None and "theory" not in without.asked


def test_the_page_shows_so_many_misses(run: Callable[..., Any]) -> None:
    assert [len(run(num_misses=num).report.misses) for num in (0, 4)] == [0, 4]


def test_the_columns_that_are_named_are_looked_at_apart(run: Callable[..., Any]) -> None:
    def columns(**changes: Any) -> set[str]:
        return {group["column"] for group in run(**changes).document["subgroups"]}

    assert columns() == {"light", "school"} and columns(subgroups="light") == {"light"} and columns(subgroups=[]) == set()


def test_intervals_come_from_so_many_resamples(run: Callable[..., Any]) -> None:
    one, many = (run(bootstrap_rounds=rounds).document for rounds in (1, 40))
    for document, is_wide in ((one, False), (many, True)):
        intervals = [document["metrics"]["mae"], document["theory"]["picture"]["nats"]]
        assert [interval["low"] < interval["high"] for interval in intervals] == [is_wide] * 2


def test_as_many_rejects_as_are_allowed_pass_and_one_more_fails(run: Callable[..., Any]) -> None:
    assert run(6, max_rejected_fraction=0.25).document["num_rejected"] == 6
    with pytest.raises(RunFailed, match=r"7 of 24 artworks got no score, more than max_rejected_fraction=0\.25"):
        run(7, max_rejected_fraction=0.25)
    assert run(0, max_rejected_fraction=0).document["num_artworks"] == NUM


def test_scores_are_read_on_the_annotations_scale(run: Callable[..., Any]) -> None:
    assert max(run().report.predicted) > 5.0
    small = run(annotations={"level_values": (5.0, 4.0, 3.0, 2.0, 1.0)}).report.predicted
    assert 1.0 <= min(small) <= max(small) <= 5.0


def test_the_annotated_pictures_are_the_input(run: Callable[..., Any], rated: dict[str, Any]) -> None:
    found = run()
    assert found.asked["scoring"].input == rated["images"] and found.document["num_planned"] == NUM
    assert found.report.started_at.date() <= date.today()
