"""Axes with round ticks, and the frame that a plot is drawn in.

Positions are percentages of a plot's frame, so it stretches with the page while its letters keep their size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from markupsafe import Markup

from artquant.core.format import is_known
from artquant.report.text import visible


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`, which differ; `ticks` ascending, within them. A logarithmic one lies above 0."""

    label: str
    low: float
    high: float
    ticks: tuple[float, ...]
    is_log: bool = False

    def at(self, value: float) -> float:
        """Return the position of `value` in percent of the way from low to high; beyond an end, that end."""
        low, high, value = (math.log(max(v, 1e-300)) if self.is_log else v for v in (self.low, self.high, value))
        return min(100.0, max(0.0, 100 * (value - low) / (high - low)))

    def named(self, label: str) -> Axis:
        """Return the same axis with another label."""
        return replace(self, label=label)

    def name(self, tick: float) -> str:
        """Format a tick with as many decimals as the ticks need to differ."""
        if self.is_log:
            return f"{tick:g}"
        step = min((b - a for a, b in zip(self.ticks, self.ticks[1:], strict=False)), default=1.0)
        digits = next((digits for digits in range(9) if abs(round(step, digits) - step) < 1e-6 * step), 9)
        return f"{tick:,.{digits}f}".replace("-", "−")


def linear(label: str, values: Iterable[float | None], num_ticks: int = 5, snap: bool = True) -> Axis:
    """Make an axis over the finite ones of `values` with about `num_ticks` ticks; its ends are ticks, or with snap=False the values' own.

    >>> linear("", [0.31, 0.87]).ticks
    (0.2, 0.4, 0.6, 0.8, 1.0)
    """
    finite = [value for value in values if is_known(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if low == high:
        room = 0.1 * abs(low) or 0.5
        low, high = low - room, high + room
    rough = (high - low) / max(1, num_ticks - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    if snap:
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(float(f"{step * index:.12g}") for index in range(first, last + 1))
    return Axis(label, ticks[0] if snap else low, ticks[-1] if snap else high, ticks)


def whole(label: str, values: Iterable[float | None]) -> Axis:
    """Make an axis from the whole number below the least of the finite `values` to the one above the largest: 1 to 10 stays 1 to 10."""
    finite = [value for value in values if is_known(value)] or [0.0, 1.0]
    return linear(label, [math.floor(min(finite)), math.ceil(max(finite))], snap=False)


def logarithmic(label: str, values: Iterable[float | None]) -> Axis:
    """Make an axis for values above 0 with ticks at 1, 2 and 5 times powers of ten, or at powers alone if it spans more than three."""
    finite = [value for value in values if is_known(value) and value > 0] or [1.0, 10.0]
    first, last = math.floor(math.log10(min(finite))), math.ceil(math.log10(max(finite)))
    factors = (1,) if last - first > 3 else (1, 2, 5)
    every = [float(f"{factor}e{power}") for power in range(first - 1, last + 2) for factor in factors]
    below, above = [tick for tick in every if tick <= min(finite)][-1], [tick for tick in every if tick >= max(finite)][0]
    if below == above:
        above = every[every.index(below) + 1]
    return Axis(label, below, above, tuple(tick for tick in every if below <= tick <= above), is_log=True)


def fitting(label: str, values: Iterable[float | None], steep: float = 20.0) -> Axis:
    """Make a logarithmic axis if the values lie above 0 and the largest is `steep` times the least or more, else a linear one from 0."""
    finite = [value for value in values if is_known(value)]
    if finite and min(finite) > 0 and max(finite) >= steep * min(finite):
        return logarithmic(f"{label} (log)" if label else "(log)", finite)
    return linear(label, [0.0, *finite])


def frame(x: Axis, y: Axis) -> Markup:
    """Draw grid, ticks and labels: x below, y at the left with its label on top."""
    parts = []
    for tick in y.ticks:
        position = 100 - y.at(tick)
        parts.append(Markup('<line class="grid" x1="0" x2="100%" y1="{0:.2f}%" y2="{0:.2f}%"/>').format(position))
        parts.append(Markup('<text class="tick" x="-8" y="{:.2f}%" dy="4" text-anchor="end">{}</text>').format(position, y.name(tick)))
    parts.append(Markup('<line class="base" x1="0" x2="100%" y1="100%" y2="100%"/>'))
    for tick in x.ticks:
        position = x.at(tick)
        parts.append(Markup('<rect class="ink" x="{:.2f}%" y="100%" width="1" height="5"/>').format(position))
        parts.append(
            Markup('<text class="tick" x="{:.2f}%" y="100%" dy="19" text-anchor="middle">{}</text>').format(position, x.name(tick))
        )
    parts.append(Markup('<text class="label" x="50%" y="100%" dy="37" text-anchor="middle">{}</text>').format(visible(x.label)))
    parts.append(Markup('<text class="label" x="0" y="0" dx="-34" dy="-13">{}</text>').format(visible(y.label)))
    return Markup().join(parts)
