"""A made-up run for the page's tests: rows as the job writes them, with pictures painted by arithmetic."""

from __future__ import annotations

import zlib
from datetime import UTC, date, datetime, timedelta
from functools import cache

import numpy as np

from artquant.core.schema import LEVELS, PROBABILITY_COLUMNS
from artquant.images.square import Picture, thumbnail
from artquant.records.run import THUMBNAIL_SIZE, Artwork, Findings, OutputFile, RunReport, StageTime
from artquant.results.summary import Summary
from artquant.results.thumbnails import with_thumbnails

LEVEL_VALUES = (10.0, 7.5, 5.0, 3.5, 1.0)


def score_rows(num_rows: int, seed: int = 0) -> dict[str, object]:
    """Columns of `score_schema()` that the summary reads; scores repeat, so that ties are common."""
    random = np.random.default_rng(seed)
    centres = random.normal(5.8, 1.9, num_rows).round(1).clip(1.2, 9.8)
    logits = -0.5 * ((np.array(LEVEL_VALUES) - centres[:, None]) / random.choice([0.9, 1.6], num_rows)[:, None]) ** 2
    probabilities = np.exp(logits - logits.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    scores = probabilities @ LEVEL_VALUES
    stds = np.sqrt((probabilities * (np.array(LEVEL_VALUES) - scores[:, None]) ** 2).sum(1))
    order = random.permutation(num_rows)
    return {
        "artwork_id": [f"collection/room {number % 7}/study in grey no {number}.jpg" for number in order],
        "uri": [f"s3://museum/collection/{number}.jpg" for number in order],
        "width": random.integers(300, 4000, num_rows),
        "height": random.integers(300, 4000, num_rows),
        "score": scores,
        "score_std": stds,
        "level": [LEVELS[index] for index in probabilities.argmax(1)],
        **{name: probabilities[:, column] for column, name in enumerate(PROBABILITY_COLUMNS)},
        "open_set_mass": random.uniform(0.8, 1.0, num_rows),
        "entropy": -(probabilities * np.log(probabilities.clip(1e-300))).sum(1),
        "needs_review": stds > 1.5,
        "perception": ["Broad, unhurried strokes; a low horizon; the light comes from the left."] * num_rows,
        "cognition": ["A harbour at dusk in the manner of the northern school."] * num_rows,
        "emotion": [None] * num_rows,
        "critique_status": ["looping" if number % 40 == 0 else "ok" for number in order],
    }


def reject_rows(num_rows: int, seed: int = 0) -> dict[str, object]:
    classes = np.random.default_rng(seed).choice(["truncated", "missing", "not_an_image"], num_rows, p=[0.2, 0.7, 0.1])
    return {
        "artwork_id": [f"collection/lost/{seed}-{number}.jpg" for number in range(num_rows)],
        "reject_class": classes.tolist(),
        "message": [f"{name} at byte {number}" for number, name in enumerate(classes)],
    }


@cache
def painting(number: int) -> bytes:
    y, x = np.mgrid[0:448, 0:448] / 448
    waves = np.sin(9 * x * (1 + number % 5) + 4 * y) + np.cos(7 * y + number)
    square = np.stack([120 + 50 * waves, 110 + 40 * waves * x, 140 - 45 * waves * y], 2).clip(0, 255).astype(np.uint8)
    return thumbnail(Picture(square, 300 + 71 * (number % 6), 300 + 53 * (number % 7)), THUMBNAIL_SIZE)


def picture(work: Artwork) -> bytes:
    return painting(zlib.crc32(work.artwork_id.encode(errors="replace")) % 30)


EMPTY = Summary(LEVEL_VALUES).result()


@cache
def findings(num_scored: int = 412, num_rejected: int = 3) -> Findings:
    summary = Summary(LEVEL_VALUES)
    summary.add_scores(score_rows(num_scored))
    summary.add_rejects(reject_rows(num_rejected))
    return with_thumbnails(summary.result(), picture)


def report(**changes: object) -> RunReport:
    start = datetime(2026, 11, 21, 2, 10, 4, tzinfo=UTC)
    facts: dict[str, object] = {
        "run_id": "2026-11-21T02-10-04Z-7f3a",
        "run_date": date(2026, 11, 21),
        "status": "published",
        "started_at": start,
        "finished_at": start + timedelta(seconds=72),
        "input_uri": "s3://museum/collection",
        "output_uri": "s3://museum/artquant",
        "model_id": "artquant-small",
        "model_digest": "sha256:6c0f27d1a4b9e35d8a7710c2f5be98",
        "prompt_digest": "sha256:19aa03e4",
        "engine": "torch on cpu, float32",
        "num_planned": 415,
        "num_scored": 412,
        "num_rejected": 3,
        "num_reused": 0,
        "reasons": {"new": 400, "changed": 12, "retry": 3},
        "images_per_second": 5.7222,
        "stages": [
            StageTime("fetch", 12.4, 415, 33.5),
            StageTime("decode", 20.1, 412, 20.5),
            StageTime("score and critique", 68.2, 412, 6.04),
            StageTime("write", 1.3, 415, 319.2),
        ],
        "files": [
            OutputFile("scores/model=artquant-small/run_date=2026-11-21/part-00000.parquet", 412, 184_211),
            OutputFile("rejects/run_date=2026-11-21/part-00000.parquet", 3, 4_120),
        ],
        "config": {"input": {"uri": "s3://museum/collection"}, "max_rejected_fraction": 0.05},
    }
    facts.update(changes)
    if "findings" not in facts:
        facts["findings"] = findings()
    return RunReport(**facts)  # type: ignore[arg-type]


def hostile_report(text: str) -> RunReport:
    rows = score_rows(12)
    for column in ("artwork_id", "uri", "perception", "cognition", "emotion"):
        rows[column] = [f"{text}{number}" for number in range(12)]
    rejects = {"artwork_id": [text], "reject_class": [text], "message": [text]}
    summary = Summary(LEVEL_VALUES)
    summary.add_scores(rows)
    summary.add_rejects(rejects)
    names = ("run_id", "input_uri", "output_uri", "model_id", "model_digest", "prompt_digest", "engine", "message")
    return report(
        findings=with_thumbnails(summary.result(), picture),
        reasons={text: 1},
        config={text: [text]},
        files=[OutputFile(text, 1, 1)],
        stages=[StageTime(text, 1.0, 1, 1.0)],
        status="failed",
        **dict.fromkeys(names, text),
    )
