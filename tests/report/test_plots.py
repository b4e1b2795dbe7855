"""What is drawn stands where its numbers say, and what is no number is left out."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from artquant.agreement.metrics import Interval
from artquant.core.format import figure, signed
from artquant.report import intervals, plots
from artquant.report.axes import fitting, linear, logarithmic
from artquant.report.metric_rows import metric_rows
from tests.report import studies

UNIT = linear("", [0.0, 1.0], 6)


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.31, 0.87], (0.2, 0.4, 0.6, 0.8, 1.0)),
        ([0, 1200], (0, 500, 1000, 1500)),
        ([-0.012, 0.003], (-0.015, -0.01, -0.005, 0.0, 0.005)),
        ([5.0], (4.5, 4.75, 5.0, 5.25, 5.5)),
        ([], (0.0, 0.25, 0.5, 0.75, 1.0)),
        ([math.nan, None, math.inf, 1.0, 9.0], (0.0, 2.0, 4.0, 6.0, 8.0, 10.0)),
    ],
)
def test_ticks_are_round_and_the_axis_holds_every_value(values, ticks):
    axis = linear("", values)
    assert axis.ticks == pytest.approx(ticks) and (axis.low, axis.high) == (axis.ticks[0], axis.ticks[-1])
    assert len({axis.name(tick) for tick in axis.ticks}) == len(axis.ticks)


def test_random_axes_have_a_few_ticks_within_their_ends():
    random = np.random.default_rng(0)
    for _ in range(300):
        values = random.normal(0, 1, 3) * 10.0 ** random.integers(-9, 9)
        for axis in (linear("", values), linear("", values, snap=False), logarithmic("", np.abs(values))):
            assert all(axis.low <= tick <= axis.high for tick in axis.ticks) and len(axis.ticks) <= 12
            assert 0 <= axis.at(min(values)) <= axis.at(max(values)) <= 100
        assert len(linear("", values).ticks) >= 3


def test_an_axis_is_logarithmic_only_for_a_steep_fall_above_zero():
    assert fitting("loss", [40.0, 0.5]).is_log
    assert not fitting("loss", [4.0, 0.5]).is_log and not fitting("loss", [40.0, 0.0]).is_log and not fitting("loss", []).is_log
    axis = fitting("loss", [40.0, 0.5])
    assert (axis.low, axis.high) == (0.5, 50.0) and axis.at(5.0) == pytest.approx(50)


def points_of(drawn: str, name: str = "line first") -> list[list[tuple[float, float]]]:
    found = re.findall(rf'<polyline class="{name}" points="([^"]*)"', drawn)
    return [[tuple(map(float, place.split(","))) for place in line.split()] for line in found]


def test_a_curve_passes_through_its_points_and_breaks_where_there_is_no_number():
    points = [(0.0, 0.0), (0.2, 0.5), (0.4, math.nan), (0.6, 0.5), (0.8, None), (0.9, 0.2), (1.0, 1.0)]
    drawn = plots.curves("t", {"a": points}, UNIT, UNIT)
    assert points_of(drawn) == [[(0, 100), (20, 50)], [(90, 80), (100, 0)]]
    assert re.findall(r'<circle class="first" cx="([\d.]+)%" cy="([\d.]+)%"', drawn) == [("60.00", "50.00")], "a lone point is a dot"


def test_a_long_curve_is_averaged_and_keeps_its_mean():
    values = np.sin(np.arange(20_000) / 3000) * 0.4 + 0.5
    drawn = plots.curves("t", {"a": list(zip(np.arange(20_000) / 20_000, values, strict=True))}, UNIT, UNIT)
    (line,) = points_of(drawn)
    assert len(line) == plots.MAX_POINTS and np.mean([100 - y for _, y in line]) == pytest.approx(100 * values.mean(), abs=0.01)


def test_every_known_artwork_is_a_dot_and_many_become_shades():
    drawn = plots.scatter("t", [0.0, 0.5, math.nan, 1.0], [1.0, 0.5, 0.5, math.inf], UNIT, UNIT)
    assert re.findall(r'<circle cx="([\d.]+)%" cy="([\d.]+)%" r="3"', drawn) == [("0.00", "0.00"), ("50.00", "50.00")]
    random = np.random.default_rng(0)
    many = plots.scatter("t", *random.random((2, 50_000)), UNIT, UNIT)
    shades = re.findall(r"<title>([\d,]+) artworks?</title></rect>", many)
    assert sum(int(count.replace(",", "")) for count in shades) == 50_000 and len(many) < 400_000


def test_a_histogram_s_bars_add_up_to_all_artworks():
    drawn = plots.histogram("t", [0.0, 0.02, 0.5, 1.0, math.nan], UNIT)
    assert re.findall(r"<title>([\d.]+ to [\d.]+: \d+ artworks?)</title>", drawn) == [
        "0.00 to 0.04: 2 artworks",
        "0.48 to 0.52: 1 artwork",
        "0.96 to 1.00: 1 artwork",
    ]
    heights = [float(height) for height in re.findall(r'<rect class="first"[^>]* height="([\d.]+)%"', drawn)]
    assert heights[0] == pytest.approx(2 * heights[1], abs=0.02)


def test_a_verdict_s_bar_ends_where_its_interval_does():
    drawn = intervals.margin(studies.verdict(difference=0.01, low=0.0, high=0.02, margin=0.005))
    places = {float(label): float(x) for x, label in re.findall(r'class="tick" x="([\d.]+)%"[^>]*>([+\d.]+)<', drawn)}
    left, width = map(float, re.search(r'class="even" x="([\d.]+)%" width="([\d.]+)%"', drawn).groups())
    assert left == pytest.approx(places[0.0], abs=0.01) and left + width == pytest.approx(places[0.02], abs=0.02)
    assert float(re.search(r'class="zone" x="([\d.]+)%"', drawn).group(1)) == pytest.approx((places[0.0] + places[0.01]) / 2, abs=0.01)
    assert 'class="uneven"' in intervals.margin(studies.verdict(promoted=False)) and 'class="uneven"' not in drawn


@pytest.mark.parametrize("unknown", [None, math.nan])
def test_a_verdict_without_numbers_is_drawn_without_a_bar(unknown):
    drawn = intervals.margin(studies.verdict(difference=unknown, low=unknown, high=unknown, margin=0.0))
    assert 'class="even"' not in drawn and "nan" not in drawn and "None" not in drawn


def test_correlations_share_one_line_and_errors_another():
    known = {
        "mae": Interval(0.6, 0.5, 0.7),
        "srcc": Interval(0.8, 0.7, 0.9),
        "krcc": Interval(0.1, -0.1, 0.3),
        "novel": Interval(0.5, 0.5, 0.5),
    }
    rows = {row.name: (row.low, row.high) for row in metric_rows(known)}
    assert list(rows) == ["SRCC", "KRCC", "MAE", "novel"]
    assert rows == {"SRCC": (-1, 1), "KRCC": (-1, 1), "novel": (-1, 1), "MAE": (0.7, 0)}
    assert metric_rows({"srcc": Interval(0.8, math.nan, math.nan)})[0].low == 0


@pytest.mark.parametrize(
    ("value", "plain", "with_sign"),
    [
        (0.0134, "0.013", "+0.013"),
        (-0.0201, "−0.020", "−0.020"),
        (-0.0004, "0.000", "0.000"),
        (0.0004, "0.000", "0.000"),
        (1234.5, "1,234.500", "+1,234.500"),
        (math.nan, "–", "–"),
        (None, "–", "–"),
        (math.inf, "–", "–"),
    ],
)
def test_figures_have_a_true_minus_and_no_negative_nought(value, plain, with_sign):
    assert (figure(value), signed(value)) == (plain, with_sign)
