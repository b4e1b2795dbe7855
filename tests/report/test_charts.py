"""Bars are as long as what they stand for, and can be told from their ground."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from artquant.core.schema import LEVELS
from artquant.report import charts
from tests.report import sample


def contrast(first: str, second: str) -> float:
    """WCAG 2 contrast of two #rrggbb colours."""

    def luminance(colour: str) -> float:
        channels = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
        linear = [channel / 12.92 if channel <= 0.03928 else ((channel + 0.055) / 1.055) ** 2.4 for channel in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_words_and_bars_stand_out_from_their_ground(theme):
    style = (Path(charts.__file__).parent / "style.css").read_text()
    block = re.findall(r":root \{(.*?)\}", style, re.S)[theme]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
    for ground in ("paper", "leaf"):
        assert all(contrast(colours[name], colours[ground]) >= 4.5 for name in ("ink", "muted", "accent", "even"))
        assert all(contrast(colours[name], colours[ground]) >= 3.0 for name in (*LEVELS, "first", "second"))


def test_a_distribution_s_bars_are_as_long_as_its_probabilities():
    drawn = charts.distribution((0.5, 0.25, 0.25, 0.0, 0.0))
    widths = [float(width) for width in re.findall(r'class="level-\w+" x="62" y="\d+" width="([\d.]+)"', drawn)]
    assert widths == [62.0, 31.0, 31.0, 0.0, 0.0] and len(LEVELS) == len(widths)


def test_the_histogram_s_bars_are_as_tall_as_their_counts():
    findings = sample.findings()
    heights = {level: 0.0 for level in LEVELS}
    for level, height in re.findall(r'class="level-(\w+)"[^>]* height="([\d.]+)"', charts.histogram(findings)):
        heights[level] += float(height)
    per_row = sum(heights.values()) / findings.num_scored
    assert all(heights[level] == pytest.approx(count * per_row, abs=0.2) for level, count in findings.level_counts.items())


def test_the_level_mix_fills_its_bar_in_the_levels_shares():
    counts = {"excellent": 1, "good": 0, "fair": 2, "poor": 0, "bad": 1}
    assert re.findall(r'level-(\w+)" x="([\d.]+)%" width="([\d.]+)%"', charts.level_mix(counts)) == [
        ("bad", "0.000", "25.000"),
        ("fair", "25.000", "50.000"),
        ("excellent", "75.000", "25.000"),
    ]


def test_a_lone_artwork_among_millions_is_still_drawn():
    findings = sample.findings(5)
    lone = dict.fromkeys(LEVELS, (0,) * 36) | {"fair": (0,) * 20 + (9_000_000,) + (0,) * 15, "bad": (1,) + (0,) * 35}
    drawn = charts.histogram(dataclasses.replace(findings, histogram=lone, num_scored=9_000_001))
    heights = dict(re.findall(r'class="level-(\w+)"[^>]* height="([\d.]+)"', drawn))
    assert float(heights["bad"]) == 2.0 and float(heights["fair"]) > 150
