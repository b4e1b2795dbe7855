"""The train job end to end, small: annotations in, a model in the registry out, compared with the current one."""

import json
import secrets
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artquant.annotations.seen import read_seen
from artquant.annotations.split import split_annotations
from artquant.cli.train import recipe_of
from artquant.config import (
    FetchSpec,
    FitSpec,
    LossSpec,
    MeasuredEngineSpec,
    PlacedTrainSpec,
    ResolvedAnnotationSpec,
    ResolvedTrainSpec,
    VisionWarmupSpec,
    resolved,
)
from artquant.core.errors import RunFailed, UserError
from artquant.engines.golden import read_golden
from artquant.model.location import local_folder
from artquant.paintings import jpeg, paint
from artquant.pipelines import promotion, train
from artquant.records.training import Verdict
from artquant.registry import Registry
from artquant.storage.store import Store, open_store
from tests.training.conftest import annotations

SEEDS = range(1_000_000, 1_000_060)


@pytest.fixture(scope="module")
def collection(s3_store: Store) -> Store:
    """Sixty paintings below `art/` and what people said of them; one row is bad, one artwork is not there."""
    folder = s3_store.child(f"train-{secrets.token_hex(6)}")
    for seed in SEEDS:
        folder.put(f"art/{seed}.jpg", jpeg(paint(seed), 96, quality=85))
    table = annotations(range(SEEDS.start, SEEDS.stop + 1))
    scores = table.column("score").to_pylist()
    table = table.set_column(1, "score", pa.array([*scores[:-2], 87.0, 5.0]))
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer)
    folder.put("ratings.parquet", buffer.getvalue().to_pybytes())
    return folder


def spec_of(collection: Store, **changes) -> PlacedTrainSpec:
    fit = dict(
        steps=4, batch_size=4, gradient_accumulation_steps=1, learning_rate=1e-3, checkpoint_interval=4, dtype="float32", num_cpus=0.5
    )
    given = ResolvedAnnotationSpec(
        uri=collection.uri_of("ratings.parquet"), images=collection.uri_of("art"), validation_fraction=0.2, test_fraction=0.25
    )
    spec = PlacedTrainSpec(
        annotations=given,
        output=collection.uri_of("out"),
        registry=collection.uri_of("out/models"),
        loss=LossSpec(score=1.0),
        fetch=FetchSpec(threads=4),
        fit=FitSpec(**fit),
    )
    return spec.model_copy(update=changes)


def trained(spec: PlacedTrainSpec) -> train.Trained:
    splits = split_annotations(spec.annotations)
    train.check(spec, splits)
    digest = train.run_digest(spec, splits, None)
    run_id = train.free_run_id(spec.run_id, digest, Registry(open_store(spec.registry)))
    return train.run_training(resolved(ResolvedTrainSpec, spec, run_id=run_id), splits, None, digest, partial(recipe_of, spec=spec))


def test_a_model_is_trained_published_promoted_and_the_next_one_is_compared_with_it(collection, local_ray):
    registry = Registry(open_store(collection.uri_of("out/models")))
    first = trained(spec_of(collection, promote="always"))
    assert first.report.verdict.promoted and first.report.verdict.current == "artquant-tiny", "what jobs use without a current model"
    assert registry.current() == first.report.run_id
    assert first.report.num_train + first.report.num_validation + first.report.num_test == 59
    assert sum(first.report.rejected.values()) == 1 and first.report.num_vanished == 1
    card = registry.entry(first.report.run_id).card
    assert card["metrics"]["srcc"]["low"] <= card["metrics"]["srcc"]["value"] <= card["metrics"]["srcc"]["high"]

    golden = read_golden(local_folder(registry.uri_of(first.report.run_id)))
    assert golden and len(golden.images) == 8 and golden.dtype == "float32" and "golden/pictures.safetensors" in card["files"]
    recipe = recipe_of(registry.uri_of(first.report.run_id), spec_of(collection))
    assert recipe.has_golden_set and recipe.open().image_size == golden.images.shape[1]

    seen = read_seen(local_folder(registry.uri_of(first.report.run_id)))
    assert len(seen) == card["data"]["num_seen"] == first.report.num_train + first.report.num_validation

    second = trained(spec_of(collection, engine=MeasuredEngineSpec(num_gpus=1, device="cpu")))  # judged on a logical GPU
    assert second.report.run_id == f"{first.report.run_id}-2"
    verdict = second.report.verdict
    assert verdict.current == first.report.run_id and verdict.difference == 0 and not verdict.promoted
    assert registry.current() == first.report.run_id
    store = open_store(collection.uri_of(f"out/training/{second.report.run_id}"))
    assert {"report.html", "shadow.html", "metrics.json", "spec.yaml", "state.json"} <= {info.key for info in store.list()}
    assert json.loads(store.get("metrics.json"))["verdict"]["promoted"] is False
    assert second.report.run_id in store.get("report.html").decode()
    digests = {registry.entry(run).digest for run in (first.report.run_id, second.report.run_id)}
    assert len(digests) == 1, "the same data, settings and seed make the same weights"
    assert recipe_of(registry.uri_of(first.report.run_id), spec_of(collection)).identity.model_digest in digests
    assert not list(open_store(collection.uri_of("out")).list("_staging")) and not list(open_store(collection.uri_of("out")).list("scores"))


def test_what_cannot_be_trained_on_is_refused(collection):
    spec = spec_of(collection)
    splits = split_annotations(spec.annotations)
    with pytest.raises(UserError, match=r"fewer than one step takes \(4096\)"):
        train.check(spec.model_copy(update={"fit": FitSpec(batch_size=1024)}), splits)
    with pytest.raises(UserError, match="vision_warmup.columns names 'weather', which the annotations do not have"):
        train.check(spec.model_copy(update={"vision_warmup": VisionWarmupSpec(steps=5, columns=("weather",))}), splits)
    with pytest.raises(UserError, match="No artwork fell to the test split"):
        no_test = spec.annotations.model_copy(update={"test_fraction": 0.0})
        train.check(spec, split_annotations(no_test))
    with pytest.raises(UserError, match="below .*correct annotations.images"):
        split_annotations(spec.annotations.model_copy(update={"images": collection.uri_of("elsewhere")}))


def test_the_runs_name_follows_what_it_is_trained_on(collection):
    spec = spec_of(collection)
    splits = split_annotations(spec.annotations)
    digest = train.run_digest(spec, splits, None)
    elsewhere = spec.model_copy(update={"output": "s3://other/place", "promote": "never", "run_id": "x"})
    assert train.run_digest(elsewhere, splits, None) == digest
    assert train.run_digest(spec.model_copy(update={"loss": LossSpec(score=0.5)}), splits, None) != digest


def verdict(better_by: float, num: int = 200, look: int = 1, **changes) -> Verdict:
    rng = np.random.default_rng(0)
    human = rng.normal(size=num)
    noise = rng.normal(size=num)
    scores = {"candidate": human + noise * (1 - better_by), "current": human + noise}
    annotations = ResolvedAnnotationSpec(uri="r.csv", images="art")
    spec = ResolvedTrainSpec(run_id="new", annotations=annotations, output="file:/tmp", registry="file:/tmp", **changes)
    return promotion.judge(spec, "old", promotion.HeldOut([str(i) for i in range(num)], human, scores), "shadow.html", look)


def test_a_candidate_is_promoted_only_where_the_interval_of_the_difference_lies_above_the_margin():
    assert verdict(0.5).promoted and verdict(0.5).low > 0
    assert not verdict(0.0).promoted
    assert not verdict(-0.5).promoted and "not above the margin" in verdict(-0.5).why
    assert not verdict(0.5, margin=0.5).promoted
    assert not verdict(0.5, num=8).promoted and "too few" in verdict(0.5, num=8).why
    assert verdict(-0.5, promote="always").promoted
    assert not verdict(0.5, promote="never").promoted


def test_a_candidate_that_is_better_by_chance_alone_is_not_promoted():
    """The difference itself is above the margin and its interval's lower end is not."""
    by_chance = verdict(0.02, num=20, margin=0.001)
    assert by_chance.difference > by_chance.margin > by_chance.low
    assert not by_chance.promoted and "not above the margin" in by_chance.why
    sure = verdict(0.5)
    between = (sure.low + sure.difference) / 2
    assert not verdict(0.5, margin=between).promoted and verdict(0.5, margin=sure.low - 1e-6).promoted


def test_a_current_model_that_gives_all_artworks_one_score_can_be_replaced():
    human = np.random.default_rng(0).normal(size=200)
    annotations = ResolvedAnnotationSpec(uri="r.csv", images="art")
    spec = ResolvedTrainSpec(run_id="new", annotations=annotations, output="file:/tmp", registry="file:/tmp")

    def judged(candidate: np.ndarray, current: np.ndarray) -> Verdict:
        held_out = promotion.HeldOut([str(i) for i in range(200)], human, {"candidate": candidate, "current": current})
        return promotion.judge(spec, "old", held_out, "shadow.html")

    constant = np.full(200, 5.0)
    better = judged(human + 1, constant)
    assert better.promoted and (better.current_value, better.difference) == (0.0, pytest.approx(1.0))
    assert not judged(constant, human).promoted and not judged(constant, constant).promoted


def test_what_is_not_promoted_says_what_difference_could_have_been_seen_and_each_look_asks_for_more():
    once = verdict(-0.02)
    assert not once.promoted and f"200 artworks show a difference of {once.detectable:+.3f} four times of five" in once.why
    assert once.detectable > (once.high - once.low) / 2 and verdict(-0.02, num=2000).detectable < once.detectable / 2
    assert [promotion.confidence_of(look) for look in (1, 2, 3)] == pytest.approx([0.95, 1 - 0.1 / 6, 1 - 0.1 / 12])
    assert sum(1 - promotion.confidence_of(look) for look in range(1, 100_000)) < 0.1
    looks = [verdict(0.1, look=look) for look in (1, 2, 9)]
    assert looks[0].low > looks[1].low > looks[2].low and "comparison 2 on this test set" in looks[1].why


def test_looks_at_a_test_set_are_counted_by_the_cards_of_those_compared_on_it(tmp_path):
    registry = Registry(open_store(str(tmp_path / "models")))
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "config.json").write_text("{}")
    assert promotion.look_number(registry, "aa") == 1
    for name, digest, current in (("a", "aa", None), ("b", "aa", "a"), ("c", "bb", "a"), ("d", "aa", "b")):
        registry.publish(name, tmp_path / "weights", {"held_out": {"digest": digest, "compared_with": current}})
    registry.publish("old", tmp_path / "weights", {})
    assert (promotion.look_number(registry, "aa"), promotion.look_number(registry, "bb")) == (3, 2)


def test_training_and_judging_fetch_write_and_end_stalled_workers_as_the_spec_says(collection, local_ray, monkeypatch):
    seen = []

    def fit(task):
        seen.append((task.pictures.stall_seconds, task.pictures.fetch.threads, task.output_uri, task.run_id))
        raise RunFailed("it was looked at")

    def predict(run, *others):
        seen.append((run.stall_minutes, run.fetch.threads, run.output, run.run_id))
        raise RunFailed("it was looked at")

    monkeypatch.setattr(train, "fit", fit)
    monkeypatch.setattr(promotion, "predict", predict)
    spec = spec_of(collection, stall_minutes=3.0, run_id="stalls", fetch=FetchSpec(threads=7), output=collection.uri_of("elsewhere"))
    with pytest.raises(RunFailed, match="it was looked at"):
        trained(spec)
    with pytest.raises(RunFailed, match="it was looked at"):
        promotion.score_held_out(resolved(ResolvedTrainSpec, spec), split_annotations(spec.annotations), {"candidate": None})
    assert seen == [(180.0, 7, spec.output, "stalls"), (3.0, 7, spec.output, "stalls-candidate")]
