"""Numbers and outcomes in words."""

from __future__ import annotations

import math
from typing import NamedTuple, TypeGuard

from artquant.report.facts import RunReport
from artquant.schema import RejectClass

REJECT_MEANINGS = {
    RejectClass.MISSING: "The object was in the listing and gone when it was fetched.",
    RejectClass.DENIED: "The store refused to hand the object over.",
    RejectClass.THROTTLED: "The store asked to slow down, and went on asking after every retry.",
    RejectClass.TIMEOUT: "The store did not answer in time, after every retry.",
    RejectClass.EMPTY: "No bytes, or a picture without width or height.",
    RejectClass.NOT_AN_IMAGE: "The bytes are not those of a picture.",
    RejectClass.TRUNCATED: "The picture ends before it should.",
    RejectClass.TOO_LARGE: "More pixels or bytes than the job allows.",
    RejectClass.UNSUPPORTED: "A picture, of a kind that is not decoded.",
    RejectClass.POISON: "The engine, or its whole process, failed on this artwork alone.",
    RejectClass.BAD_SCORES: "The engine returned numbers that are not finite.",
}


class MetricWords(NamedTuple):
    name: str
    meaning: str
    is_error: bool = False  # in points of the scale, the lower the better; else a correlation or a share, the higher the better


METRICS = {
    "srcc": MetricWords("SRCC", "Spearman’s rank correlation: do both put the artworks into the same order? 1 for the very same."),
    "plcc": MetricWords("PLCC", "Pearson’s correlation: do the scores lie on a straight line?"),
    "plcc_fitted": MetricWords("PLCC, fitted", "The same after the customary logistic curve was fitted to the predictions."),
    "krcc": MetricWords("KRCC", "Kendall’s rank correlation: of all pairs, those in the same order less those in the opposite one."),
    "mae": MetricWords("MAE", "The mean distance to the human score, in points.", is_error=True),
    "rmse": MetricWords("RMSE", "The root of the mean squared distance, in points: large misses weigh more.", is_error=True),
    "rmse_fitted": MetricWords("RMSE, fitted", "The same after the logistic curve.", is_error=True),
    "level_accuracy": MetricWords("level accuracy", "The share of artworks whose level is the human one, of five."),
}


def headline(report: RunReport) -> str:
    """The run in a sentence or two."""
    took = duration(report.seconds)
    if report.status == "failed":
        return f"The run failed after {took}. Nothing was published: readers still see the last published run."
    if report.num_planned == 0:
        return f"Nothing was due: every artwork already has its score. Looking took {took}."
    if report.num_scored == 0 and report.num_reused == 0:
        return f"No artwork could be scored: {count_of(report.num_rejected, 'artwork')} rejected, in {took}."
    reused = f", {report.num_reused:,} reused" if report.num_reused else ""
    speed = f", {rate(report.num_scored / report.seconds)} a second" if report.num_scored and report.seconds else ""
    return f"{count_of(report.num_scored, 'artwork')} scored, {report.num_rejected:,} rejected{reused}, in {took}{speed}."


def count_of(count: int, noun: str) -> str:
    """`1 artwork`, `4,120 artworks`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def duration(seconds: float) -> str:
    """`0.8 s`, `48 s`, `1 min 12 s`, `3 h 05 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours:,} h {minutes:02d} min"


def rate(per_second: float) -> str:
    """`0.04`, `5.7`, `1,430`."""
    if per_second >= 99.5:
        return f"{per_second:,.0f}"
    return f"{per_second:.1f}" if per_second >= 0.95 else f"{per_second:.2g}"


def file_size(num_bytes: float) -> str:
    """`812 B`, `41 kB`, `1.4 MB`: decimal units, as object stores bill."""
    if num_bytes < 1000:
        return f"{num_bytes:.0f} B"
    for unit in ("kB", "MB", "GB", "TB"):
        num_bytes /= 1000
        if num_bytes < 999.5 or unit == "TB":
            break
    return f"{num_bytes:.1f} {unit}" if num_bytes < 9.95 else f"{num_bytes:,.0f} {unit}"


def shorten(text: str, longest: int) -> str:
    """`text` with its middle left out, where it is longer than `longest` characters: file names differ at their ends."""
    if len(text) <= longest:
        return text
    tail = longest * 2 // 3
    return f"{text[: longest - tail - 1]}…{text[-tail:]}"


def is_known(value: float | None) -> TypeGuard[float]:
    """False for None, nan and the infinities."""
    return value is not None and math.isfinite(value)


def figure(value: float | None, digits: int = 3) -> str:
    """`0.871`, `−0.020`; a dash where there is no number."""
    if not is_known(value):
        return "–"
    text = f"{value:,.{digits}f}"
    return text.replace("-", "−") if float(text.replace(",", "")) else text.lstrip("-")


def signed(value: float | None, digits: int = 3) -> str:
    """`+0.013`, `−0.004`, `0.000`; a dash where there is no number."""
    text = figure(value, digits)
    return f"+{text}" if is_known(value) and round(value, digits) > 0 else text
