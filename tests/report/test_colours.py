"""The colours of the five levels can be told apart, by colour-blind people too, in light and dark."""

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import artquant.report
from artquant.core.schema import LEVELS

STYLE = (Path(artquant.report.__file__).parent / "style.css").read_text()
LIGHT, DARK = STYLE.split("@media screen and (prefers-color-scheme: dark)", 1)
# Linear RGB as people see it who lack one kind of cone: Machado, Oliveira & Fernandes 2009, severity 1.0.
SIGHTS = {
    "usual": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]])


def linear(style: str, name: str) -> np.ndarray:
    """(3,) float64, linear light, of the first `--name: #rrggbb`."""
    digits = re.search(rf"--{name}: #([0-9a-f]{{6}})", style).group(1)
    value = np.array([int(digits[i : i + 2], 16) for i in (0, 2, 4)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* under D65, of linear RGB."""
    ratio = TO_XYZ @ np.clip(rgb, 0, 1) / (0.95047, 1.0, 1.08883)
    x, y, z = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("style", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("sight", SIGHTS)
def test_any_two_levels_differ_by_twenty(style: str, sight: str):
    colours = {level: lab(np.array(SIGHTS[sight]) @ linear(style, level)) for level in LEVELS}
    apart = {pair: np.linalg.norm(colours[pair[0]] - colours[pair[1]]) for pair in combinations(LEVELS, 2)}
    assert min(apart.values()) > 20, min(apart, key=apart.get)


@pytest.mark.parametrize("style", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("level", LEVELS)
def test_a_level_stands_out_from_the_paper_by_three_to_one(style: str, level: str):
    light, dark = sorted((TO_XYZ[1] @ linear(style, name) for name in (level, "paper")), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 3
