"""The page of a training run: what came of it, how it learned, and from what."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from artquant.core.format import count_of, duration, figure, is_known, shorten, signed
from artquant.records.training import TrainingReport, Validation, Verdict
from artquant.report import plots
from artquant.report.axes import Axis, fitting, linear
from artquant.report.metric_rows import metric_rows
from artquant.report.template import fill
from artquant.report.text import visible

MAX_EXAMPLES = 40  # rejected rows listed on the page

_LOSSES = {
    "description": "Cross-entropy of a token of the three texts, in nats.",
    "score": "Cross-entropy of the answer around the level, and divergence of the levels from the soft label, in nats.",
    "level": "Divergence of the predicted levels from the soft label, in nats.",
    "vision_warmup": "Of the visual parts’ warm-up: cross-entropy of the annotations’ names, squared error of their numbers.",
}


def render_training(report: TrainingReport) -> str:
    """Render the complete page, UTF-8 text, about 60 KB.

    The report may lack validations, a test and a verdict, and hold numbers that are not finite.
    """
    best = best_validation(report.validations)
    return fill(
        "training.html",
        report=report,
        outcome=outcome(report),
        headline=headline(report),
        best=best,
        test_rows=metric_rows(report.test),
        losses=_losses(report),
        agreement=_agreement(report, best),
        num_unknown=sum(not (is_known(one.srcc) and is_known(one.plcc)) for one in report.validations),
        validation_columns=[("number", name) for name in _validation_columns(report)],
        rejected=sorted(report.rejected.items(), key=lambda item: (-item[1], item[0])),
        examples=list(report.reject_examples)[:MAX_EXAMPLES],
    )


def best_validation(validations: Sequence[Validation]) -> Validation | None:
    """Return the validation with the highest SRCC, the earlier of two equal ones; None if no SRCC is finite."""
    judged = [(one.srcc, one) for one in validations if is_known(one.srcc)]
    return max(judged, key=lambda pair: pair[0], default=(0.0, None))[1]


def outcome(report: TrainingReport) -> str:
    if report.status == "failed":
        return "failed"
    return "trained" if report.verdict is None else "promoted" if report.verdict.promoted else "not promoted"


def headline(report: TrainingReport) -> str:
    """Describe the run in two or three sentences."""
    took = duration(report.seconds)
    if report.status == "failed":
        after = f"Training failed after {took} and {count_of(report.num_steps, 'step')}."
        return f"{after} No model was published, and the current one stays current."
    learned = f"{_name(report.model_id or 'A model')} learned from {count_of(report.num_train, 'artwork')} in {took}."
    srcc = report.test.get("srcc")
    if srcc is not None and is_known(srcc.value):
        learned += f" It ranks {count_of(report.num_test, 'artwork')} that it had never seen with an SRCC of {figure(srcc.value)}."
    return learned if report.verdict is None else f"{learned} {sentence(report.verdict)}"


def sentence(verdict: Verdict) -> str:
    """Describe what became of the candidate."""
    by = f", by {signed(verdict.difference)} in SRCC" if is_known(verdict.difference) else ""
    return f"It replaces {_name(verdict.current)}{by}." if verdict.promoted else f"{_name(verdict.current)} stays in use."


def _name(model_id: str) -> str:
    return shorten(visible(model_id), 60)


def _validation_columns(report: TrainingReport) -> list[str]:
    tasks = report.validations[0].losses if report.validations else ()
    return ["step", "SRCC", "PLCC", *(f"{shorten(visible(task), 40)} loss" for task in tasks)]


def _losses(report: TrainingReport) -> list[tuple[str, str, Markup, list[tuple[str, str]]]]:
    """Return one panel per task: (task, what its loss is, the plot, its keys). Tasks differ in size, so each has an axis of its own."""
    losses = [point.losses for point in report.curve] + [one.losses for one in report.validations]
    tasks = dict.fromkeys(task for point in losses for task in point)
    panels = []
    for task in tasks:
        train = [(float(point.step), point.losses.get(task)) for point in report.curve if task in point.losses]
        held_out = [(float(one.step), one.losses.get(task)) for one in report.validations if task in one.losses]
        y = fitting("loss", [value for _, value in [*train, *held_out]])
        title = f"Loss of {shorten(task, 60)} over the steps"
        plot = plots.curves(title, {"training": train, "validation": held_out}, _steps(report), y, dots=["validation"])
        keys = [*([("first line-key", "training")] if train else []), *([("second", "validation")] if held_out else [])]
        panels.append((task.replace("vision_warmup", "vision warm-up"), _LOSSES.get(task, ""), plot, keys))
    return panels


def _agreement(report: TrainingReport, best: Validation | None) -> Markup | None:
    """Draw SRCC and PLCC over the steps; None if no validation has one."""
    series = {
        "SRCC": [(float(one.step), one.srcc) for one in report.validations],
        "PLCC": [(float(one.step), one.plcc) for one in report.validations],
    }
    values = [value for points in series.values() for _, value in points if is_known(value)]
    if not values:
        return None
    y = linear("correlation with people", values if max(values) - min(values) > 0.05 else [0.0, 1.0, *values])
    marked = (float(best.step), best.srcc) if best else None
    return plots.curves("SRCC and PLCC of the validations over the steps", series, _steps(report), y, marked, dots=list(series))


def _steps(report: TrainingReport) -> Axis:
    last = max([report.num_steps, 1, *(point.step for point in report.curve), *(one.step for one in report.validations)])
    return linear("step", [0.0, float(last)], 6, snap=False)
