"""The train job: annotations -> split -> targets -> Ray Train -> held-out test against the current model -> registry -> page."""

import hashlib
import json
import tempfile
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

from artquant import metrics
from artquant.annotations import Annotations, read_annotations
from artquant.annotations.split import content_digests, split_of
from artquant.config import AnnotationSpec, EvaluateSpec, TrainSpec
from artquant.engines.open import resolve
from artquant.errors import UserError
from artquant.model.checkpoint import Checkpoint
from artquant.pipelines.evaluate import Chosen, predict
from artquant.pipelines.feed import PictureFeed
from artquant.pipelines.progress import ProgressCounter
from artquant.pipelines.score import EngineRecipe, check_capacity, said_only, spec_yaml, thumbnail_of
from artquant.registry import Registry
from artquant.report.shadow_page import render_shadow
from artquant.report.training_facts import Flip, LossPoint, ShadowReport, TrainingReport, Validation, Verdict
from artquant.report.training_page import render_training
from artquant.scale import Scale, clamp_scores
from artquant.storage import Store, open_store
from artquant.training.data import Task
from artquant.training.state import History, RunState
from artquant.training.trainer import fit

NUM_FLIPS = 12
MIN_TESTED = 10  # artworks; fewer say nothing of which model is better


@dataclass(frozen=True)
class Splits:
    """Annotations by what they are for; scores lie within the levels. `content`: artwork_id -> digest of its bytes."""

    train: pa.Table
    validation: pa.Table
    test: pa.Table
    content: dict[str, str]
    annotations: Annotations
    num_clamped: int
    num_missing: int  # annotated, but there is no such picture


@dataclass(frozen=True)
class Trained:
    report: TrainingReport
    metrics: dict[str, Any]


def split_annotations(spec: AnnotationSpec) -> Splits:
    """Reads, clamps, splits by content: the same picture under two names is never in two splits, and old rows stay where they are when
    new ones come. Raises UserError."""
    annotations = read_annotations(spec)
    store = open_store(str(spec.images))
    table = annotations.table
    scores, num_clamped = clamp_scores(table.column("score").to_numpy(zero_copy_only=False), Scale(tuple(spec.level_values)))
    table = table.set_column(table.schema.get_field_index("score"), "score", pa.array(scores, pa.float64(), from_pandas=True))
    content = content_digests(store, table.column("artwork_id").to_pylist())
    if not content:
        raise UserError(f"None of the {len(table)} annotated artworks is below {store.uri}: set annotations.images to where they are.")
    fractions = spec.split_seed, spec.validation_fraction, spec.test_fraction
    where = pa.array([split_of(content[i], *fractions) if i in content else "" for i in table.column("artwork_id").to_pylist()])
    train, validation, test = (table.filter(pc.equal(where, name)) for name in ("train", "validation", "test"))
    return Splits(train, validation, test, content, annotations, num_clamped, len(table) - len(content))


def check(spec: TrainSpec, splits: Splits) -> None:
    """Raises UserError for what cannot be trained on."""
    needed = spec.fit.batch_size * spec.fit.accumulate * spec.fit.num_workers
    if len(splits.train) < needed:
        raise UserError(
            f"There are {len(splits.train)} artworks to train on, fewer than one step takes ({needed}): "
            "bring more annotations, or lower fit.batch_size or fit.accumulate."
        )
    columns = splits.train.column_names
    unknown = [name for name in spec.sight.columns if spec.sight.steps and name not in columns]
    if unknown:
        raise UserError(f"sight.columns names {unknown[0]!r}, which the annotations do not have: they have {', '.join(columns)}.")
    for name, held_out in (("validation", splits.validation), ("test", splits.test)):
        if not len(held_out):
            raise UserError(f"No artwork fell to the {name} split: raise annotations.{name}_fraction or bring more annotations.")


def run_digest(spec: TrainSpec, splits: Splits, checkpoint: Checkpoint | None) -> str:
    """Of all that determines the weights: data, settings, and what they go on from."""
    given = spec.model_dump(
        mode="json", exclude={"run_id", "output", "registry", "promote", "margin", "model", "base", "engine", "stall_minutes"}
    )
    given["fit"] = {name: value for name, value in given["fit"].items() if name not in ("num_gpus", "num_cpus", "max_failures")}
    content = sorted(splits.content.items())
    document = json.dumps([given, splits.annotations.digest, content, checkpoint.model_digest if checkpoint else None], sort_keys=True)
    return hashlib.sha256(document.encode()).hexdigest()[:12]


def free_run_id(given: str | None, digest: str, registry: Registry) -> str:
    """The run's name: the given one, or one made from what is trained on, numbered where such a run has ended in a model already."""
    taken = {entry.model_id for entry in registry.entries()}
    if given:
        registry.uri_of(given)  # refuses what cannot be a model's name
        if given in taken:
            raise UserError(f"The registry has a model {given} already: choose another run_id.")
        return given
    names = [f"train-{digest}", *(f"train-{digest}-{number}" for number in range(2, len(taken) + 3))]
    return next(name for name in names if name not in taken)


def run_training(spec: TrainSpec, splits: Splits, checkpoint: Checkpoint | None, digest: str, recipe_of: Any) -> Trained:
    """Trains, judges on the held-out artworks beside the current model, publishes, and promotes where that is earned. Ray is running.

    `recipe_of(location)`: how workers get the engine of a checkpoint. Raises RunFailed and UserError; what is current stays so then.
    """
    assert spec.output and spec.registry and spec.run_id and spec.annotations.images
    check_capacity(spec.fetch, resolve(spec.judging_engine), spec.fit)
    started_at = datetime.now(UTC)
    registry, state = Registry(open_store(spec.registry)), RunState(open_store(spec.output), spec.run_id)
    state.store.put("spec.yaml", spec_yaml(spec).encode())
    pictures = PictureFeed(spec.annotations.images, spec.fetch, spec.stall_minutes * 60)
    facts = partial(training_report, spec, splits, started_at)
    try:
        fit(Task(spec, spec.run_id, spec.output, digest, splits.train, splits.validation, checkpoint, pictures, None))
    except Exception as error:
        state.store.put("report.html", render_training(facts(state.history(), status="failed", message=str(error))).encode())
        raise
    history = state.history()
    current = registry.current()
    location = state.store.uri_of("model")
    human, scores, tested = held_out(
        spec, splits, {"candidate": recipe_of(location)} | ({"current": recipe_of(registry.uri_of(current))} if current else {})
    )
    test = {
        name: metrics.bootstrap(metric, scores["candidate"], human)
        for name, metric in (("srcc", metrics.srcc), ("plcc", metrics.plcc), ("mae", metrics.mae))
    }
    verdict = judge(spec, current, human, scores)
    card = {
        "model_digest": Checkpoint.open(location).model_digest,
        "parent": {"location": checkpoint.location, "digest": checkpoint.model_digest} if checkpoint else None,
        "data": {"digest": splits.annotations.digest, "num_train": len(splits.train), "num_test": len(splits.test)},
        "run_digest": digest,
        "code": code_version(),
        "config": spec.model_dump(mode="json"),
        "metrics": {name: interval._asdict() for name, interval in test.items()},
        "best_step": history.best_step,
    }
    with tempfile.TemporaryDirectory() as folder:
        for info in state.store.list("model"):
            path = Path(folder) / info.key.removeprefix("model/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(state.store.get(info.key))
        registry.publish(spec.run_id, Path(folder), card)
    if verdict.promoted:
        registry.promote(spec.run_id)
    report = facts(history, status="trained", model_id=spec.run_id, model_uri=registry.uri_of(spec.run_id), test=test, verdict=verdict)
    document = {
        "run_id": spec.run_id,
        "model_uri": report.model_uri,
        "seconds": history.seconds,
        "test": card["metrics"],
        "verdict": asdict(verdict),
        "history": asdict(history),
    }
    with said_only(f"The model {spec.run_id} is published{' and promoted' if verdict.promoted else ''}, but not all its pages"):
        state.store.put("metrics.json", json.dumps(document, indent=1).encode())
        state.store.put("report.html", render_training(report).encode())
        if current:
            shadow = shadow_report(spec, current, verdict, tested, human, scores, open_store(spec.annotations.images))
            state.store.put("shadow.html", render_shadow(shadow).encode())
    return Trained(report, document)


def held_out(spec: TrainSpec, splits: Splits, recipes: dict[str, EngineRecipe]) -> tuple[np.ndarray, dict[str, np.ndarray], list[str]]:
    """Human scores (N,), each model's scores (N,), and ids of the test artworks that all models could score, by the score job."""
    assert spec.annotations.images and spec.output
    source, store = open_store(spec.annotations.images), open_store(spec.output)
    ids = splits.test.column("artwork_id").to_pylist()
    chosen = Chosen(splits.test, {i: splits.content[i] for i in ids}, [], {})
    found: dict[str, dict[str, float]] = {}
    for name, recipe in recipes.items():
        asked = EvaluateSpec(
            annotations=spec.annotations,
            output=spec.output,
            fetch=spec.fetch,
            engine=spec.judging_engine,
            stall_minutes=spec.stall_minutes,
            run_id=f"{spec.run_id}-{name}",
        )
        counter: Any = ray.remote(num_cpus=0)(ProgressCounter).remote()
        scores, _ = predict(asked, recipe, chosen, source, store, counter)
        found[name] = dict(zip(scores.column("artwork_id").to_pylist(), scores.column("score").to_pylist(), strict=True))
    human = dict(zip(ids, splits.test.column("score").to_pylist(), strict=True))
    known = [i for i in ids if human[i] is not None and all(i in scores for scores in found.values())]
    return np.array([human[i] for i in known]), {name: np.array([by_id[i] for i in known]) for name, by_id in found.items()}, known


def judge(spec: TrainSpec, current: str | None, human: np.ndarray, scores: dict[str, np.ndarray]) -> Verdict:
    """Whether the candidate becomes current: by order, or when the paired interval of the SRCC's difference lies above the margin."""
    assert spec.run_id
    value = metrics.srcc(scores["candidate"], human)
    if current is None:
        promoted = spec.promote != "never"
        why = "there was no current model" if promoted else "promote=never"
        return Verdict(spec.run_id, None, value, None, None, None, None, spec.margin, promoted, why, None)
    paired = metrics.paired_bootstrap(metrics.srcc, scores["candidate"], scores["current"], human)
    better = len(human) >= MIN_TESTED and paired.low > spec.margin
    promoted = spec.promote == "always" or (spec.promote == "better" and better)
    if spec.promote != "better":
        why = f"promote={spec.promote}"
    elif len(human) < MIN_TESTED:
        why = f"{len(human)} held-out artworks are too few to tell"
    else:
        compared = "above" if better else "not above"
        interval = f"{paired.low:+.3f} to {paired.high:+.3f}"
        why = f"the 95 % interval of the SRCC's difference, {interval}, is {compared} the margin of {spec.margin:g}"
    now = metrics.srcc(scores["current"], human)
    shadow = RunState(open_store(str(spec.output)), spec.run_id).store.uri_of("shadow.html")
    return Verdict(spec.run_id, current, value, now, paired.difference, paired.low, paired.high, spec.margin, promoted, why, shadow)


def shadow_report(
    spec: TrainSpec, current: str, verdict: Verdict, ids: list[str], human: np.ndarray, scores: dict[str, np.ndarray], source: Store
) -> ShadowReport:
    candidate, before = scores["candidate"], scores["current"]
    flips = np.argsort(-np.abs(candidate - before))[:NUM_FLIPS]
    return ShadowReport(
        run_id=str(spec.run_id),
        candidate=verdict.candidate,
        current=current,
        num_artworks=len(ids),
        human=human.tolist(),
        candidate_scores=candidate.tolist(),
        current_scores=before.tolist(),
        rank_correlation=metrics.srcc(candidate, before),
        verdict=verdict,
        flips=[
            Flip(ids[i], float(human[i]), float(candidate[i]), float(before[i]), thumbnail_of(source, spec.fetch, ids[i])) for i in flips
        ],
    )


def training_report(spec: TrainSpec, splits: Splits, started_at: datetime, history: History, **known: Any) -> TrainingReport:
    rejects = splits.annotations.rejects.to_pylist()
    per_step = spec.fit.batch_size * spec.fit.accumulate * spec.fit.num_workers
    steps = history.last_step or 0
    defaults: dict[str, Any] = dict(model_id=None, model_uri=None, test={}, verdict=None, message=None)
    return TrainingReport(
        run_id=str(spec.run_id),
        started_at=started_at,
        finished_at=datetime.now(UTC),
        parent=spec.model,
        num_train=len(splits.train),
        num_validation=len(splits.validation),
        num_test=len(splits.test),
        rejected=splits.annotations.reasons,
        reject_examples=[(row["file"], row["row"], row["reason"]) for row in rejects[:20]],
        num_clamped=splits.num_clamped,
        num_vanished=history.num_vanished + splits.num_missing,
        num_steps=steps,
        num_epochs=steps * per_step / max(1, len(splits.train)),
        examples_per_second=steps * per_step / history.seconds if history.seconds else 0.0,
        curve=[LossPoint(point["step"], point["losses"]) for point in history.curve],
        validations=[Validation(**one) for one in history.validations],
        config=spec.model_dump(mode="json"),
        **{**defaults, **known},
    )


def code_version() -> dict[str, str]:
    """The package's version, and a digest of its sources."""
    from importlib.metadata import version

    root = Path(__file__).resolve().parents[1]
    total = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        total.update(f"{path.relative_to(root)} ".encode() + path.read_bytes())
    return {"version": version("artquant-jobs"), "sources": total.hexdigest()[:16]}
