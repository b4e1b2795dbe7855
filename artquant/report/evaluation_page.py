"""The page of an evaluation: how well a model agrees with people, where it does not, and whether its spread shows it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from markupsafe import Markup

from artquant.agreement.evaluation import Subgroup
from artquant.agreement.information import Information
from artquant.agreement.metrics import Interval
from artquant.agreement.records import EvaluationReport, Miss, Theory
from artquant.core.format import count_of, figure, is_known, shorten
from artquant.report import intervals, plots
from artquant.report.axes import Axis, linear, whole
from artquant.report.metric_rows import metric_rows
from artquant.report.template import fill
from artquant.report.text import visible

MAX_SUBGROUPS = 60  # rows listed on the page

_TERMS = (
    ("picture about score", "picture", "What the model, which sees the picture, knows of people’s votes."),
    ("texts about score", "texts", "What a reader of people’s descriptions knows of their votes: it learnt from other artworks’ texts."),
    ("texts, levels masked", "masked_texts", "The same without numbers and words that name a level."),
    ("picture about texts", "generation", "How much likelier the model finds a description under its own picture than under another."),
)


def render_evaluation(report: EvaluationReport) -> str:
    """Render the complete page, UTF-8 text: about 150 KB at most, plus its thumbnails, each a third larger than its JPEG."""
    scale = whole("", [*report.human, *report.predicted])
    return fill(
        "evaluation.html",
        report=report,
        headline=headline(report),
        figures=_key_figures(report),
        rows=metric_rows(report.metrics),
        agreement=_agreement(report, scale),
        errors=_errors(report),
        mean_error=_mean([predicted - human for predicted, human in zip(report.predicted, report.human, strict=True)]),
        calibration=_calibration(report, scale),
        spread=_spread(report.spread),
        mass=_mass(report.open_set_mass),
        mean_mass=_mean(report.open_set_mass),
        low_mass=_mean([float(mass < 0.5) for mass in report.open_set_mass if is_known(mass)]),
        groups=_groups(report.subgroups[:MAX_SUBGROUPS]),
        terms=_terms(report.theory) if report.theory else [],
        misses=[(miss, _scores(miss, scale)) for miss in report.misses],
        bar=lambda group: intervals.range_of(Interval(group.srcc, group.srcc_low, group.srcc_high), _least(report.subgroups), 1.0),
    )


def headline(report: EvaluationReport) -> str:
    """Describe how well the model does, in two or three sentences."""
    model, srcc, mae = shorten(visible(report.model_id), 60), report.metrics.get("srcc"), report.metrics.get("mae")
    lost = f" {count_of(report.num_rejected, 'artwork')} got no score." if report.num_rejected else ""
    if not report.num_artworks:
        return f"{model} could not be compared with people on any artwork.{lost}"
    which = "annotated artworks" if report.split == "all" else f"artworks of the {shorten(visible(report.split), 20)} split"
    if report.num_artworks == 1:
        which = which.replace("artworks", "artwork")
    sentence = f"{model} on {report.num_artworks:,} {which}:"
    if srcc is None or not is_known(srcc.value):
        sentence += " its order cannot be compared with people’s, as all scores on one side are alike."
    else:
        limits = f" (95 % interval {figure(srcc.low)} to {figure(srcc.high)})" if is_known(srcc.low) and is_known(srcc.high) else ""
        sentence += f" its order agrees with people’s at an SRCC of {figure(srcc.value)}{limits}."
    off = f" It is off by {figure(mae.value, 2)} points on average." if mae and is_known(mae.value) else ""
    return sentence + off + lost


def _key_figures(report: EvaluationReport) -> list[tuple[str, str]]:
    wanted = (("SRCC", "srcc", 3), ("PLCC", "plcc", 3), ("mean distance", "mae", 2))
    figures = [(name, figure(report.metrics[key].value, digits)) for name, key, digits in wanted if key in report.metrics]
    level = report.metrics.get("level_accuracy")
    return [*figures, ("same level", f"{figure(100 * level.value, 0)} %" if is_known(level.value) else "–")] if level else figures


def _agreement(report: EvaluationReport, scale: Axis) -> Markup | None:
    """Draw human against predicted scores with the fitted curve; None if there is nothing to draw."""
    if not report.num_artworks:
        return None
    x, y = scale.named("predicted score"), scale.named("human score")
    curve = sorted((p, f) for p, f in zip(report.predicted, report.fitted, strict=True) if is_known(p) and is_known(f))
    return plots.scatter(f"Human against predicted score of {report.num_artworks:,} artworks", report.predicted, report.human, x, y, curve)


def _errors(report: EvaluationReport) -> Markup | None:
    errors = [predicted - human for predicted, human in zip(report.predicted, report.human, strict=True)]
    return plots.changes("Histogram of predicted less human score", errors, "predicted less human score") if errors else None


def _mass(masses: Sequence[float]) -> Markup | None:
    x = linear("open-set mass", [0.0, 1.0], 6)
    return plots.histogram("Histogram of the open-set mass", masses, x) if len(masses) else None


def _calibration(report: EvaluationReport, scale: Axis) -> Markup | None:
    if not report.calibration:
        return None
    x, y = scale.named("mean predicted score"), scale.named("mean human score")
    bins = [(one.predicted, one.human, one.num) for one in report.calibration]
    return plots.bubbles(f"Mean human against mean predicted score in {len(bins)} bins", bins, x, y)


def _spread(spread: Sequence[tuple[float, float]]) -> Markup | None:
    if not spread:
        return None
    axis = linear("", [0.0, *(value for pair in spread for value in pair)])
    x, y = axis.named("predicted spread"), axis.named("raters’ spread")
    ours, theirs = zip(*spread, strict=True)
    return plots.scatter(f"Raters’ against predicted spread of {len(spread):,} artworks", ours, theirs, x, y)


def _mean(values: Sequence[float]) -> float | None:
    finite = [value for value in values if is_known(value)]
    return float(np.mean(finite)) if finite else None


def _groups(subgroups: Sequence[Subgroup]) -> list[tuple[str, list[Subgroup]]]:
    """Group by column, in the columns' order."""
    return [(column, list(rows)) for column, rows in groupby(subgroups, key=lambda group: group.column)]


def _least(subgroups: Sequence[Subgroup]) -> float:
    return -1.0 if any(min(group.srcc, group.srcc_low) < 0 for group in subgroups) else 0.0


def _scores(miss: Miss, scale: Axis) -> Markup:
    return intervals.scores({"human": miss.human, "predicted": miss.predicted}, scale)


def _terms(theory: Theory) -> list[tuple[str, Information, str]]:
    return [(name, getattr(theory, field), meaning) for name, field, meaning in _TERMS]
