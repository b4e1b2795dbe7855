"""The page of a describe run: pictures beside their texts, what the judge objected to, what it cost, and what the texts are worth."""

from __future__ import annotations

from itertools import groupby

from artquant.agreement.metrics import Interval
from artquant.core.format import count_of, figure, is_known
from artquant.core.schema import LEVELS
from artquant.records.description import DescriptionReport
from artquant.report.template import fill
from artquant.report.text import visible


def render_description(report: DescriptionReport) -> str:
    """Render the complete page, UTF-8 text."""
    by_level = {level: list(items) for level, items in groupby(report.shown, key=lambda one: one.level)}
    return fill(
        "description.html",
        report=report,
        headline=headline(report),
        figures=_figures(report),
        by_level=[(level, by_level[level]) for level in LEVELS if level in by_level],
        interval=_interval,
        own=report.rounds[0].num_agreed / report.rounds[0].num if report.rounds else None,
    )


def headline(report: DescriptionReport) -> str:
    """Say what came of it, in two or three sentences."""
    kept = count_of(report.num_kept, "description")
    first = report.by_round.get(1, 0)
    agreed = f", {first:,} of them as they were first written" if report.num_kept else ""
    aside = f" {count_of(report.num_set_aside, 'artwork')} {'was' if report.num_set_aside == 1 else 'were'} set aside."
    return f"{visible(report.generator)} wrote and {visible(report.judge)} judged: {kept} kept{agreed}.{aside}"


def _figures(report: DescriptionReport) -> list[tuple[str, str]]:
    named = [("kept", f"{report.num_kept:,}"), ("set aside", f"{report.num_set_aside:,}"), ("tokens", f"{report.tokens:,}")]
    return [*named, *([("cost", f"{report.money:,.2f}")] if report.money else [])]


def _interval(value: Interval | None, digits: int = 2) -> str:
    if value is None or not is_known(value.value):
        return "–"
    limits = f" ({figure(value.low, digits)} to {figure(value.high, digits)})" if is_known(value.low) and is_known(value.high) else ""
    return f"{figure(value.value, digits)}{limits}"
