"""Forest and town."""

from __future__ import annotations

import numpy as np

from artquant.paintings.landscapes import hill, sky
from artquant.paintings.pigments import mix
from artquant.paintings.scene import Scene, across, down


def forest(s: Scene) -> None:
    rng, c = s.rng, s.colours
    back = s.pigment(mix(c["horizon"], c["light"], 0.4), mix(c["mid"], c["far"], 0.4), s.ball(s.focus + 0.1, 0.45, 0.55), swirl=0.6)
    s.polygon(back, ((-2, -2), (4, -2), (4, 3), (-2, 3)))
    glow = s.pigment(
        mix(s.lamp, c["light"], 0.4),
        mix(c["horizon"], c["light"], 0.3),
        s.ball(s.focus, 0.40, 0.16),
        lit=s.latents.light == "night",
        group=back,
    )
    s.ellipse(glow, s.focus, 0.42, 0.10, 0.15)
    x = s.span()
    for depth in range(3):
        near = depth / 2
        trunk_colour = mix(mix(c["far"], c["horizon"], 0.35), c["dark"], near**0.8)
        floor = s.pigment(mix(c["far"], c["mid"], near), mix(c["mid"], c["near"], near), down(0.6 + 0.1 * depth, 0.9), swirl=0.35)
        s.below(floor, x, s.ground(0.60 + 0.10 * depth, x) + 0.02 * s.wave(x, 0.6))
        if depth == 1:
            _path(s)
        for _ in range((9, 6, 4)[depth]):
            while abs((px := rng.uniform(-0.05, s.aspect + 0.05)) - s.focus) < (0.10, 0.17, 0.26)[depth]:
                pass
            _trunk(s, trunk_colour, px, s.ground(0.64 + 0.14 * depth, px), (0.022, 0.042, 0.085)[depth] * rng.uniform(0.8, 1.2))
        leaves = [
            s.pigment(mix(mix(c["far"], c["light"], 0.25), tone, 0.25 + 0.75 * near), swirl=1.2, group=200 + depth)
            for tone in (c["mid"], c["near"], mix(c["accent"], c["mid"], 0.35), mix(c["near"], c["dark"], 0.5))
        ]
        for _ in range((15, 16, 18)[depth]):
            px = rng.uniform(-0.1, s.aspect + 0.1)
            hang = (0.30, 0.24, 0.16)[depth] + 0.16 * min(1.0, abs(px - s.focus) / 0.5)
            py = rng.uniform(-0.1, hang)
            for dx, dy, size in rng.uniform((-0.09, -0.05, 0.03), (0.09, 0.05, 0.075), (4, 3)):
                s.ellipse(leaves[int(rng.integers(4))], px + dx, py + dy, size, 0.55 * size, 4 * dx)
    grass = s.pigment("dark", "near", down(0.95, 1.1), turn=1.57)
    for px in rng.uniform(-0.05, s.aspect + 0.05, 30):
        y = s.ground(1.0, px)
        s.polygon(grass, ((px - 0.012, y + 0.1), (px + rng.uniform(-0.05, 0.05), y - rng.uniform(0.03, 0.09)), (px + 0.012, y + 0.1)))
    flower = [s.pigment("spark"), s.pigment("accent"), s.pigment("light")]
    for px in rng.uniform(-0.05, s.aspect + 0.05, 16):
        s.ellipse(flower[int(rng.integers(3))], px, s.ground(rng.uniform(0.88, 0.98), px), rng.uniform(0.006, 0.011))


def _path(s: Scene) -> None:
    c = s.colours
    path = s.pigment(mix(c["light"], c["horizon"], 0.3), mix(c["second"], c["light"], 0.35), down(0.62, 1.0), swirl=0.15)
    t = np.linspace(0, 1, 16)
    middle = s.focus + 0.10 * np.sin(t * 5) * t
    y = s.ground(0.61, s.focus) + t * 0.55
    wide = 0.014 + 0.17 * t**1.6
    s.polygon(path, np.concatenate([np.stack([middle - wide, y], 1), np.stack([middle + wide, y], 1)[::-1]]))


def _trunk(s: Scene, colour: np.ndarray, x: float, base: float, wide: float) -> None:
    rng, c = s.rng, s.colours
    trunk = s.pigment(mix(colour, c["light"], 0.28), colour * 0.75, across(x - wide * 0.6, x + wide * 0.5), swirl=0.15)
    bend = rng.uniform(-0.05, 0.05)
    s.polygon(
        trunk,
        (
            (x - wide * 0.85, base),
            (x - wide * 0.4 + bend, base - 0.4),
            (x - wide * 0.4, -0.4),
            (x + wide * 0.4, -0.4),
            (x + wide * 0.4 + bend, base - 0.4),
            (x + wide * 0.9, base),
        ),
    )
    for _ in range(2):
        y, reach = rng.uniform(0.12, 0.42), rng.choice((-1, 1)) * rng.uniform(2.5, 5) * wide
        s.line(trunk, ((x + bend / 2, y), (x + reach, y - 0.5 * abs(reach))), 0.3 * wide)


def town(s: Scene) -> None:
    rng, c = s.rng, s.colours
    sky(s, 0.5, 4)
    hill(s, 0.47, 0.06, mix(c["far"], c["horizon"], 0.5), "far", 0.9)
    evening = s.latents.light in ("dusk", "night")
    pane = (
        s.pigment(mix(s.lamp, c["spark"], 0.25), lit=False, fine=True) if evening else s.pigment(mix(c["dark"], c["sky"], 0.3), fine=True)
    )
    walls = ("light", "second", "horizon", mix(c["spark"], c["light"], 0.55), mix(c["accent"], c["light"], 0.45), "far")
    roofs = ("accent", "near", mix(c["accent"], c["dark"], 0.35), mix(c["spark"], c["dark"], 0.2), "mid")
    for row, (base, size) in enumerate(((0.60, 0.13), (0.74, 0.18), (0.93, 0.25))):
        if row == 1:
            _church(s, s.focus, s.ground(0.74, s.focus), pane)
        veil = (0.45, 0.2, 0.0)[row]
        x = -0.1 + rng.uniform(-0.1, 0)
        while x < s.aspect + 0.1:
            wide, tall = size * rng.uniform(0.75, 1.15), size * rng.uniform(0.75, 1.25)
            gap = row == 2 and abs(x + wide / 2 - s.focus) < 0.18
            if not gap and not (row == 1 and abs(x + wide / 2 - s.focus) < 0.09):
                wall, roof = (options[int(rng.integers(len(options)))] for options in (walls, roofs))
                wall, roof = (c[colour] if isinstance(colour, str) else colour for colour in (wall, roof))
                house(s, x, s.ground(base, x), wide, tall, mix(wall, c["horizon"], veil), mix(roof, c["horizon"], veil), pane, row)
            x += wide * rng.uniform(0.98, 1.1)
        if row < 2:
            x_line = s.span()
            bush = s.pigment(mix(c["mid"], c["far"], veil), "near", down(base, base + 0.12), swirl=0.6)
            s.below(bush, x_line, s.ground(base - 0.01, x_line) + 0.012 * s.wave(x_line, 0.25))
    street = s.pigment(mix(c["horizon"], c["second"], 0.5), mix(c["mid"], c["second"], 0.5), down(0.75, 1.0), swirl=0.1)
    x_line = s.span()
    s.below(street, x_line, s.ground(0.93, x_line))
    y = s.ground(0.75, s.focus)
    s.polygon(street, ((s.focus - 0.025, y), (s.focus + 0.025, y), (s.focus + 0.26, y + 0.3), (s.focus - 0.26, y + 0.3)))
    walker = s.pigment("dark")
    for offset, tall in ((-0.05, 0.075), (-0.025, 0.065), (0.06, 0.09)):
        px, base = s.focus + offset, s.ground(0.9 + 0.4 * (tall - 0.07), s.focus)
        s.polygon(walker, ((px - 0.014, base), (px - 0.008, base - tall * 0.75), (px + 0.008, base - tall * 0.75), (px + 0.014, base)))
        s.ellipse(walker, px, base - tall * 0.85, 0.011)


def house(s: Scene, x: float, base: float, wide: float, tall: float, wall: np.ndarray, roof: np.ndarray, pane: int, row: int) -> None:
    c = s.colours
    front = s.pigment(wall, mix(wall, c["near"], 0.35), across(x - 0.2 * wide, x + 1.3 * wide), turn=0.0, swirl=0.1)
    top = s.pigment(roof, mix(roof, c["dark"], 0.45), across(x, x + wide), turn=1.2, swirl=0.1)
    top_y, peak = base - tall, base - tall - 0.55 * wide
    s.box(front, x, top_y, x + wide, base + 0.2)
    s.polygon(top, ((x - 0.06 * wide, top_y + 0.02 * wide), (x + 0.5 * wide, peak), (x + 1.06 * wide, top_y + 0.02 * wide)))
    s.box(top, x + 0.70 * wide, peak + 0.02 * wide, x + 0.82 * wide, top_y - 0.12 * wide)
    rows = 1 if tall < 0.95 * wide else 2
    for level in range(rows):
        for column in (0.2, 0.6):
            left, up = x + column * wide, top_y + (0.14 + 0.42 * level) * tall
            s.box(pane, left, up, left + 0.2 * wide, up + 0.24 * tall)
    if row == 2:
        s.box(top, x + 0.40 * wide, base - 0.3 * tall, x + 0.62 * wide, base)


def _church(s: Scene, x: float, base: float, pane: int) -> None:
    c = s.colours
    wall = s.pigment("light", mix(c["light"], c["mid"], 0.5), across(x - 0.05, x + 0.07), swirl=0.1)
    spire = s.pigment(mix(c["accent"], c["near"], 0.3), "dark", across(x - 0.05, x + 0.06), turn=0.2, swirl=0.0)
    s.box(wall, x - 0.055, base - 0.34, x + 0.055, base + 0.1)
    s.polygon(spire, ((x - 0.07, base - 0.33), (x, base - 0.60), (x + 0.07, base - 0.33)))
    s.box(pane, x - 0.016, base - 0.28, x + 0.016, base - 0.21)
    s.line(spire, ((x, base - 0.59), (x, base - 0.66)), 0.007)
    s.line(spire, ((x - 0.018, base - 0.64), (x + 0.018, base - 0.64)), 0.007)
