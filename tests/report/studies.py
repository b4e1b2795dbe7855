"""A made-up training, evaluation and comparison for the pages' tests."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np

from artquant.agreement import metrics
from artquant.agreement.evaluation import CalibrationBin, Subgroup
from artquant.agreement.held_out import ErrorInterval, Pit
from artquant.agreement.information import Information
from artquant.agreement.metrics import Interval
from artquant.agreement.records import EvaluationReport, Miss, Theory
from artquant.records.training import Flip, LossPoint, ShadowReport, TrainingReport, Validation, Verdict
from tests.report.sample import LEVEL_VALUES, painting

START = datetime(2026, 11, 21, 2, 10, 4, tzinfo=UTC)
CONFIG = {"annotations": {"uri": "s3://museum/ratings.parquet"}, "fit": {"epochs": 3.0, "batch_size": 4}}


NAN = Interval(math.nan, math.nan, math.nan)


def verdict(**changes: object) -> Verdict:
    facts: dict[str, object] = {
        "candidate": "portraits-2026-11-21",
        "current": "portraits-2026-10-02",
        "candidate_value": 0.871,
        "current_value": 0.858,
        "difference": 0.013,
        "low": 0.004,
        "high": 0.022,
        "margin": 0.002,
        "promoted": True,
        "why": "The interval of the difference, +0.004 to +0.022, lies above the margin of +0.002.",
        "shadow_uri": "s3://museum/runs/2026-11-21/shadow.html",
    }
    return Verdict(**(facts | changes))  # type: ignore[arg-type]


FIRST_EVER = {"current": "artquant-tiny", "current_value": 0.032, "difference": 0.839, "low": 0.761, "high": 0.917, "confidence": 0.9833}


def training(**changes: object) -> TrainingReport:
    random = np.random.default_rng(3)
    steps = range(20, 1201, 20)
    curve = [
        LossPoint(
            step,
            {"vision_warmup": 4.2 * 0.55 ** (step / 60) + 0.02 * random.random() + 0.05}
            if step <= 200
            else {
                "description": 1.1 + 3.0 * np.exp(-(step - 200) / 170) + 0.05 * random.normal(),
                "score": 0.35 + 1.3 * np.exp(-(step - 200) / 260) + 0.03 * random.normal(),
            },
        )
        for step in steps
    ]
    validations = [
        Validation(
            step,
            0.88 * (1 - np.exp(-step / 260)) - max(0, step - 900) / 20_000,
            0.9 * (1 - np.exp(-step / 240)),
            {"score": 1.4 / (1 + step / 400)},
        )
        for step in range(100, 1201, 100)
    ]
    facts: dict[str, object] = {
        "run_id": "portraits-2026-11-21",
        "status": "trained",
        "started_at": START,
        "finished_at": START + timedelta(minutes=42),
        "model_id": "portraits-2026-11-21",
        "model_uri": "s3://museum/models/portraits-2026-11-21",
        "parent": "portraits-2026-10-02",
        "num_train": 8_204,
        "num_validation": 1_011,
        "num_test": 1_034,
        "rejected": {"score outside 0 to 10": 14, "no score": 3, "artwork named twice without a rater": 2},
        "reject_examples": [
            ("ratings-3.csv", 812, "score outside 0 to 10: 73"),
            ("ratings-3.csv", 813, "no score"),
            ("more/b.jsonl", 4, "no score"),
        ],
        "num_clamped": 12,
        "num_vanished": 1,
        "num_steps": 1200,
        "num_epochs": 3.0,
        "examples_per_second": 9.77,
        "curve": curve,
        "validations": validations,
        "test": {"srcc": Interval(0.871, 0.853, 0.887), "plcc": Interval(0.893, 0.879, 0.905), "mae": Interval(0.62, 0.59, 0.66)},
        "verdict": verdict(),
        "config": CONFIG,
        "message": None,
    }
    return TrainingReport(**(facts | changes))  # type: ignore[arg-type]


def ratings(num: int, seed: int = 0, noise: float = 0.8) -> tuple[np.ndarray, np.ndarray]:
    """Human and predicted scores, (num,) each; the predictions are drawn to the middle, as they are by nature."""
    random = np.random.default_rng(seed)
    human = random.normal(5.6, 1.6, num).clip(1, 10)
    return human, (5.6 + 0.85 * (human - 5.6) + random.normal(0, noise, num)).clip(1, 10)


def evaluation(num: int = 412, **changes: object) -> EvaluationReport:
    random = np.random.default_rng(1)
    human, predicted = ratings(num)
    fitted = metrics.logistic_fit(predicted, human) if num > 5 else predicted
    order = np.argsort(predicted)
    predicted_std, raters_std = random.gamma(9, 0.12, num), random.gamma(8, 0.16, num)
    bins = [
        CalibrationBin(
            *(float(value) for value in (predicted[rows].min(), predicted[rows].max())),
            len(rows),
            *(float(values[rows].mean()) for values in (predicted, human, predicted_std, raters_std)),
        )
        for rows in np.array_split(order, min(10, num))
    ]
    worst = np.argsort(-np.abs(human - predicted))[:8]
    facts: dict[str, object] = {
        "run_id": "20261121T021004Z",
        "model_id": "portraits-2026-11-21",
        "model_digest": "sha256:6c0f27d1a4b9e35d8a7710c2f5be98",
        "engine": "torch on cpu, float32",
        "split": "test",
        "started_at": START,
        "finished_at": START + timedelta(seconds=96),
        "num_artworks": num,
        "num_rejected": 2,
        "metrics": {
            "srcc": Interval(0.871, 0.853, 0.887),
            "plcc": Interval(0.884, 0.866, 0.899),
            "plcc_fitted": Interval(0.886, 0.868, 0.901),
            "krcc": Interval(0.689, 0.667, 0.709),
            "mae": Interval(0.66, 0.62, 0.71),
            "rmse": Interval(0.83, 0.78, 0.89),
            "rmse_fitted": Interval(0.79, 0.74, 0.85),
            "level_accuracy": Interval(0.64, 0.59, 0.69),
        },
        "human": human.tolist(),
        "predicted": predicted.tolist(),
        "fitted": fitted.tolist(),
        "calibration": bins,
        "errors": [ErrorInterval(0.5, 0.41, 0.49), ErrorInterval(0.8, 0.93, 0.78), ErrorInterval(0.95, 1.62, 0.9612)],
        "pit": Pit(3296, (0.14, 0.11, 0.09, 0.08, 0.08, 0.08, 0.09, 0.09, 0.11, 0.13), 0.05),
        "spread": list(zip(predicted_std.tolist(), raters_std.tolist(), strict=True)),
        "open_set_mass": random.beta(40, 2, num).tolist(),
        "subgroups": [
            Subgroup("style", "impressionism", 130, 0.88, 0.83, 0.92, 0.90, 0.61),
            Subgroup("style", "abstract", 44, 0.71, 0.52, 0.84, 0.74, 0.93),
            Subgroup("style", "(none)", 2, *[float("nan")] * 4, 0.4),
            Subgroup("country", "Japan", 61, 0.84, 0.75, 0.9, 0.85, 0.7),
        ],
        "theory": Theory(
            200,
            Information(Interval(0.71, 0.68, 0.74), 0.02),
            Information(Interval(0.44, 0.41, 0.47), 0.03),
            Information(Interval(0.06, -0.01, 0.12), 0.04),
            Information(Interval(18.3, 15.0, 21.7), 0.9),
            Interval(0.31, 0.25, 0.36),
        ),
        "misses": [
            Miss(f"collection/room {row % 7}/study in grey no {row}.jpg", float(human[row]), float(predicted[row]), painting(int(row) % 30))
            for row in worst
        ],
        "config": CONFIG,
    }
    return EvaluationReport(**(facts | changes))  # type: ignore[arg-type]


def shadow(num: int = 412, **changes: object) -> ShadowReport:
    human, candidate = ratings(num)
    current = (candidate + np.random.default_rng(5).normal(0, 0.7, num)).clip(LEVEL_VALUES[-1], LEVEL_VALUES[0])
    largest = np.argsort(-np.abs(candidate - current))[:6]
    facts: dict[str, object] = {
        "run_id": "portraits-2026-11-21",
        "candidate": "portraits-2026-11-21",
        "current": "portraits-2026-10-02",
        "num_artworks": num,
        "human": human.tolist(),
        "candidate_scores": candidate.tolist(),
        "current_scores": current.tolist(),
        "rank_correlation": 0.934,
        "verdict": verdict(),
        "flips": [
            Flip(
                f"collection/room {row % 7}/harbour {row}.jpg",
                float(human[row]),
                float(candidate[row]),
                float(current[row]),
                painting(int(row) % 30),
            )
            for row in largest
        ],
    }
    return ShadowReport(**(facts | changes))  # type: ignore[arg-type]


def hostile_training(text: str) -> TrainingReport:
    plain = training()
    return training(
        run_id=text,
        status="failed",
        model_id=text,
        model_uri=text,
        parent=text,
        message=text,
        rejected={text: 3},
        reject_examples=[(text, 1, text)],
        curve=[point._replace(losses={text: 1.0 / point.step}) for point in plain.curve],
        validations=[one._replace(losses={text: 1.0}) for one in plain.validations],
        test={text: Interval(0.5, 0.4, 0.6)},
        verdict=verdict(candidate=text, current=text, why=text, shadow_uri=text),
        config={text: [text]},
    )


def hostile_evaluation(text: str) -> EvaluationReport:
    return evaluation(
        30,
        **dict.fromkeys(("run_id", "model_id", "model_digest", "engine", "split"), text),
        metrics={text: Interval(0.5, 0.4, 0.6)},
        subgroups=[Subgroup(text, text, 3, *[0.1] * 5)],
        misses=[Miss(text, 1.0, 2.0, painting(1)), Miss(text, 1.0, 2.0, None)],
        config={text: [text]},
    )


def hostile_shadow(text: str) -> ShadowReport:
    return shadow(
        30,
        **dict.fromkeys(("run_id", "candidate", "current"), text),
        verdict=verdict(candidate=text, current=text, why=text, shadow_uri=text),
        flips=[Flip(text, 1.0, 2.0, 3.0, painting(1)), Flip(text, 1.0, 2.0, 3.0, b"<svg onload=alert(1)>")],
    )


FAILED = training(
    status="failed", model_id=None, model_uri=None, verdict=None, test={}, num_steps=7, validations=[], message="The disk is full."
)
BARE = training(verdict=None, test={}, curve=[], validations=[], rejected={}, reject_examples=[], num_clamped=0, num_vanished=0)
NOTHING = evaluation(
    1,
    num_artworks=0,
    metrics={"srcc": NAN},
    human=[],
    predicted=[],
    fitted=[],
    calibration=[],
    errors=[],
    pit=None,
    spread=[],
    open_set_mass=[],
    subgroups=[],
    theory=None,
    misses=[],
)
