"""Charts as inline SVG. Colours come from the style sheet's classes; charts have names for those who cannot see them.

Wide charts have no view box: bars are placed in percent and stretch with the page, letters keep their size.
None is given text that came with the data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from artquant.core.schema import LEVELS
from artquant.records.run import Findings
from artquant.report.text import visible

_TOP, _BASE, _HEIGHT = 46, 248, 312  # px: where the tallest bar ends, where bars stand, the whole chart
_LEFT, _RIGHT = 1.0, 99.0  # percent of the width: the scale's two ends


def histogram(findings: Findings) -> Markup:
    """Draw the scores in bins along the scale, each bar stacked by level, worst at the bottom; the mean as a dashed line."""
    edges = findings.histogram_edges
    low, high = edges[0], edges[-1]

    def x(value: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * (value - low) / (high - low)

    totals = [sum(counts) for counts in zip(*findings.histogram.values(), strict=True)]
    ceiling = _round_up(max(totals, default=0))
    parts = []
    for share in (0.5, 1.0):
        y = _BASE - share * (_BASE - _TOP)
        parts.append(Markup('<line class="grid" x1="0" x2="100%" y1="{0:.1f}" y2="{0:.1f}"/>').format(y))
        parts.append(Markup('<text class="tick" x="0" y="{:.1f}">{}</text>').format(y - 5, f"{share * ceiling:,.0f}"))
    for index, total in enumerate(totals):
        if total:
            parts.append(_stack(findings, index, total, ceiling, x(edges[index]), x(edges[index + 1])))
    parts.append(Markup('<line class="base" x1="0" x2="100%" y1="{0}" y2="{0}"/>').format(_BASE))
    for level, value in zip(LEVELS, findings.level_values, strict=True):
        side = Markup(' text-anchor="{}"').format("start" if value == low else "end" if value == high else "middle")
        parts.append(Markup('<line class="base" x1="{0:.2f}%" x2="{0:.2f}%" y1="{1}" y2="{2}"/>').format(x(value), _BASE, _BASE + 6))
        parts.append(Markup('<text class="value" x="{:.2f}%" y="{}"{}>{:g}</text>').format(x(value), _BASE + 22, side, value))
        parts.append(Markup('<text class="tick" x="{:.2f}%" y="{}"{}>{}</text>').format(x(value), _BASE + 38, side, level))
    if findings.mean_score is not None:
        position, anchor = x(findings.mean_score), "end" if findings.mean_score > (low + high) / 2 else "start"
        parts.append(Markup('<line class="mean" x1="{0:.2f}%" x2="{0:.2f}%" y1="24" y2="{1}"/>').format(position, _BASE))
        parts.append(
            Markup('<text class="value" x="{:.2f}%" dx="{}" y="32" text-anchor="{}">mean {:.2f}</text>').format(
                position, -7 if anchor == "end" else 7, anchor, findings.mean_score
            )
        )
    parts.append(Markup('<text class="tick label" x="0" y="10">artworks</text>'))
    parts.append(Markup('<text class="tick label" x="50%" y="{}" text-anchor="middle">score</text>').format(_BASE + 58))
    title = f"Histogram of {findings.num_scored:,} scores from {low:g} to {high:g}"
    return svg("histogram", title, Markup().join(parts), height=_HEIGHT)


def _stack(findings: Findings, index: int, total: int, ceiling: float, left: float, right: float) -> Markup:
    low, high = findings.histogram_edges[index : index + 2]
    bottom, segments, spoken = float(_BASE), [], []
    scale = max((_BASE - _TOP) / ceiling, 2 / total)  # a lone artwork among millions is still seen
    for level in reversed(LEVELS):
        count = findings.histogram[level][index]
        if count:
            height = count * scale
            bottom -= height
            spoken.append(f"{level} {count:,}")
            segments.append(
                Markup('<rect class="level-{}" x="{:.3f}%" width="{:.3f}%" y="{:.2f}" height="{:.2f}"/>').format(
                    level, left + 0.15, right - left - 0.3, bottom, height
                )
            )
    title = f"{low:.2f} to {high:.2f}: {', '.join(reversed(spoken))}"
    return Markup("<g><title>{}</title>{}</g>").format(title, Markup().join(segments))


def level_mix(level_counts: Mapping[str, int]) -> Markup:
    """Draw the five levels' shares as one bar, best at the right, as on the histogram's scale."""
    total = sum(level_counts.values())
    parts, left = [], 0.0
    for level in reversed(LEVELS):
        share = 100 * level_counts.get(level, 0) / total if total else 0.0
        if share:
            parts.append(
                Markup('<rect class="level-{}" x="{:.3f}%" width="{:.3f}%" y="0" height="14"><title>{}</title></rect>').format(
                    level, left, share, f"{level}: {level_counts[level]:,}, {share:.1f} %"
                )
            )
        left += share
    spoken = ", ".join(f"{level} {level_counts.get(level, 0):,}" for level in LEVELS)
    return svg("mix", f"Level mix: {spoken}", Markup().join(parts), height=14)


def distribution(probabilities: Sequence[float]) -> Markup:
    """Draw an artwork's five level probabilities as five bars, best first."""
    parts = []
    for row, (level, probability) in enumerate(zip(LEVELS, probabilities, strict=True)):
        y = 15 * row
        parts.append(Markup('<text class="tick" x="0" y="{}">{}</text>').format(y + 10, level))
        parts.append(Markup('<rect class="track" x="62" y="{}" width="124" height="7" rx="1"/>').format(y + 3))
        parts.append(
            Markup('<rect class="level-{}" x="62" y="{}" width="{:.1f}" height="7" rx="1"/>').format(level, y + 3, 124 * probability)
        )
        parts.append(Markup('<text class="tick" x="220" y="{}" text-anchor="end">{:.0f} %</text>').format(y + 10, 100 * probability))
    spoken = ", ".join(f"{level} {probability:.0%}" for level, probability in zip(LEVELS, probabilities, strict=True))
    return svg("distribution", f"Level probabilities: {spoken}", Markup().join(parts), view_box="0 0 220 74")


def bar(value: float, largest: float) -> Markup:
    """Draw one value against the largest of its table; the number stands beside it, so it is hidden from screen readers."""
    share = 100 * value / largest if largest > 0 else 0.0
    return Markup(
        '<svg class="chart bar" aria-hidden="true" width="100%" height="6">'
        '<rect class="track" width="100%" height="6" rx="1"/><rect class="ink" width="{:.2f}%" height="6" rx="1"/></svg>'
    ).format(share)


def svg(name: str, title: str, body: Markup, height: int | None = None, view_box: str | None = None) -> Markup:
    """Make a chart of the style sheet's class `name`, as wide as its container; `height` is in px, else `view_box` or class sets it."""
    title = visible(title)
    size = Markup(' viewBox="{}"').format(view_box) if view_box else Markup(' height="{}"').format(height) if height else Markup()
    return Markup('<svg class="chart {}" role="img" aria-label="{}" width="100%"{}><title>{}</title>{}</svg>').format(
        name, title, size, title, body
    )


def _round_up(count: int) -> float:
    """Round up to the next of 2, 4, 6, 8, 10, 20, 40 ... so that half of it is a whole number too."""
    power = 1
    while count > 10 * power:
        power *= 10
    return next(step * power for step in (2, 4, 6, 8, 10) if step * power >= count)
