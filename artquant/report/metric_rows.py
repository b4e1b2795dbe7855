"""Metrics with their intervals as rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from artquant.agreement.metrics import Interval
from artquant.core.format import is_known
from artquant.report.words import METRICS, MetricWords


class MetricRow(NamedTuple):
    """`low` to `high`: the line on which the interval is drawn, better towards `high`; an error's runs down to 0."""

    name: str
    meaning: str
    interval: Interval
    low: float
    high: float


def metric_rows(intervals: Mapping[str, Interval]) -> list[MetricRow]:
    """Return rows in the order of METRICS, then the metrics that it does not list. Correlations share a line, as do errors."""
    order = [name for name in METRICS if name in intervals] + [name for name in intervals if name not in METRICS]
    words = {name: METRICS.get(name, MetricWords(name.replace("_", " "), "")) for name in order}
    limits = {name: [limit for limit in intervals[name] if is_known(limit)] for name in order}
    shares, errors = ([limit for name in order if words[name].is_error == is_error for limit in limits[name]] for is_error in (False, True))
    lines = {False: (-1.0 if min(shares, default=0.0) < 0 else 0.0, 1.0), True: (max(errors, default=1.0), 0.0)}
    return [MetricRow(words[name].name, words[name].meaning, intervals[name], *lines[words[name].is_error]) for name in order]
