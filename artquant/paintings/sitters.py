"""Sitters who look back: a portrait and a cat at the window."""

from __future__ import annotations

import math

import numpy as np

from artquant.paintings.indoors import wall
from artquant.paintings.pigments import mix
from artquant.paintings.scene import Scene, across, down


def portrait(s: Scene) -> None:
    rng, c = s.rng, s.colours
    wall(s, 0.35)
    x, y, k = s.focus, 0.40, 1.12
    skin_tone = mix(mix(c["light"], c["second"], 0.38), np.array([0.93, 0.72, 0.58]), 0.45)
    skin = s.pigment(mix(skin_tone, np.ones(3), 0.2), mix(skin_tone, c["near"], 0.45), s.ball(x, y, 0.26 * k), swirl=0.1, fine=True)
    shade = s.pigment(mix(skin_tone, c["near"], 0.42), swirl=0.1, group=skin)
    hair_tone = (c["dark"], mix(c["dark"], c["near"], 0.6), mix(c["accent"], c["dark"], 0.35), mix(c["second"], c["near"], 0.3))[
        int(rng.integers(4))
    ]
    hair = s.pigment(mix(hair_tone, c["light"], 0.22), hair_tone, s.ball(x - 0.03, y - 0.12, 0.28 * k), turn=1.2, swirl=0.5)
    dress = s.pigment(mix(c["accent"], c["light"], 0.15), mix(c["accent"], c["dark"], 0.55), across(x - 0.4, x + 0.4), turn=0.6, swirl=0.4)
    style = int(rng.integers(3))
    if style != 1:
        s.ellipse(hair, x, y + 0.04 * k, 0.205 * k, 0.30 * k)
    t = np.linspace(-1, 1, 20)
    shoulders = np.stack([x + 0.44 * k * t, 0.80 + 0.24 * np.abs(t) ** 2.2], axis=1)
    s.polygon(dress, np.concatenate([shoulders, [(x + 0.6, 1.7), (x - 0.6, 1.7)]]))
    s.polygon(shade, ((x - 0.065 * k, y + 0.12), (x + 0.065 * k, y + 0.12), (x + 0.085 * k, 0.84), (x, 0.90), (x - 0.085 * k, 0.84)))
    s.ellipse(hair, x, y - 0.085 * k, 0.175 * k, 0.185 * k)
    if style == 1:
        s.ellipse(hair, x + 0.02, y - 0.275 * k, 0.085 * k, 0.07 * k)
    s.ellipse(skin, x, y, 0.138 * k, 0.205 * k)
    s.polygon(
        hair,
        [(x + 0.15 * k * math.cos(a), y - 0.085 * k + 0.135 * k * math.sin(a)) for a in np.linspace(math.pi, 2 * math.pi, 14)]
        + [(x + 0.02, y - 0.15 * k)],
    )
    feature = s.pigment(mix(c["dark"], c["near"], 0.15), fine=True)
    white, lips = (
        s.pigment(mix(c["light"], skin_tone, 0.2), fine=True),
        s.pigment(mix(c["accent"], np.array([0.75, 0.2, 0.2]), 0.5), fine=True),
    )
    cheek = s.pigment(mix(skin_tone, c["accent"], 0.3), group=skin, fine=True)
    iris = s.pigment("spark", fine=True)
    for sign in (-1, 1):
        ex = x + sign * 0.062 * k
        s.ellipse(cheek, x + sign * 0.082 * k, y + 0.065 * k, 0.032 * k, 0.022 * k)
        s.line(
            feature,
            ((ex - 0.038 * k, y - 0.048 * k + 0.005 * sign), (ex, y - 0.062 * k), (ex + 0.038 * k, y - 0.048 * k - 0.005 * sign)),
            0.011,
        )
        s.ellipse(white, ex, y - 0.012 * k, 0.031 * k, 0.015 * k)
        s.ellipse(iris, ex, y - 0.012 * k, 0.0145 * k)
        s.ellipse(feature, ex, y - 0.012 * k, 0.0075 * k)
        s.line(feature, ((ex - 0.033 * k, y - 0.012 * k), (ex, y - 0.029 * k), (ex + 0.033 * k, y - 0.012 * k)), 0.007)
    s.polygon(shade, ((x + 0.004, y - 0.02 * k), (x + 0.03 * k, y + 0.075 * k), (x - 0.012 * k, y + 0.08 * k)))
    s.polygon(
        lips,
        [
            (x + dx * k, y + dy * k)
            for dx, dy in ((-0.046, 0.121), (-0.015, 0.110), (0, 0.115), (0.015, 0.110), (0.046, 0.121), (0.02, 0.137), (-0.02, 0.137))
        ],
    )
    s.line(feature, ((x - 0.042 * k, y + 0.121 * k), (x + 0.042 * k, y + 0.121 * k)), 0.004)
    _finery(s, style, x, y, k)


def _finery(s: Scene, style: int, x: float, y: float, k: float) -> None:
    """Draw a hat, a collar or pearls."""
    c = s.colours
    if style == 0:
        hat = s.pigment(mix(c["spark"], c["light"], 0.15), mix(c["spark"], c["dark"], 0.5), across(x - 0.25, x + 0.25), swirl=0.2)
        s.ellipse(hat, x, y - 0.20 * k, 0.15 * k, 0.12 * k)
        s.ellipse(hat, x, y - 0.155 * k, 0.29 * k, 0.045 * k, -0.06)
        s.polygon(
            s.pigment("accent"),
            [(x + dx * k, y + dy * k) for dx, dy in ((-0.148, -0.215), (0.148, -0.23), (0.152, -0.185), (-0.15, -0.172))],
        )
    collar = s.pigment("light", mix(c["light"], c["mid"], 0.5), across(x - 0.2, x + 0.2), swirl=0.1)
    if style == 1:
        for sign in (-1, 1):
            s.polygon(collar, ((x, 0.91), (x + sign * 0.07 * k, 0.80), (x + sign * 0.17 * k, 0.86), (x + sign * 0.09 * k, 0.97)))
    else:
        for angle in np.linspace(0.12 * math.pi, 0.88 * math.pi, 11):
            s.ellipse(collar, x + 0.105 * k * math.cos(angle), 0.80 + 0.075 * math.sin(angle), 0.0125)


def cat(s: Scene) -> None:
    rng, c = s.rng, s.colours
    wall(s, 0.55)
    _window(s, s.aspect - s.focus if abs(s.focus - s.aspect / 2) > 0.1 else s.focus + 0.02)
    x, base = s.focus, s.ground(0.88, s.focus)
    x_line = s.span()
    sill = s.pigment(mix(c["light"], c["second"], 0.45), mix(c["near"], c["mid"], 0.5), down(0.80, 0.98), swirl=0.1)
    s.below(sill, x_line, s.ground(0.81, x_line))
    cushion = s.pigment(mix(c["accent"], c["light"], 0.2), mix(c["accent"], c["dark"], 0.5), down(base - 0.06, base + 0.10), swirl=0.2)
    s.ellipse(cushion, x, base + 0.01, 0.33, 0.075)
    coat = (
        mix(c["dark"], c["near"], 0.25),
        mix(c["accent"], c["dark"], 0.25),
        mix(c["light"], c["horizon"], 0.4),
        mix(c["near"], c["dark"], 0.35),
    )[int(rng.integers(4))]
    fur = s.pigment(mix(coat, c["light"], 0.30), mix(coat, c["dark"], 0.45), s.ball(x, base - 0.22, 0.27), turn=1.3, swirl=0.3)
    head = s.pigment(mix(coat, c["light"], 0.34), mix(coat, c["dark"], 0.3), s.ball(x, base - 0.47, 0.17), turn=1.4, swirl=0.2, fine=True)
    stripe = s.pigment(mix(coat, c["dark"], 0.6), turn=0.3, swirl=0.1, group=fur)
    side = -1 if s.focus > s.aspect / 2 else 1
    t = np.linspace(0, 1, 16)
    tail = np.stack([x + side * (0.14 + 0.22 * np.sin(t * 2.4)), base - 0.02 - 0.20 * t**1.5 + 0.02 * np.sin(t * 6)], axis=1)
    s.line(fur, tail, 0.055)
    s.ellipse(fur, tail[-1, 0], tail[-1, 1], 0.027)
    s.ellipse(fur, x, base - 0.16, 0.175, 0.20)
    s.ellipse(fur, x, base - 0.29, 0.13, 0.17)
    for level in (0.10, 0.17, 0.24):
        s.polygon(
            stripe, ((x + side * 0.06, base - level), (x + side * 0.18, base - level - 0.025), (x + side * 0.165, base - level + 0.015))
        )
    chest = s.pigment(mix(coat, c["light"], 0.72), mix(coat, c["light"], 0.3), down(base - 0.36, base), turn=1.57, swirl=0.2)
    s.ellipse(chest, x, base - 0.24, 0.065, 0.12)
    for sign in (-1, 1):
        s.ellipse(chest, x + sign * 0.062, base - 0.015, 0.052, 0.030)
    hx, hy = x, base - 0.47
    ear = s.pigment(mix(c["accent"], c["light"], 0.45))
    for sign in (-1, 1):
        s.polygon(head, ((hx + sign * 0.135, hy - 0.19), (hx + sign * 0.03, hy - 0.09), (hx + sign * 0.14, hy - 0.02)))
        s.polygon(ear, ((hx + sign * 0.120, hy - 0.150), (hx + sign * 0.055, hy - 0.09), (hx + sign * 0.12, hy - 0.05)))
    s.ellipse(head, hx, hy, 0.150, 0.122)
    for dx in (-0.035, 0.0, 0.035):
        s.polygon(stripe, ((hx + dx - 0.008, hy - 0.115), (hx + dx + 0.008, hy - 0.115), (hx + dx * 0.7, hy - 0.055)))
    s.ellipse(chest, hx, hy + 0.055, 0.068, 0.045)
    _cat_face(s, hx, hy)


def _cat_face(s: Scene, x: float, y: float) -> None:
    c = s.colours
    eye = s.pigment(mix(c["spark"], np.array([0.95, 0.9, 0.3]), 0.4), lit=False, fine=True)
    pupil = s.pigment(c["dark"] * 0.5, lit=False, fine=True)
    whisker = s.pigment("light", lit=True, group=pupil, fine=True)
    for sign in (-1, 1):
        ex = x + sign * 0.066
        s.ellipse(pupil, ex, y - 0.012, 0.042, 0.036, 0.25 * sign)
        s.ellipse(eye, ex, y - 0.012, 0.037, 0.031, 0.25 * sign)
        s.ellipse(pupil, ex, y - 0.012, 0.012, 0.029)
        s.ellipse(s.pigment(np.ones(3), lit=False, group=pupil, fine=True), ex - 0.012, y - 0.023, 0.008)
        for rise in (-0.012, 0.008, 0.028):
            s.line(whisker, ((x + sign * 0.05, y + 0.05 + rise * 0.4), (x + sign * 0.215, y + 0.045 + rise * 1.6)), 0.0035)
    s.polygon(
        s.pigment(mix(c["accent"], np.array([0.9, 0.45, 0.45]), 0.5), fine=True),
        ((x - 0.02, y + 0.028), (x + 0.02, y + 0.028), (x, y + 0.05)),
    )
    s.line(pupil, ((x - 0.032, y + 0.074), (x - 0.012, y + 0.076), (x, y + 0.052), (x + 0.012, y + 0.076), (x + 0.032, y + 0.074)), 0.006)


def _window(s: Scene, x: float) -> None:
    c, light = s.colours, s.latents.light
    frame = s.pigment(mix(c["light"], c["second"], 0.2), mix(c["mid"], c["light"], 0.4), across(x - 0.4, x + 0.4), turn=1.57, swirl=0.0)
    view = s.pigment("sky", "horizon", down(0.1, 0.7), swirl=0.4)
    hillside = s.pigment("far", "mid", down(0.52, 0.8), swirl=0.3)
    disc = s.pigment(mix(s.lamp, np.ones(3), 0.3), lit=False, group=view)
    s.box(frame, x - 0.40, 0.05, x + 0.40, 0.83)
    s.box(view, x - 0.36, 0.09, x + 0.36, 0.81)
    dx, y = {"dawn": (-0.2, 0.5), "noon": (0.17, 0.2), "dusk": (0.2, 0.52), "night": (0.2, 0.22)}[light]
    s.ellipse(disc, x + dx, y, 0.062)
    t = np.linspace(-0.36, 0.36, 24)
    s.polygon(hillside, np.concatenate([np.stack([x + t, 0.62 + 0.03 * s.wave(t, 0.5)], 1), [(x + 0.36, 0.81), (x - 0.36, 0.81)]]))
    s.box(frame, x - 0.012, 0.06, x + 0.012, 0.82)
    s.box(frame, x - 0.38, 0.38, x + 0.38, 0.402)
    curtain = s.pigment(mix(c["accent"], c["light"], 0.35), mix(c["accent"], c["near"], 0.6), across(x - 0.5, x - 0.3), swirl=0.2)
    for sign in (-1, 1):
        s.polygon(
            curtain,
            ((x + sign * 0.50, -0.5), (x + sign * 0.20, -0.5), (x + sign * 0.30, 0.35), (x + sign * 0.38, 0.84), (x + sign * 0.52, 0.84)),
        )
