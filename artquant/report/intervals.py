"""Small marks on one line: a figure with its interval, a share against what it should be, scores of one artwork side by side."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup

from artquant.agreement.metrics import Interval
from artquant.core.format import figure, is_known, signed
from artquant.records.training import Verdict
from artquant.report.axes import Axis, linear
from artquant.report.charts import svg


def range_of(interval: Interval, low: float, high: float) -> Markup:
    """Draw the interval as a bar and its figure as a dot, on a line from `low` to `high`, which may run downwards.

    The numbers stand beside it, so it is hidden from screen readers.
    """
    parts = [Markup('<rect class="track" width="100%" y="6" height="2"/>')]
    if is_known(interval.value) and high != low:
        axis = Axis("", low, high, ())
        if is_known(interval.low) and is_known(interval.high):
            left, right = sorted((axis.at(interval.low), axis.at(interval.high)))
            parts.append(Markup('<rect class="span" x="{:.2f}%" width="{:.2f}%" y="3" height="8" rx="4"/>').format(left, right - left))
        parts.append(Markup('<circle class="first" cx="{:.2f}%" cy="7" r="3"/>').format(axis.at(interval.value)))
    return Markup('<svg class="chart range" aria-hidden="true" width="100%" height="14">{}</svg>').format(Markup().join(parts))


def against(share: float, nominal: float) -> Markup:
    """Draw a share of 1 as a bar, with a mark where it ought to end."""
    return Markup(
        '<svg class="chart against" aria-hidden="true" width="100%" height="16"><rect class="track" width="100%" y="4" height="8" rx="1"/>'
        '<rect class="first" width="{:.2f}%" y="4" height="8" rx="1"/><rect class="mark" x="{:.2f}%" width="2" height="16"/></svg>'
    ).format(100 * share if is_known(share) else 0, 100 * nominal)


def scores(values: Mapping[str, float], axis: Axis) -> Markup:
    """Draw one artwork's scores on the scale by source: `human` as a bar across the line, the others as dots in colours by position."""
    finite = {name: value for name, value in values.items() if is_known(value)}
    parts = [Markup('<line class="base" x1="0" x2="100%" y1="12" y2="12"/>')]
    if len(finite) > 1:
        left, right = (axis.at(end(finite.values())) for end in (min, max))
        parts.append(Markup('<rect class="ink" x="{:.2f}%" width="{:.2f}%" y="11" height="3"/>').format(left, right - left))
    colours = iter(("first", "second"))
    for name, value in values.items():
        colour = "mark" if name == "human" else next(colours)
        if name not in finite:
            continue
        shape = '<rect class="{}" x="{:.2f}%" y="2" width="3" height="20" transform="translate(-1.5 0)"/>'
        if name != "human":
            shape = '<circle class="{}" cx="{:.2f}%" cy="12" r="5"/>'
        parts.append(Markup(shape).format(colour, axis.at(value)))
    for tick, anchor in ((axis.low, "start"), (axis.high, "end")):
        parts.append(Markup('<text class="tick" x="{:.2f}%" y="35" text-anchor="{}">{:g}</text>').format(axis.at(tick), anchor, tick))
    spoken = ", ".join(f"{name} {figure(value, 2)}" for name, value in values.items())
    return svg("scores", spoken, Markup().join(parts), height=38)


def margin(verdict: Verdict) -> Markup:
    """Draw the difference with its interval, the line of no difference, and the zone beyond the margin, where a candidate is better."""
    ends = [verdict.low, verdict.high, verdict.difference, 0.0, verdict.margin]
    widest = max(abs(value) for value in ends if is_known(value)) or 0.01
    axis = linear("", [*ends, -0.2 * widest, 1.2 * max(verdict.margin, 0.0), 0.2 * widest], 6)
    edge = axis.at(verdict.margin)
    parts = [
        Markup('<rect class="zone" x="{:.2f}%" width="{:.2f}%" y="28" height="66"/>').format(edge, 100 - edge),
        Markup('<line class="base" x1="0" x2="100%" y1="94" y2="94"/>'),
    ]
    for tick in axis.ticks:
        parts.append(Markup('<rect class="ink" x="{:.2f}%" y="94" width="1" height="5"/>').format(axis.at(tick)))
        name = axis.name(tick) if tick <= 0 else f"+{axis.name(tick)}"
        parts.append(Markup('<text class="tick" x="{:.2f}%" y="113" text-anchor="middle">{}</text>').format(axis.at(tick), name))
    parts.append(Markup('<line class="mean" x1="{0:.2f}%" x2="{0:.2f}%" y1="28" y2="94"/>').format(axis.at(0.0)))
    parts.append(Markup('<text class="zone-name" x="{:.2f}%" dx="7" y="45">better →</text>').format(edge))
    if verdict.margin:
        parts.append(Markup('<line class="edge" x1="{0:.2f}%" x2="{0:.2f}%" y1="28" y2="94"/>').format(edge))
    colour = "even" if verdict.promoted else "uneven"
    if is_known(verdict.low) and is_known(verdict.high):
        left, right = axis.at(verdict.low), axis.at(verdict.high)
        parts.append(
            Markup('<rect class="{}" x="{:.2f}%" width="{:.2f}%" y="66" height="8" rx="4" fill-opacity="0.45"/>').format(
                colour, left, right - left
            )
        )
    if is_known(verdict.difference):
        position = axis.at(verdict.difference)
        parts.append(Markup('<circle class="{}" cx="{:.2f}%" cy="70" r="7"/>').format(colour, position))
        anchor = "start" if position < 8 else "end" if position > 92 else "middle"
        shape = Markup('<text class="value" x="{:.2f}%" y="18" text-anchor="{}">{}</text>')
        parts.append(shape.format(position, anchor, signed(verdict.difference)))
    limits = f"interval {signed(verdict.low)} to {signed(verdict.high)}, margin {signed(verdict.margin)}"
    return svg("margin", f"Difference in SRCC {signed(verdict.difference)}, {limits}", Markup().join(parts), height=116)
