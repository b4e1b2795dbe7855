"""The train job: annotations -> split -> targets -> Ray Train -> held-out test against the current model -> registry -> page."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from artquant.agreement import metrics
from artquant.annotations.seen import Seen, read_seen, without_seen
from artquant.annotations.split import Splits
from artquant.config import PlacedTrainSpec, ResolvedTrainSpec, spec_yaml
from artquant.core.errors import UserError
from artquant.core.identity import SEEN
from artquant.core.scale import Scale
from artquant.core.schema import ARTWORK_ID, LEVELS, SCORE, TEXT_PARTS
from artquant.engines.open import resolve
from artquant.engines.recipe import TINY, EngineRecipe
from artquant.model.checkpoint import Checkpoint
from artquant.model.location import GOLDEN, local_folder
from artquant.pipelines.feed import PictureFeed
from artquant.pipelines.promotion import CANDIDATE, CURRENT, golden_set, judge, look_number, score_held_out, shadow_report
from artquant.pipelines.run import check_capacity, warn_only
from artquant.records.training import LossPoint, TrainingReport, Validation
from artquant.registry import Registry
from artquant.report.shadow_page import render_shadow
from artquant.report.training_page import render_training
from artquant.storage.store import open_store
from artquant.training.data import Task
from artquant.training.lessons import check_lessons
from artquant.training.state import History, RunState
from artquant.training.trainer import fit


@dataclass(frozen=True)
class Trained:
    report: TrainingReport
    metrics: dict[str, Any]


def check(spec: PlacedTrainSpec, splits: Splits) -> dict[str, int]:
    """Return the number of lessons of each kind. Raises UserError for what cannot be trained on."""
    if sentences := problems(spec, splits):
        raise UserError(sentences[0])
    return check_lessons(spec.loss, splits.train.select([SCORE, *TEXT_PARTS]).to_pylist())


def problems(spec: PlacedTrainSpec, splits: Splits) -> list[str]:
    """Return all that keeps these annotations from being trained on, a sentence each."""
    found = []
    needed = spec.fit.batch_size * spec.fit.gradient_accumulation_steps * spec.fit.num_workers
    if len(splits.train) < needed:
        held = "" if splits.source == "content" else f" (annotations.split={splits.source}; split=content draws the splits anew)"
        found.append(
            f"There are {len(splits.train)} artworks to train on{held}, fewer than one step takes ({needed}): "
            "bring more annotations, or lower fit.batch_size or fit.gradient_accumulation_steps."
        )
    columns = splits.train.column_names
    unknown = [name for name in spec.vision_warmup.columns if spec.vision_warmup.steps and name not in columns]
    if unknown:
        found.append(f"vision_warmup.columns names {unknown[0]!r}, which the annotations do not have: they have {', '.join(columns)}.")
    for name, held_out in (("validation", splits.validation), ("test", splits.test)):
        if not len(held_out):
            found.append(f"No artwork fell to the {name} split: raise annotations.{name}_fraction or bring more annotations.")
    try:
        check_lessons(spec.loss, splits.train.select([SCORE, *TEXT_PARTS]).to_pylist())
    except UserError as error:
        found.append(str(error))
    return found


def run_digest(spec: PlacedTrainSpec, splits: Splits, checkpoint: Checkpoint | None) -> str:
    """Digest all that determines the weights: data, settings, and the checkpoint that training continues from."""
    settings = spec.model_dump(
        mode="json", exclude={"run_id", "output", "registry", "promote", "margin", "model", "base", "engine", "stall_minutes", "watch"}
    )
    settings["fit"] = {name: value for name, value in settings["fit"].items() if name not in ("num_gpus", "num_cpus", "max_failures")}
    content = sorted(splits.content.items())
    document = json.dumps([settings, splits.annotations.digest, content, checkpoint.model_digest if checkpoint else None], sort_keys=True)
    return hashlib.sha256(document.encode()).hexdigest()[:12]


def free_run_id(requested: str | None, digest: str, registry: Registry) -> str:
    """Choose the run's name: the given one, or one made from `digest` and numbered if a run of that name already produced a model."""
    taken = {entry.model_id for entry in registry.entries()}
    if requested:
        registry.uri_of(requested)  # refuses what cannot be a model's name
        if requested in taken:
            raise UserError(f"The registry has a model {requested} already: choose another run_id.")
        return requested
    names = [f"train-{digest}", *(f"train-{digest}-{number}" for number in range(2, len(taken) + 3))]
    return next(name for name in names if name not in taken)


def run_training(
    spec: ResolvedTrainSpec, splits: Splits, checkpoint: Checkpoint | None, digest: str, recipe_of: Callable[[str], EngineRecipe]
) -> Trained:
    """Train, judge on the held-out artworks beside the current model, publish, and promote the model if it earned it. Ray must be running.

    `recipe_of(location)`: how workers get the engine of a checkpoint. Raises RunFailed and UserError; then the current model stays current.
    """
    check_capacity(spec.fetch, resolve(spec.judging_engine), spec.fit)
    started_at = datetime.now(UTC)
    registry, state = Registry(open_store(spec.registry)), RunState(open_store(spec.output), spec.run_id)
    parent_seen = read_seen(checkpoint.folder, checkpoint.base_folder) if checkpoint else Seen()
    state.store.put("spec.yaml", spec_yaml(spec).encode())
    pictures = PictureFeed(spec.annotations.images, spec.fetch, spec.stall_minutes * 60)
    lessons = check_lessons(spec.loss, splits.train.select([SCORE, *TEXT_PARTS]).to_pylist())
    facts = partial(training_report, spec, splits, started_at, lessons=lessons)
    try:
        fit(
            Task(
                spec=spec,
                run_id=spec.run_id,
                output_uri=spec.output,
                digest=digest,
                train=splits.train,
                validation=splits.validation,
                checkpoint=checkpoint,
                pictures=pictures,
            )
        )
    except Exception as error:
        state.store.put("report.html", render_training(facts(state.history(), status="failed", message=str(error))).encode())
        raise
    history = state.history()
    current, current_location = used_without(registry)
    splits, num_seen = unseen(splits, checkpoint, registry)
    facts = partial(training_report, spec, splits, started_at, lessons=lessons, num_seen=num_seen)
    location = state.store.uri_of("model")
    seen = parent_seen | own_seen(splits)
    state.store.put(f"model/{SEEN}", seen.to_bytes())
    recipes = {CANDIDATE: recipe_of(location), CURRENT: recipe_of(current_location)}
    tested = score_held_out(spec, splits, recipes)
    test = {
        name: metrics.bootstrap(metric, tested.scores[CANDIDATE], tested.human)
        for name, metric in (("srcc", metrics.srcc), ("plcc", metrics.plcc), ("mae", metrics.mae))
    }
    test_digest = held_out_digest(splits)
    verdict = judge(spec, current, tested, state.store.uri_of("shadow.html"), look_number(registry, test_digest))
    card = {
        "model_digest": Checkpoint.open(location).model_digest,
        "parent": {"location": checkpoint.location, "digest": checkpoint.model_digest} if checkpoint else None,
        "data": {
            "digest": splits.annotations.digest,
            "num_train": len(splits.train),
            "lessons": lessons,
            "num_test": len(splits.test),
            "split": splits.source,
            "num_seen": len(seen),  # what it and its parents were trained and validated on: never judged on again
            "num_test_left_out": num_seen,
            "level_shares": level_shares(splits.train, Scale(tuple(spec.annotations.level_values))),
        },
        "run_digest": digest,
        "code": code_version(),
        "config": spec.model_dump(mode="json"),
        "metrics": {name: interval._asdict() for name, interval in test.items()},
        "held_out": {"digest": test_digest, "num": len(tested.ids), "look": verdict.look, "compared_with": current},
        "best_step": history.best_step,
    }
    golden = golden_set(spec, recipes[CANDIDATE], tested)
    registry.publish(spec.run_id, Path(local_folder(location)), card, beside={GOLDEN: golden.to_bytes()} if golden else None)
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
    with warn_only(f"The model {spec.run_id} is published{' and promoted' if verdict.promoted else ''}, but not all its pages"):
        state.store.put("metrics.json", json.dumps(document, indent=1).encode())
        state.store.put("report.html", render_training(report).encode())
        state.store.put("shadow.html", render_shadow(shadow_report(spec, current, verdict, tested)).encode())
    return Trained(report, document)


def level_shares(train: pa.Table, scale: Scale) -> list[float]:
    """Return the share of each level among the training labels, best first; later runs are compared with it."""
    scores = train.column(SCORE).to_numpy(zero_copy_only=False)
    levels = scale.level(scores[np.isfinite(scores)])
    return [float(np.mean(levels == level)) if len(levels) else 0.0 for level in LEVELS]


def held_out_digest(splits: Splits) -> str:
    """Digest the contents of the test split: models that were judged on it were judged on the same artworks."""
    contents = sorted(splits.content[name] for name in splits.test[ARTWORK_ID].to_pylist())
    return hashlib.sha256("".join(contents).encode()).hexdigest()[:16]


def own_seen(splits: Splits) -> Seen:
    """Return what a model that learns from these splits has seen when it is done."""
    ids = [name for part in (splits.train, splits.validation) for name in part[ARTWORK_ID].to_pylist()]
    return Seen.of([splits.content[name] for name in ids], [splits.signatures[name] for name in ids if name in splits.signatures])


def used_without(registry: Registry) -> tuple[str, str]:
    """Return the name and the location of the model that jobs use unless the candidate is promoted: the current one, else artquant-tiny."""
    current = registry.current()
    return (current, registry.uri_of(current)) if current else (TINY.name, str(TINY))


def unseen(splits: Splits, checkpoint: Checkpoint | None, registry: Registry) -> tuple[Splits, int]:
    """Take from the test split what the parent, or the model that the candidate is compared with, has seen; also return how many that are.

    Raises UserError if nothing is left to judge on.
    """
    left, num = splits, 0
    for model in (checkpoint, Checkpoint.open(used_without(registry)[1])):
        if model:
            left, more = without_seen(left, read_seen(model.folder, model.base_folder), model.model_id)
            num += more
    return left, num


def training_report(spec: ResolvedTrainSpec, splits: Splits, started_at: datetime, history: History, **known: Any) -> TrainingReport:
    rejects = splits.annotations.rejects.to_pylist()
    per_step = spec.fit.batch_size * spec.fit.gradient_accumulation_steps * spec.fit.num_workers
    steps = history.last_step or 0
    defaults: dict[str, Any] = dict(model_id=None, model_uri=None, test={}, verdict=None, message=None)
    return TrainingReport(
        run_id=spec.run_id,
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
    """Return the package's version and a digest of its sources."""
    from importlib.metadata import version

    root = Path(__file__).resolve().parents[1]
    total = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        total.update(f"{path.relative_to(root)} ".encode() + path.read_bytes())
    return {"version": version("artquant-jobs"), "sources": total.hexdigest()[:16]}
