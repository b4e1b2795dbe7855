"""Plots with axes, as inline SVG: curves over steps, scores against scores. What is not a finite number is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from markupsafe import Markup

from artquant.core.format import count_of, figure, is_known
from artquant.report.axes import Axis, frame, linear
from artquant.report.charts import svg

MAX_DOTS = 1_500  # artworks drawn one by one; more are drawn as shades on a grid
MAX_POINTS = 400  # of a curve; more are averaged in groups
_CELLS = 44  # of the grid, in each direction
_SERIES = ("first", "second", "third")

Point = tuple[float, float | None]


def curves(
    title: str, series: Mapping[str, Sequence[Point]], x: Axis, y: Axis, marked: Point | None = None, dots: Sequence[str] = ()
) -> Markup:
    """Draw lines over a common x, each in the colour of its position; gaps where y is no number.

    `dots`: names of series with a dot at every point. `marked` gets a ring and its value. A series of one point is a dot.
    """
    parts = [frame(x, y)]
    for colour, (name, points) in zip(_SERIES, series.items(), strict=False):
        runs = _runs(_thinned(points))
        parts += [_polyline(f"line {colour}", run, x, y) for run in runs if len(run) > 1]
        alone = [run[0] for run in runs if len(run) == 1]
        shown = [point for run in runs for point in run] if name in dots else alone
        for step, value in shown:
            parts.append(_dot(colour, x.at(step), 100 - y.at(value), 3.5, f"{name} at {step:,g}: {figure(value)}"))
    if marked is not None and is_known(marked[1]):
        left, top = x.at(marked[0]), 100 - y.at(marked[1])
        anchor, below = "start" if left < 12 else "end" if left > 88 else "middle", top < 80
        parts.append(Markup('<circle class="ring" cx="{:.2f}%" cy="{:.2f}%" r="7.5"/>').format(left, top))
        parts.append(
            Markup('<text class="value halo" x="{:.2f}%" y="{:.2f}%" dy="{}" text-anchor="{}">best {}</text>').format(
                left, top, 25 if below else -14, anchor, figure(marked[1])
            )
        )
    return svg("plot", title, Markup().join(parts))


def _runs(points: Sequence[Point]) -> list[list[tuple[float, float]]]:
    """Split the points into runs of finite neighbours; any other point ends a run."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if is_known(y):
            runs[-1].append((x, y))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _thinned(points: Sequence[Point]) -> Sequence[Point]:
    if len(points) <= MAX_POINTS:
        return points
    means: list[Point] = []
    for group in np.array_split(np.array(points, np.float64), MAX_POINTS):
        finite = group[np.isfinite(group[:, 1])]
        means.append((float(group[:, 0].mean()), float(finite[:, 1].mean()) if len(finite) else None))
    return means


def scatter(
    title: str, across: Sequence[float], up: Sequence[float], x: Axis, y: Axis, curve: Sequence[Point] = (), colour: str = "first"
) -> Markup:
    """Draw N artworks as dots, or as shades if there are many; a dashed line where both scores agree; `curve` over them."""
    points = np.array([(a, b) for a, b in zip(across, up, strict=True) if is_known(a) and is_known(b)], np.float64).reshape(-1, 2)
    draw = _shades if len(points) > MAX_DOTS else _dots
    parts = [frame(x, y), _diagonal(x, y), draw(points, x, y, colour)]
    parts += [_polyline("line second", run, x, y) for run in _runs(_thinned(curve)) if len(run) > 1]
    return svg("plot square", title, Markup().join(parts))


def _dots(points: np.ndarray, x: Axis, y: Axis, colour: str) -> Markup:
    opacity = 0.75 if len(points) <= 150 else 0.5 if len(points) <= 600 else 0.35
    dots = [Markup('<circle cx="{:.2f}%" cy="{:.2f}%" r="3"/>').format(x.at(a), 100 - y.at(b)) for a, b in points.tolist()]
    return Markup('<g class="{}" fill-opacity="{}">{}</g>').format(colour, opacity, Markup().join(dots))


def _shades(points: np.ndarray, x: Axis, y: Axis, colour: str) -> Markup:
    """Draw a cell darker the more artworks are in it; the shade follows the square root of their number, so that single ones show."""
    edges = [np.linspace(axis.low, axis.high, _CELLS + 1) for axis in (x, y)]
    counts, _, _ = np.histogram2d(points[:, 0].clip(x.low, x.high), points[:, 1].clip(y.low, y.high), edges)
    side, cells = 100 / _CELLS, []
    for column, row in np.argwhere(counts).tolist():
        count = int(counts[column, row])
        cells.append(
            Markup('<rect x="{:.2f}%" y="{:.2f}%" width="{:.2f}%" height="{:.2f}%" fill-opacity="{:.2f}"><title>{}</title></rect>').format(
                column * side, 100 - (row + 1) * side, side, side, 0.12 + 0.88 * (count / counts.max()) ** 0.5, count_of(count, "artwork")
            )
        )
    return Markup('<g class="{}">{}</g>').format(colour, Markup().join(cells))


def bubbles(title: str, bins: Sequence[tuple[float, float, int]], x: Axis, y: Axis) -> Markup:
    """Draw (x, y, number of artworks) joined by a line, each dot's area by its number; a dashed line where both agree."""
    bins = [one for one in bins if is_known(one[0]) and is_known(one[1])]
    largest = max((num for _, _, num in bins), default=1)
    parts = [frame(x, y), _diagonal(x, y)]
    if len(bins) > 1:
        parts.append(_polyline("line first", [(a, b) for a, b, _ in bins], x, y))
    for a, b, num in bins:
        spoken = f"{count_of(num, 'artwork')}: predicted {figure(a, 2)}, people {figure(b, 2)}"
        parts.append(_dot("first", x.at(a), 100 - y.at(b), 2.5 + 5 * (num / largest) ** 0.5, spoken))
    return svg("plot square", title, Markup().join(parts))


def histogram(title: str, values: Sequence[float], x: Axis, over: Markup | None = None) -> Markup:
    """Draw shares of the artworks in percent, in about 24 bins along `x`, several between two ticks; `over` is drawn on top."""
    finite = np.array([value for value in values if is_known(value)], np.float64).clip(x.low, x.high)
    num_gaps = max(1, len(x.ticks) - 1)
    counts, edges = np.histogram(finite, bins=num_gaps * max(1, round(24 / num_gaps)), range=(x.low, x.high))
    percents = 100 * counts / max(1, len(finite))
    y = linear("% of the artworks", [0.0, float(percents.max())], 4)
    parts = [frame(x, y)]
    for (low, high), count, percent in zip(pairwise(edges.tolist()), counts.tolist(), percents.tolist(), strict=True):
        if count:
            height = max(0.6, y.at(percent))
            spoken = f"{low:.2f} to {high:.2f}: {count_of(count, 'artwork')}"
            parts.append(
                Markup('<rect class="first" x="{:.2f}%" width="{:.2f}%" y="{:.2f}%" height="{:.2f}%"><title>{}</title></rect>').format(
                    x.at(low) + 0.25, x.at(high) - x.at(low) - 0.5, 100 - height, height, spoken
                )
            )
    return svg("plot", title, Markup().join(parts) + (over or Markup()))


def changes(title: str, values: Sequence[float], label: str) -> Markup:
    """Draw a histogram of differences, as far to the left of 0 as to the right, with a dashed line at 0."""
    most = max((abs(value) for value in values if is_known(value)), default=1.0)
    x = linear(label, [-most, most], 7)
    return histogram(title, values, x, Markup('<line class="mean" x1="50%" x2="50%" y1="0" y2="100%"/>'))


def _diagonal(x: Axis, y: Axis) -> Markup:
    """Draw the line where x equals y, as far as both axes reach."""
    low, high = max(x.low, y.low), min(x.high, y.high)
    return _polyline("diagonal", [(low, low), (high, high)], x, y) if low < high else Markup()


def _polyline(name: str, points: Sequence[tuple[float, float]], x: Axis, y: Axis) -> Markup:
    """Draw a line in a box of its own that stretches with the frame; its stroke does not stretch."""
    places = " ".join(f"{x.at(a):.2f},{100 - y.at(b):.2f}" for a, b in points)
    return Markup(
        '<svg viewBox="0 0 100 100" preserveAspectRatio="none" width="100%" height="100%" overflow="visible">'
        '<polyline class="{}" points="{}" vector-effect="non-scaling-stroke"/></svg>'
    ).format(name, places)


def _dot(colour: str, left: float, top: float, radius: float, spoken: str) -> Markup:
    return Markup('<circle class="{}" cx="{:.2f}%" cy="{:.2f}%" r="{:.1f}"><title>{}</title></circle>').format(
        colour, left, top, radius, spoken
    )
