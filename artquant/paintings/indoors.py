"""Subjects before a wall: still life, flowers and the geometric abstraction."""

from __future__ import annotations

import math

import numpy as np

from artquant.paintings.pigments import mix
from artquant.paintings.scene import Scene, Tone, across, down


def wall(s: Scene, tone: float = 0.5) -> None:
    """Draw a wall that catches the light behind the subject."""
    c = s.colours
    near = mix(c["sky"], c["horizon"], tone)
    back = s.pigment(mix(near, c["light"], 0.35), mix(c["near"], c["mid"], 0.5), s.ball(s.focus, 0.4, 0.75), swirl=0.8)
    s.polygon(back, ((-2, -2), (4, -2), (4, 3), (-2, 3)))


def table(s: Scene, y: float) -> None:
    c = s.colours
    x = s.span()
    top = s.pigment(mix(c["light"], c["second"], 0.4), mix(c["mid"], c["second"], 0.5), down(y, 1.05), swirl=0.15)
    s.below(top, x, s.ground(y, x))
    stripe = s.pigment(mix(c["accent"], c["light"], 0.25), group=top, swirl=0.1)
    for offset in (-0.9, -0.6, -0.3, 0.0, 0.3, 0.6, 0.9):
        px = s.focus + offset
        s.polygon(
            stripe,
            ((px, s.ground(y, px)), (px + 0.03, s.ground(y, px + 0.03)), (px + 0.05 + offset * 0.6, 1.7), (px - 0.02 + offset * 0.6, 1.7)),
        )


def fruit(s: Scene, x: float, y: float, radius: float, colour: Tone, leaf: int) -> None:
    c = s.colours
    colour = c[colour] if isinstance(colour, str) else colour
    shade = s.pigment(mix(c["near"], c["dark"], 0.3), swirl=0.0, group=250)
    s.ellipse(shade, x + 0.5 * radius, y + 0.85 * radius, 1.15 * radius, 0.28 * radius)
    skin = s.pigment(mix(colour, c["light"], 0.4), mix(colour, c["dark"], 0.6), s.ball(x, y, radius), swirl=0.0)
    s.ellipse(skin, x, y, radius, radius * 0.97)
    shine = s.pigment(mix(c["light"], np.ones(3), 0.5), group=len(s.group) - 1)
    s.ellipse(shine, x - 0.38 * radius, y - 0.42 * radius, 0.17 * radius, 0.11 * radius, -0.6)
    s.line(leaf, ((x, y - 0.85 * radius), (x + 0.12 * radius, y - 1.25 * radius)), 0.13 * radius)
    s.ellipse(leaf, x + 0.42 * radius, y - 1.15 * radius, 0.34 * radius, 0.13 * radius, -0.3)


def still_life(s: Scene) -> None:
    rng, c = s.rng, s.colours
    wall(s)
    _drape(s)
    table(s, 0.62)
    leaf = s.pigment(mix(c["near"], c["accent"], 0.2), swirl=0.2)
    x, y = s.focus, s.ground(0.72, s.focus)
    side = -1 if x > s.aspect / 2 else 1
    _bottle(s, x - 0.30 * side, s.ground(0.76, x - 0.30 * side))
    kinds = ("accent", "spark", mix(c["accent"], c["second"], 0.6), "second", mix(c["spark"], c["accent"], 0.5))
    picks = rng.permutation(5)
    for index, (dx, dy) in enumerate(((-0.13, -0.02), (0.13, -0.02), (0.0, -0.04), (-0.065, -0.13), (0.07, -0.14), (0.0, -0.235))):
        fruit(s, x + dx, y + dy, 0.088, kinds[picks[index % 5]], leaf)
    bowl = s.pigment(mix(c["light"], c["sky"], 0.2), mix(c["sky"], c["near"], 0.6), across(x - 0.25, x + 0.3), turn=1.57, swirl=0.0)
    s.ellipse(s.pigment(mix(c["near"], c["dark"], 0.4), group=250), x + 0.08, y + 0.20, 0.27, 0.05)
    angles = np.linspace(0, math.pi, 24)
    s.polygon(bowl, np.stack([x + 0.255 * np.cos(angles), y + 0.02 + 0.18 * np.sin(angles) ** 0.8], axis=1))
    s.box(bowl, x - 0.09, y + 0.17, x + 0.09, y + 0.215)
    band = s.pigment("accent", mix(c["accent"], c["dark"], 0.5), across(x - 0.2, x + 0.3), swirl=0.0)
    s.polygon(band, ((x - 0.245, y + 0.055), (x + 0.245, y + 0.055), (x + 0.235, y + 0.085), (x - 0.235, y + 0.085)))
    for dx, dy, radius in ((0.37 * side, 0.12, 0.085), (0.50 * side, 0.17, 0.075), (-0.26 * side, 0.20, 0.07)):
        fruit(s, x + dx, s.ground(0.72 + dy, x + dx), radius, kinds[int(rng.integers(5))], leaf)


def _drape(s: Scene) -> None:
    c, x = s.colours, s.aspect - s.focus
    for fold in range(5):
        left = x - 0.30 + 0.13 * fold
        cloth = s.pigment(
            mix(c["accent"], c["near"], 0.35), mix(c["dark"], c["near"], 0.4), across(left, left + 0.16), swirl=0.15, group=240
        )
        s.polygon(cloth, ((left, -0.6), (left + 0.15, -0.6), (left + 0.13 + 0.04 * fold, 1.2), (left - 0.02 + 0.04 * fold, 1.2)))


def _bottle(s: Scene, x: float, base: float) -> None:
    c = s.colours
    glass = s.pigment(mix(c["near"], c["accent"], 0.15), "dark", across(x - 0.08, x + 0.07), swirl=0.0)
    s.polygon(
        glass,
        [
            (x + dx, base - dy)
            for dx, dy in ((-0.075, 0), (0.075, 0), (0.075, 0.26), (0.03, 0.36), (0.03, 0.50), (-0.03, 0.50), (-0.03, 0.36), (-0.075, 0.26))
        ],
    )
    s.box(s.pigment("light", turn=1.57, group=len(s.group) - 1), x - 0.05, base - 0.24, x - 0.035, base - 0.06)
    s.box(s.pigment(mix(c["light"], c["second"], 0.4)), x - 0.075, base - 0.19, x + 0.075, base - 0.08)
    s.box(s.pigment("spark"), x - 0.034, base - 0.53, x + 0.034, base - 0.46)


def flowers(s: Scene) -> None:
    rng, c = s.rng, s.colours
    wall(s, 0.7)
    table(s, 0.78)
    x, base = s.focus, s.ground(0.93, s.focus)
    s.ellipse(s.pigment(mix(c["near"], c["dark"], 0.3), swirl=0.0), x + 0.12, base - 0.01, 0.24, 0.04)
    stem = s.pigment("near", mix(c["near"], c["dark"], 0.5), down(0.2, 0.7), turn=1.57)
    leaves = [
        s.pigment(colour, swirl=0.3)
        for colour in (mix(c["near"], c["mid"], 0.4), mix(c["near"], c["dark"], 0.4), mix(c["mid"], c["accent"], 0.25))
    ]
    heads = []
    for angle in np.linspace(-1.45, 1.45, 8) + rng.normal(0, 0.08, 8):
        reach = rng.uniform(0.26, 0.40)
        heads.append((x + math.sin(angle) * reach * 1.0, base - 0.42 - math.cos(angle) * reach * 0.95, rng.uniform(0.075, 0.11)))
    heads += [(x - 0.10, base - 0.50, 0.10), (x + 0.11, base - 0.47, 0.105), (x + 0.01, base - 0.63, 0.115)]
    for hx, hy, _ in heads:
        s.line(stem, ((x, base - 0.28), (hx, hy)), 0.010)
        for _ in range(3):
            lx, ly = x + (hx - x) * rng.uniform(0.4, 1.0), base - 0.3 + (hy - base + 0.3) * rng.uniform(0.4, 1.0)
            s.ellipse(leaves[int(rng.integers(3))], lx, ly, rng.uniform(0.06, 0.09), 0.024, rng.uniform(0, math.pi))
    kinds = ("accent", "light", "spark", "second", mix(c["accent"], c["light"], 0.5))
    order = rng.permutation(5)
    for index, (hx, hy, radius) in enumerate(heads):
        bloom(s, hx, hy, radius, kinds[order[index % 5]])
    _vase(s, x, base)


def bloom(s: Scene, x: float, y: float, radius: float, colour: Tone) -> None:
    rng, c = s.rng, s.colours
    colour = c[colour] if isinstance(colour, str) else colour
    num, turn = int(rng.integers(6, 10)), rng.uniform(0, 1)
    outer = s.pigment(mix(colour, c["light"], 0.15), mix(colour, c["dark"], 0.4), s.ball(x, y, radius * 1.1), turn=1.57, swirl=0.1)
    inner = s.pigment(mix(colour, c["light"], 0.5), colour, s.ball(x, y, radius * 0.7), turn=1.57, swirl=0.1)
    for pigment, size in ((outer, 1.0), (inner, 0.68)):
        for petal in range(num):
            angle = turn + 2 * math.pi * petal / num + (0 if size == 1.0 else 0.4)
            s.ellipse(
                pigment,
                x + 0.56 * size * radius * math.cos(angle),
                y + 0.56 * size * radius * math.sin(angle),
                0.48 * size * radius,
                0.26 * size * radius,
                angle,
            )
    heart = s.pigment(mix(c["second"], c["spark"], 0.5), mix(c["near"], c["dark"], 0.3), s.ball(x, y, 0.3 * radius))
    s.ellipse(heart, x, y, 0.24 * radius)


def _vase(s: Scene, x: float, base: float) -> None:
    c = s.colours
    body = s.pigment(mix(c["sky"], c["light"], 0.55), mix(c["near"], c["dark"], 0.4), across(x - 0.16, x + 0.17), turn=0.0, swirl=0.0)
    t = np.linspace(0, 1, 16)
    wide = 0.075 + 0.075 * np.sin(t**0.8 * math.pi) ** 1.2 - 0.01 * t
    y = base - 0.34 * (1 - t)
    s.polygon(body, np.concatenate([np.stack([x - wide, y], 1), np.stack([x + wide, y], 1)[::-1]]))
    s.ellipse(body, x, base - 0.34, 0.088, 0.018)
    band = s.pigment("accent", mix(c["accent"], c["dark"], 0.5), across(x - 0.12, x + 0.16), swirl=0.0)
    s.polygon(band, ((x - 0.145, base - 0.20), (x + 0.145, base - 0.20), (x + 0.148, base - 0.165), (x - 0.148, base - 0.165)))
    s.ellipse(s.pigment(np.ones(3), group=body), x - 0.075, base - 0.24, 0.012, 0.035)


def abstract(s: Scene) -> None:
    rng, c = s.rng, s.colours
    wall(s, 0.6)
    x0, y0 = s.focus, 0.46
    names = ("accent", "second", "mid", "spark", "sky", "near", "light", "horizon", "far", "dark")
    for _ in range(9):
        colour, dark = (c[names[int(rng.integers(10))]] for _ in range(2))
        px, py, size = rng.uniform(0, s.aspect), rng.uniform(0, 1), rng.uniform(0.12, 0.26)
        angle = rng.uniform(0, math.pi) if s.slope == 0 else -0.6
        corners = [
            (px + size * math.cos(angle + a) * f, s.ground(py, px) + size * math.sin(angle + a))
            for a, f in ((0.5, 1), (2.6, 1), (3.64, 1), (5.78, 1))
        ]
        s.polygon(s.pigment(mix(colour, c["light"], 0.25), mix(colour, dark, 0.25), across(px - size, px + size), swirl=0.1), corners)
    motif, lean = int(rng.integers(3)), rng.uniform(-0.4, 0.4)
    for radius, first, second in (
        (0.30, "near", "dark"),
        (0.245, "horizon", "light"),
        (0.19, "accent", "near"),
        (0.12, "spark", "second"),
        (0.055, "dark", "near"),
    ):
        pigment = s.pigment(first, second, s.ball(x0, y0, radius), swirl=0.0)
        if motif == 0:
            s.ellipse(pigment, x0, y0, radius)
        else:  # nested squares, or half moons that lean to both sides
            turns = lean + (
                np.arange(4) * math.pi / 2 if motif == 1 else np.linspace(0, math.pi, 24) + (math.pi if radius in (0.245, 0.12) else 0.0)
            )
            s.polygon(pigment, np.stack([x0 + 1.1 * radius * np.cos(turns), y0 + 1.1 * radius * np.sin(turns)], axis=1))
    for _ in range(4):
        px, py, size = x0 + rng.uniform(-0.6, 0.6), rng.uniform(0.1, 0.95), rng.uniform(0.08, 0.17)
        turn = rng.uniform(0, 7)
        colour = c[names[int(rng.integers(8))]]
        triangle = [(px + size * math.cos(turn + a), s.ground(py, px) + size * math.sin(turn + a)) for a in (0, 2.1, 4.2)]
        s.polygon(s.pigment(colour, mix(colour, c["dark"], 0.4), across(px - size, px + size), swirl=0.1), triangle)
    ink = s.pigment("dark", swirl=0.0)
    for _ in range(3):
        start, angle = np.array([x0 + rng.uniform(-0.3, 0.3), rng.uniform(0.3, 0.7)]), rng.uniform(-0.9, 0.9) if s.slope == 0 else -0.6
        step = np.array([math.cos(angle), math.sin(angle)]) * 0.7
        s.line(ink, (start - step, start + step), 0.010)
    t = np.linspace(0, 1, 20)
    s.line(s.pigment("spark", swirl=0.0), np.stack([x0 - 0.5 + t, 0.75 + 0.12 * np.sin(t * 7 + rng.uniform(0, 6))], axis=1), 0.016)
    for index in range(6):
        px, py = x0 + rng.uniform(-0.6, 0.6), rng.uniform(0.08, 0.92)
        colour = c[names[index % 5]]
        radius = rng.uniform(0.02, 0.05)
        s.ellipse(
            s.pigment(mix(colour, c["light"], 0.3), mix(colour, c["dark"], 0.4), s.ball(px, py, radius), swirl=0.0),
            px,
            s.ground(py, px),
            radius,
        )
