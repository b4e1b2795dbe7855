"""Subjects under the open sky. Each function draws one scene from back to front."""

from __future__ import annotations

import math
from typing import cast

import numpy as np

from artquant.paintings.pigments import mix
from artquant.paintings.scene import Scene, Tone, across, down


def sky(s: Scene, horizon: float, clouds: int = 5) -> None:
    """Draw the sky with sun or moon, stars or clouds, according to the hour."""
    light, rng = s.latents.light, s.rng
    top = s.colours["sky"] if light != "night" else mix(s.colours["sky"], s.colours["dark"], 0.35)
    ground = s.pigment(top, "horizon", down(0.0, horizon + 0.05), swirl=0.45)
    s.polygon(ground, ((-2, -2), (4, -2), (4, 3), (-2, 3)))
    if light == "night":
        star = s.pigment(mix(s.lamp, s.colours["spark"], 0.4), lit=False, group=ground, fine=True)
        for x, y, size in zip(rng.uniform(0, s.aspect, 34), rng.uniform(0, horizon * 0.9, 34), rng.uniform(0.003, 0.008, 34), strict=True):
            s.ellipse(star, x, y, size)
        x, y, radius = s.focus + 0.2 * rng.uniform(-1, 1), 0.17, 0.065
        halo = s.pigment(mix(s.colours["horizon"], s.colours["sky"], 0.4), "sky", s.ball(x, y, 0.2), group=ground)
        s.ellipse(halo, x, y, 0.13)
    else:
        x = {"dawn": 0.16 * s.aspect, "noon": s.focus + 0.12, "dusk": 0.84 * s.aspect}[light]
        y, radius = {"dawn": (horizon - 0.10, 0.07), "noon": (0.13, 0.06), "dusk": (horizon - 0.07, 0.085)}[light]
    if clouds:
        _clouds(s, horizon, clouds, ground)
    disc = s.pigment(mix(s.lamp, np.ones(3), 0.35), s.lamp, s.ball(x, y, radius), lit=False, group=ground, fine=True)
    s.ellipse(disc, x, y, radius)


def _clouds(s: Scene, horizon: float, num: int, group: int) -> None:
    rng = s.rng
    bright = mix(s.colours["horizon"], s.colours["light"], 0.7)
    for _ in range(num):
        x, y, size = rng.uniform(0, s.aspect), rng.uniform(0.06, horizon * 0.72), rng.uniform(0.05, 0.11)
        cloud = s.pigment(
            bright, mix(s.colours["sky"], s.colours["far"], 0.5), down(y - 0.6 * size, y + 0.7 * size), swirl=0.5, group=group
        )
        for offset in rng.uniform(-1.6, 1.6, 7):
            tall = (0.62 - 0.26 * abs(offset)) * size
            s.ellipse(cloud, x + offset * size, y - 0.25 * tall, 0.8 * size, max(tall, 0.012))


def hill(
    s: Scene, y: float, height: float, first: Tone, second: Tone, pitch: float, rough: float = 0.5, span: float = 0.35, turn: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    x = s.span()
    curve = s.ground(y, x) + height * s.wave(x, pitch, 4, rough)
    s.below(s.pigment(first, second, down(y - height, y + span), turn=turn), x, curve)
    return x, curve


def pine(s: Scene, pigments: tuple[int, int], x: float, base: float, height: float) -> None:
    dark, lit = pigments
    for level in range(4):
        top, wide = base - height * (1 - 0.2 * level), height * (0.13 + 0.065 * level)
        low = top + height * 0.42
        s.polygon(dark, ((x, top), (x + wide, low), (x - wide, low)))
        s.polygon(lit, ((x, top), (x - 0.15 * wide, low), (x - wide, low)))


def mountains(s: Scene) -> None:
    rng, c = s.rng, s.colours
    sky(s, 0.55, 4)
    hill(s, 0.47, 0.06, mix(c["far"], c["horizon"], 0.6), "horizon", 0.7, 0.6)
    for centre, height, width in ((s.focus - 0.55, 0.30, 0.46), (s.focus + 0.50, 0.26, 0.42), (s.focus, 0.50, 0.56)):
        _peak(s, centre, 0.70 - height, height, width)
    hill(s, 0.64, 0.035, mix(c["mid"], c["far"], 0.45), "mid", 0.6, span=0.18, turn=0.3)
    x, curve = hill(s, 0.73, 0.03, "mid", mix(c["near"], c["accent"], 0.15), 0.8, span=0.25)
    lake_y = 0.79
    lake = s.pigment("horizon", "sky", down(lake_y, 1.0), swirl=0.08)
    s.ellipse(lake, s.focus + 0.1, s.ground(lake_y + 0.07, s.focus + 0.1), 0.42, 0.065, s.slope)
    ripple = s.pigment("light", group=lake, swirl=0.05)
    for _ in range(7):
        px, py = s.focus + 0.1 + rng.uniform(-0.25, 0.25), lake_y + rng.uniform(0.045, 0.1)
        s.ellipse(ripple, px, s.ground(py, px), rng.uniform(0.03, 0.07), 0.0035, s.slope)
    hill(s, 0.95, 0.04, "near", "dark", 0.7, span=0.12)
    trees = (s.pigment("dark", turn=0.5), s.pigment("near", turn=0.5))
    for px in rng.uniform(-0.05, s.aspect + 0.05, 15):
        if -0.22 < px - s.focus < 0.34:
            continue
        pine(s, trees, px, s.ground(0.97, px) + rng.uniform(-0.03, 0.04), rng.uniform(0.15, 0.30))


def _peak(s: Scene, x: float, top: float, height: float, width: float) -> None:
    rng, c = s.rng, s.colours
    shaded = s.pigment(mix(c["near"], c["mid"], 0.35), mix(c["far"], c["mid"], 0.35), down(top, top + height), turn=0.9)
    lit = s.pigment(mix(c["far"], c["mid"], 0.30), mix(c["far"], c["horizon"], 0.35), down(top, top + height), turn=-0.9)
    snow, blue = s.pigment("light", turn=-0.9), s.pigment(mix(c["light"], c["sky"], 0.45), turn=0.9)
    steps = np.linspace(0, 1, 18)
    start = np.array([x, s.ground(top, x)])

    def flank(reach: float, rough: float) -> np.ndarray:
        ragged = rough * rng.normal(0, 1, (18, 2)) * np.minimum(1, steps * 6)[:, None] * (0.5, 1.0)
        level = np.stack([reach * steps ** rng.uniform(0.9, 1.1), s.slope * reach * steps + height * steps], axis=1)
        return cast(np.ndarray, start + level + ragged)

    right, left, crest = flank(width, 0.012), flank(-width, 0.012), flank(0.12 * width, 0.018)
    s.polygon(shaded, np.concatenate([right, crest[::-1]]))
    s.polygon(lit, np.concatenate([left, crest[::-1]]))
    gully = s.pigment(
        mix(c["near"], c["mid"], 0.4), mix(c["far"], c["mid"], 0.3), down(top, top + height), turn=-0.9, group=len(s.group) - 3
    )
    for cut in (0.42, 0.62, 0.8):
        a = left[int(cut * 17)] * 0.55 + crest[int(cut * 17)] * 0.45
        s.polygon(gully, (crest[int(cut * 12)], a + (0.03, 0.12 * height), a, crest[int(cut * 9)]))
    cap = 6
    for pigment, side in ((blue, right), (snow, left)):
        between = side[cap] + (crest[cap] - side[cap]) * np.linspace(0, 1, 9)[:, None]
        between[1:-1:2, 1] += rng.uniform(0.02, 0.15, 4) * height
        between[2:-1:2, 1] -= rng.uniform(0.0, 0.10, 3) * height
        s.polygon(pigment, np.concatenate([side[: cap + 1], between, crest[: cap + 1][::-1]]))


def seascape(s: Scene) -> None:
    rng, c = s.rng, s.colours
    horizon = 0.50
    sky(s, horizon, 6)
    coast = s.pigment(mix(c["far"], c["horizon"], 0.35), "far", down(0.42, 0.52))
    x = s.span()
    far_side = s.aspect if s.focus < s.aspect * 0.55 else 0.0
    s.below(coast, x, s.ground(0.515, x) - 0.085 * np.exp(-(((x - far_side) / 0.42) ** 2)) * (1 + 0.25 * s.wave(x, 0.3)))
    sea = s.pigment(mix(c["far"], c["horizon"], 0.3), mix(c["near"], c["mid"], 0.4), down(horizon, 0.95), swirl=0.12)
    s.below(sea, x, s.ground(horizon, x))
    crests = [
        s.pigment(colour, group=sea, swirl=0.1)
        for colour in (mix(c["far"], c["light"], 0.4), "mid", mix(c["accent"], c["mid"], 0.5), "near")
    ]
    for y in np.linspace(horizon + 0.015, 1.02, 26) ** 1.0:
        near = (y - horizon) / 0.5
        for px in rng.uniform(-0.1, s.aspect + 0.1, 6):
            s.ellipse(crests[int(rng.integers(4))], px, s.ground(y, px), 0.02 + 0.11 * near * rng.random(), 0.002 + 0.009 * near, s.slope)
    glitter = s.pigment(mix(s.lamp, c["light"], 0.3), lit=False, group=sea, swirl=0.05)
    sun = {"dawn": 0.16 * s.aspect, "noon": s.focus + 0.12, "dusk": 0.84 * s.aspect, "night": s.focus}[s.latents.light]
    for y in np.linspace(horizon + 0.012, 0.93, 22):
        near = (y - horizon) / 0.5
        px = sun + rng.normal(0, 0.012 + 0.05 * near)
        s.ellipse(glitter, px, s.ground(y, px), 0.012 + 0.05 * near * rng.random(), 0.002 + 0.004 * near, s.slope)
    boat(s, s.focus, s.ground(0.70, s.focus), 0.40)
    if s.latents.composition in ("left", "right"):
        px = s.aspect - s.focus
        boat(s, px, s.ground(0.545, px), 0.09)
    foam = s.pigment("light", mix(c["light"], c["far"], 0.3), down(0.9, 1.0), swirl=0.1)
    sand = s.pigment(mix(c["second"], c["light"], 0.35), mix(c["second"], c["mid"], 0.4), down(0.92, 1.05))
    shore = s.ground(0.93, x) + 0.018 * s.wave(x, 0.6, 3)
    s.below(foam, x, shore)
    s.below(sand, x, shore + 0.018 + 0.006 * s.wave(x, 0.3))


def boat(s: Scene, x: float, y: float, size: float) -> None:
    c = s.colours
    shadow = s.pigment(mix(c["dark"], c["near"], 0.5), swirl=0.1)
    s.ellipse(shadow, x + 0.05 * size, y + 0.16 * size, 0.42 * size, 0.05 * size, s.slope)
    reflected = s.pigment(mix(c["light"], c["mid"], 0.55), "near", down(y, y + 0.6 * size), swirl=0.1, group=shadow)
    for step in range(5):
        s.ellipse(reflected, x + 0.06 * size * (-1) ** step, y + (0.2 + 0.08 * step) * size, (0.3 - 0.045 * step) * size, 0.018 * size)
    hull = s.pigment(mix(c["accent"], c["dark"], 0.25), "dark", down(y - 0.05 * size, y + 0.16 * size), swirl=0.0, fine=True)
    rim = s.pigment("spark", swirl=0.0, fine=True)
    mast = s.pigment("dark", turn=1.57, swirl=0.0, fine=True)
    sail = s.pigment("light", mix(c["light"], c["second"], 0.55), across(x - 0.3 * size, x + 0.35 * size), swirl=0.1, fine=True)
    jib = s.pigment("spark", mix(c["spark"], c["light"], 0.4), across(x - 0.4 * size, x), swirl=0.1, fine=True)
    s.line(mast, ((x, y), (x, y - 1.12 * size)), 0.022 * size + 0.002)
    lower = y - 0.1 * size
    bow = np.linspace(0, 1, 9)[:, None]
    curve = (
        np.array([x + 0.02 * size, y - 1.08 * size])
        + bow * np.array([0.44 * size, 0.98 * size])
        + np.sin(bow * math.pi) * np.array([0.07 * size, -0.05 * size])
    )
    s.polygon(sail, np.concatenate([[(x + 0.02 * size, lower)], curve]))
    s.polygon(jib, ((x - 0.03 * size, y - 0.98 * size), (x - 0.03 * size, lower - 0.02 * size), (x - 0.36 * size, lower)))
    s.polygon(
        hull,
        (
            (x - 0.48 * size, y - 0.06 * size),
            (x + 0.52 * size, y - 0.08 * size),
            (x + 0.36 * size, y + 0.15 * size),
            (x - 0.32 * size, y + 0.15 * size),
        ),
    )
    s.line(rim, ((x - 0.48 * size, y - 0.06 * size), (x + 0.52 * size, y - 0.08 * size)), 0.03 * size + 0.001)


def desert(s: Scene) -> None:
    rng, c = s.rng, s.colours
    sky(s, 0.5, 2)
    mesa = s.pigment(mix(c["far"], c["mid"], 0.35), mix(c["far"], c["horizon"], 0.6), down(0.36, 0.56), turn=1.57)
    for px, wide, tall in ((s.aspect - s.focus, 0.20, 0.15), (s.aspect - s.focus + 0.27, 0.10, 0.10), (s.focus - 0.35, 0.13, 0.07)):
        y = s.ground(0.56, px)
        s.polygon(mesa, ((px - wide, y), (px - 0.72 * wide, y - tall), (px + 0.66 * wide, y - tall * 0.96), (px + wide, y)))
    x = s.span(96)
    for index, (y, rise) in enumerate(((0.56, 0.05), (0.65, 0.08), (0.78, 0.10))):
        pale = index / 3
        lit = s.pigment(
            mix(c["horizon"], c["second"], 0.35 + 0.5 * pale),
            mix(c["second"], c["mid"], 0.25 + 0.3 * pale),
            down(y - rise, y + 0.3),
            turn=0.25,
            swirl=0.2,
        )
        dark = s.pigment(mix(c["mid"], c["near"], pale), mix(c["far"], c["mid"], 0.6), down(y - rise, y + 0.3), turn=-0.6, swirl=0.2)
        top_x = s.focus + (0.45, -0.35, 0.25)[index] * rng.uniform(0.7, 1.3)
        crest = s.ground(y, x) - rise * np.exp(-np.abs(x - top_x) * 3.2) + 0.012 * s.wave(x, 0.9, 2)
        s.below(lit, x, crest)
        peak_y = float(np.interp(top_x, x, crest))
        down_line = np.linspace(0, 1, 14)
        ridge = np.stack([top_x + 0.10 * np.sin(down_line * 4.5) - 0.25 * down_line, peak_y + down_line * 0.42], axis=1)
        beyond = x > top_x
        s.polygon(dark, np.concatenate([ridge[::-1], np.stack([x[beyond], crest[beyond]], axis=1), [(s.aspect + 0.5, 1.7)]]))
    cactus(s, s.focus, s.ground(0.90, s.focus), 0.50)
    for offset in (-0.36, 0.42):
        px = s.focus + offset * rng.uniform(0.9, 1.3)
        cactus(s, px, s.ground(0.70, px), 0.13)
    stone = s.pigment("near", "dark", down(0.88, 0.98))
    for px in rng.uniform(0, s.aspect, 5):
        s.ellipse(stone, px, s.ground(0.95, px), rng.uniform(0.02, 0.05), 0.016)


def cactus(s: Scene, x: float, base: float, height: float) -> None:
    c = s.colours
    wide = 0.17 * height
    shadow = s.pigment(mix(c["near"], c["mid"], 0.3), swirl=0.0)
    s.ellipse(shadow, x + 0.3 * height, base + 0.01, 0.36 * height, 0.035 * height)
    body = s.pigment(mix(c["near"], c["accent"], 0.3), "dark", across(x - 0.6 * wide, x + 0.6 * wide), swirl=0.0)
    for points in (
        ((x, base), (x, base - height * 0.93)),
        ((x, base - 0.35 * height), (x - 0.25 * height, base - 0.40 * height), (x - 0.26 * height, base - 0.68 * height)),
        ((x, base - 0.48 * height), (x + 0.22 * height, base - 0.52 * height), (x + 0.23 * height, base - 0.78 * height)),
    ):
        thick = wide if len(points) == 2 else 0.62 * wide
        s.line(body, points, thick)
        s.ellipse(body, *points[-1], thick / 2)
        if len(points) == 3:
            s.ellipse(body, *points[1], thick / 2)
    flower = s.pigment("spark", lit=True)
    s.ellipse(flower, x, base - height * 1.0, 0.045 * height)
    s.ellipse(flower, x - 0.26 * height, base - 0.73 * height, 0.035 * height)
