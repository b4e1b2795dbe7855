"""Numbers and outcomes in words."""

from __future__ import annotations

from typing import NamedTuple

from artquant.core.format import count_of, duration
from artquant.core.schema import CritiqueStatus, RejectClass
from artquant.records.run import RunReport

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
    RejectClass.NOT_AGREED: "The judge refused every description.",
    RejectClass.REFUSED: "The provider of the generator or of the judge would not answer.",
    RejectClass.CUT_OFF: "An answer ended at the most tokens that it may have.",
    RejectClass.UNPARSED: "An answer is not what was asked for.",
    RejectClass.WRONG_LANGUAGE: "An answer is in another language than the one asked for.",
    RejectClass.UNANSWERED: "The provider failed, after every retry.",
    RejectClass.BUDGET: "What may be spent was spent before this artwork’s turn.",
}


class MetricWords(NamedTuple):
    name: str
    meaning: str
    is_error: bool = False  # in points of the scale, the lower the better; else a correlation or a share, the higher the better


METRICS = {
    "srcc": MetricWords("SRCC", "Spearman’s rank correlation: do both put the artworks into the same order? 1 for the very same."),
    "plcc": MetricWords("PLCC", "Pearson’s correlation: do the scores lie on a straight line?"),
    "plcc_fitted": MetricWords("PLCC, fitted", "The same after the customary logistic curve, held to rise, was fitted to other artworks."),
    "krcc": MetricWords("KRCC", "Kendall’s rank correlation: of all pairs, those in the same order less those in the opposite one."),
    "mae": MetricWords("MAE", "The mean distance to the human score, in points.", is_error=True),
    "rmse": MetricWords("RMSE", "The root of the mean squared distance, in points: large misses weigh more.", is_error=True),
    "rmse_fitted": MetricWords("RMSE, fitted", "The same after the logistic curve.", is_error=True),
    "level_accuracy": MetricWords("level accuracy", "The share of artworks whose level is the human one, of five."),
}


def model_check(report: RunReport) -> str:
    """Say whether the engines proved themselves on the model's golden set before they took work."""
    if report.is_model_checked is None:
        return "no engine was opened"
    return "golden set scored as expected" if report.is_model_checked else "not checked: the model has no golden set"


def critique_outcomes(report: RunReport) -> str:
    """Name how many critiques became what: `398 ok, 14 truncated`; empty where none was requested."""
    counts = {status: count for status, count in report.findings.critiques_by_status.items() if status != CritiqueStatus.NOT_REQUESTED}
    return ", ".join(f"{count:,} {status.replace('_', ' ')}" for status, count in counts.items())


def headline(report: RunReport) -> str:
    """Describe the run in a sentence or two."""
    took = duration(report.seconds)
    if report.status == "failed":
        return f"The run failed after {took}. Nothing of it was published; whatever was published before is unchanged."
    if report.status == "held":
        return f"The run is finished after {took}, and held: it looks unlike the last one. Nothing of it is visible yet."
    if report.num_planned == 0:
        return f"Nothing was due: every artwork already has its score. Looking took {took}."
    if report.num_scored == 0 and report.num_reused == 0:
        return f"No artwork could be scored: {count_of(report.num_rejected, 'artwork')} rejected, in {took}."
    reused = f", {report.num_reused:,} reused" if report.num_reused else ""
    return f"{count_of(report.num_scored, 'artwork')} scored, {report.num_rejected:,} rejected{reused}, in {took}."
