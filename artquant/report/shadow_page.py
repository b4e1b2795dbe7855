"""The shadow page: a candidate and the current model side by side on the same held-out artworks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from artquant.core.format import count_of, figure, is_known, shorten, signed
from artquant.records.training import Flip, ShadowReport
from artquant.report import intervals, plots
from artquant.report.axes import Axis, whole
from artquant.report.template import fill
from artquant.report.text import visible


def render_shadow(report: ShadowReport) -> str:
    """Render the complete page, UTF-8 text: about 200 KB at most, plus its thumbnails, each a third larger than its JPEG."""
    scale = whole("", [*report.human, *report.candidate_scores, *report.current_scores])
    changes = [new - old for new, old in zip(report.candidate_scores, report.current_scores, strict=True)]
    finite_changes = np.array([change for change in changes if is_known(change)], np.float64)
    return fill(
        "shadow.html",
        report=report,
        headline=headline(report),
        outcome="promoted" if report.verdict.promoted else "not promoted",
        mean_change=float(finite_changes.mean()) if len(finite_changes) else None,
        usual_change=float(np.abs(finite_changes).mean()) if len(finite_changes) else None,
        both=_against("current", report.current_scores, "candidate", report.candidate_scores, scale, "first"),
        changes=plots.changes("Histogram of candidate minus current score", changes, "candidate minus current"),
        of_people=[
            (f"{who} and people", _against(f"{who}’s score", scores, "human score", report.human, scale, colour), value)
            for who, scores, colour, value in (
                ("candidate", report.candidate_scores, "first", report.verdict.candidate_value),
                ("current", report.current_scores, "second", report.verdict.current_value),
            )
        ],
        flips=[(flip, _scores(flip, scale), nearer(flip)) for flip in report.flips],
    )


def headline(report: ShadowReport) -> str:
    """Say which of the two agrees better with people, and what was done."""
    verdict, candidate, current = report.verdict, *(shorten(visible(name), 60) for name in (report.candidate, report.current))
    on = f"on the same {count_of(report.num_artworks, 'held-out artwork')}"
    if not is_known(verdict.difference):
        sentence = f"{candidate} and {current} cannot be told apart {on}."
    else:
        order = "better than" if verdict.difference > 0 else "worse than" if verdict.difference < 0 else "as well as"
        by = f", by {signed(verdict.difference)} in SRCC" if verdict.difference else ""
        sentence = f"{candidate} agrees with people {order} {current} {on}{by}."
        if verdict.difference and is_known(verdict.low) and is_known(verdict.high) and verdict.low <= 0 <= verdict.high:
            sentence += " That may be chance."
    return f"{sentence} {'It was promoted.' if verdict.promoted else f'{current} stays in use.'}"


def nearer(flip: Flip) -> str:
    """Say which of the two scores lies nearer to people's."""
    new, old = abs(flip.candidate - flip.human), abs(flip.current - flip.human)
    if not (is_known(new) and is_known(old)):
        return "no human score to compare with"
    if figure(new, 2) == figure(old, 2):
        return "both as far from people"
    return f"the {'candidate' if new < old else 'current model'} is {figure(abs(new - old), 2)} nearer to people"


def _against(x_label: str, x: Sequence[float], y_label: str, y: Sequence[float], scale: Axis, colour: str) -> Markup | None:
    """Draw one set of scores against the other; None if there is nothing to draw."""
    if not len(x):
        return None
    across, up = (scale.named(label) for label in (x_label, y_label))
    return plots.scatter(f"{y_label} against {x_label} of {len(x):,} artworks", x, y, across, up, colour=colour)


def _scores(flip: Flip, scale: Axis) -> Markup:
    return intervals.scores({"human": flip.human, "candidate": flip.candidate, "current": flip.current}, scale)
