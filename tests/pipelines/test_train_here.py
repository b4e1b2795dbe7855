"""The train job in this process, without Ray: what the card says, and what a second model is judged on."""

from __future__ import annotations

import secrets
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from artquant.annotations.seen import Seen, read_seen
from artquant.annotations.split import split_annotations
from artquant.cli.train import recipe_of
from artquant.config import FitSpec, LossSpec, PlacedTrainSpec, ResolvedAnnotationSpec, ResolvedTrainSpec, resolved
from artquant.core.schema import PROBABILITY_COLUMNS
from artquant.images import square
from artquant.model.checkpoint import Checkpoint
from artquant.model.location import local_folder
from artquant.paintings import jpeg, paint
from artquant.pipelines import promotion, train
from artquant.registry import Registry
from artquant.storage.store import open_store
from artquant.training import loop
from tests.training.conftest import FolderSource, annotations

SEEDS = range(1_000_000, 1_000_060)


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> PlacedTrainSpec:
    """Sixty paintings with ratings, a loop without workers and engines in this process."""
    (tmp_path / "art").mkdir()
    for seed in SEEDS:
        (tmp_path / "art" / f"{seed}.jpg").write_bytes(jpeg(paint(seed), 64))
    pq.write_table(annotations(SEEDS), tmp_path / "ratings.parquet")

    def fit(task) -> None:
        loop.run(replace(task, pictures=FolderSource(str(tmp_path / "art"))), 0, 1, torch.device("cpu"))

    def predict(run, recipe, content, *others):
        engine, rows = recipe.open(), []
        for name in content:
            pixels = square.load((tmp_path / "art" / name).read_bytes(), engine.image_size).pixels[None]
            probabilities = engine.assess(pixels).probabilities[0]
            score = float(probabilities @ engine.scale.values)
            rows.append({"artwork_id": name, "score": score, **dict(zip(PROBABILITY_COLUMNS, map(float, probabilities), strict=True))})
        return pa.Table.from_pylist(rows), None

    monkeypatch.setattr(train, "fit", fit)
    monkeypatch.setattr(train, "check_capacity", lambda *given: None)
    monkeypatch.setattr(promotion, "predict", predict)
    monkeypatch.setattr(promotion, "start_counter", lambda: None)
    given = ResolvedAnnotationSpec(
        uri=str(tmp_path / "ratings.parquet"), images=str(tmp_path / "art"), validation_fraction=0.2, test_fraction=0.25
    )
    fit_spec = FitSpec(steps=2, batch_size=4, gradient_accumulation_steps=1, checkpoint_interval=2, dtype="float32")
    output = open_store(str(tmp_path / f"out-{secrets.token_hex(3)}")).uri
    return PlacedTrainSpec(annotations=given, output=output, registry=f"{output}/models", loss=LossSpec(rank=0.1), fit=fit_spec)


def trained(spec: PlacedTrainSpec, run_id: str, parent: Checkpoint | None = None) -> train.Trained:
    splits = split_annotations(spec.annotations)
    resolved_spec = resolved(ResolvedTrainSpec, spec, run_id=run_id)
    return train.run_training(resolved_spec, splits, parent, f"digest-{run_id}", partial(recipe_of, spec=spec))


def test_the_card_says_what_was_learnt_and_seen_and_a_child_is_not_judged_on_what_its_parent_saw(spec: PlacedTrainSpec) -> None:
    registry = Registry(open_store(spec.registry))
    first = trained(spec.model_copy(update={"promote": "always"}), "first")
    card, splits = registry.entry("first").card, split_annotations(spec.annotations)
    assert (
        card["data"]["lessons"] == first.report.lessons == dict.fromkeys(("score", "perception", "cognition", "emotion"), len(splits.train))
    )
    assert card["data"]["num_seen"] == len(splits.train) + len(splits.validation) and card["data"]["split"] == "content"
    assert card["held_out"] == {
        "digest": train.held_out_digest(splits),
        "num": len(splits.test),
        "look": 1,
        "compared_with": "artquant-tiny",
    }
    assert "rank" in first.report.curve[0].losses and registry.current() == "first"
    location = registry.uri_of("first")
    assert len(read_seen(local_folder(location))) == card["data"]["num_seen"]

    # Another seed draws a test split of which the parent, and the current model, have seen the most.
    other = spec.model_copy(update={"annotations": spec.annotations.model_copy(update={"split_seed": 1})})
    drawn = split_annotations(other.annotations)
    seen_by_parent = {splits.content[name] for part in (splits.train, splits.validation) for name in part["artwork_id"].to_pylist()}
    num_unseen = sum(drawn.content[name] not in seen_by_parent for name in drawn.test["artwork_id"].to_pylist())
    assert 0 < num_unseen < len(drawn.test)
    second = trained(other, "second", Checkpoint.open(location))
    assert (second.report.num_test, second.report.num_seen) == (num_unseen, len(drawn.test) - num_unseen)
    assert registry.entry("second").card["held_out"]["compared_with"] == "first"
    seen = read_seen(local_folder(registry.uri_of("second")))
    assert len(seen) > card["data"]["num_seen"], "what the parent saw is passed on"


def test_a_first_model_becomes_current_only_if_it_is_better_than_the_one_in_the_package(spec: PlacedTrainSpec) -> None:
    verdict = trained(spec, "first").report.verdict
    assert verdict and verdict.current == "artquant-tiny" and verdict.current_value > verdict.candidate_value, "two steps are few"
    assert not verdict.promoted and Registry(open_store(spec.registry)).current() is None
    assert "artquant-tiny" in open_store(spec.output).get("training/first/shadow.html").decode()


def test_a_first_model_is_not_judged_on_what_the_packages_own_has_seen(spec: PlacedTrainSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = split_annotations(spec.annotations)
    some = splits.test["artwork_id"].to_pylist()[:3]
    monkeypatch.setattr(train, "read_seen", lambda *_: Seen.of([splits.content[name] for name in some], []))
    left, num = train.unseen(splits, None, Registry(open_store(spec.registry)))
    assert num == 3 and not set(some) & set(left.test["artwork_id"].to_pylist())
