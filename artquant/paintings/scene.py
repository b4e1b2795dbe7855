"""A drawing as a map of pigments: shapes are drawn with pigment numbers, colour and modelling come from tables afterwards.

Coordinates: y runs 0..1 from top to bottom, x runs 0..aspect. Everything is tilted by one angle about the middle.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar, cast

import numpy as np
from PIL import Image, ImageDraw

from artquant.paintings.latents import ASPECTS, Latents
from artquant.paintings.pigments import PIGMENTS, Colour, clash, in_light, lamp

Shade = tuple[float, float, float, float]  # t = c + x*X + y*Y + q*(X^2 + Y^2), clipped to 0..1
Number = TypeVar("Number", float, np.ndarray)
Tone = Colour | str  # a colour, or the palette role that has it
FLAT: Shade = (0.5, 0.0, 0.0, 0.0)


def down(top: float, bottom: float) -> Shade:
    """0 at the height `top`, 1 at `bottom`."""
    return (-top / (bottom - top), 0.0, 1 / (bottom - top), 0.0)


def across(left: float, right: float) -> Shade:
    return (-left / (right - left), 1 / (right - left), 0.0, 0.0)


class Scene:
    """Collects shapes; `labels` is uint8 (2*height, 2*width), the tables have one row a pigment."""

    def __init__(self, latents: Latents, width: int, height: int, rng: np.random.Generator):
        self.latents = latents
        self.rng = rng
        self.aspect = ASPECTS[latents.aspect]
        self.colours = PIGMENTS[latents.palette]
        self.lamp = lamp(latents.light, latents.palette)
        self._scale = 2 * height
        self._image = Image.new("L", (2 * width, 2 * height))
        self._draw = ImageDraw.Draw(self._image)
        lean = (1 - latents.balance) ** 1.2 * (1 if rng.random() < 0.5 else -1)
        self.lean = lean
        cos, sin = math.cos(0.30 * lean), math.sin(0.30 * lean)
        self._turn, self._middle = np.array([[cos, sin], [-sin, cos]]), np.array([self.aspect / 2, 0.5])
        self._first: list[np.ndarray] = []
        self._second: list[np.ndarray] = []
        self._lit: list[bool] = []
        self.shades: list[Shade] = []
        self.flow: list[tuple[float, float]] = []  # turn of the strokes against the shade's contour, and their swirl
        self.group: list[int] = []
        self.fine: list[bool] = []
        focus = {"centred": 0.5, "left": 0.3, "right": 0.7, "diagonal": 0.36}[latents.composition]
        self.focus = focus * self.aspect
        self.slope = -0.30 / self.aspect if latents.composition == "diagonal" else 0.0

    def ground(self, y: float, x: Number) -> Number:
        """Return the height of a ground line that is level at `y`, or climbs to the right in a diagonal composition."""
        return y + self.slope * (x - self.aspect / 2)

    def pigment(
        self,
        first: Tone,
        second: Tone | None = None,
        shade: Shade = FLAT,
        turn: float = 0.0,
        swirl: float = 0.3,
        lit: bool = True,
        group: int | None = None,
        fine: bool = False,
    ) -> int:
        """Add a pigment that runs from `first` (t = 0) to `second` (t = 1) and return its number; names are palette roles.

        `lit=False` keeps its own light, `fine` asks for small strokes, and pigments of one `group` have no contour between them.
        """
        number = len(self._lit)
        assert number < 256
        for table, colour in ((self._first, first), (self._second, first if second is None else second)):
            table.append(self.colours[colour] if isinstance(colour, str) else colour)
        self._lit.append(lit)
        self.shades.append(shade)
        self.flow.append((turn, swirl))
        self.group.append(number if group is None else group)
        self.fine.append(fine)
        return number

    def colour_tables(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the colours at t = 0 and t = 1, float (pigments, 3), in the hour's light and with the clashes of a poor harmony."""
        lit = np.array(self._lit)[:, None]
        signs = np.resize([0, 1, 0, -1], len(self._lit))[:, None]  # every other pigment keeps the palette
        strength = 0.95 * (1.0 - self.latents.harmony) ** 1.25
        tables = (np.where(lit, in_light(table, self.latents.light), table) for table in map(np.array, (self._first, self._second)))
        first, second = (clash(table, strength, signs) for table in tables)
        return first, second

    def ball(self, x: float, y: float, radius: float) -> Shade:
        """0 where the light falls on a ball (upper left of its centre), 1 at its far rim."""
        (x, y) = self._tilt(np.array([[x - 0.35 * radius, y - 0.35 * radius]]))[0]
        q = 1 / (1.45 * radius) ** 2
        return (q * (x * x + y * y), -2 * q * x, -2 * q * y, q)

    def _tilt(self, points: np.ndarray) -> np.ndarray:
        return cast(np.ndarray, (points - self._middle) @ self._turn + self._middle)

    def polygon(self, pigment: int, points: Sequence[Any] | np.ndarray) -> None:
        points = self._tilt(np.asarray(points, dtype=float)) * self._scale
        self._draw.polygon(points.ravel().tolist(), fill=pigment)

    def ellipse(self, pigment: int, x: float, y: float, rx: float, ry: float | None = None, angle: float = 0.0) -> None:
        ry = rx if ry is None else ry
        if abs(rx - ry) < 1e-9:
            (cx, cy), r = self._tilt(np.array([[x, y]]))[0] * self._scale, rx * self._scale
            self._draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill=pigment)
            return
        cos, sin = math.cos(angle), math.sin(angle)
        self.polygon(pigment, _CIRCLE @ np.array([[rx * cos, rx * sin], [-ry * sin, ry * cos]]) + (x, y))

    def line(self, pigment: int, points: Sequence[Any] | np.ndarray, width: float) -> None:
        points = self._tilt(np.asarray(points, dtype=float)) * self._scale
        self._draw.line(points.ravel().tolist(), fill=pigment, width=max(1, round(width * self._scale)), joint="curve")

    def box(self, pigment: int, left: float, top: float, right: float, bottom: float) -> None:
        self.polygon(pigment, ((left, top), (right, top), (right, bottom), (left, bottom)))

    def below(self, pigment: int, x: np.ndarray, y: np.ndarray) -> None:
        """Fill everything under the curve y(x)."""
        curve = np.stack([x, y], axis=1)
        self.polygon(pigment, np.concatenate([curve, [[x[-1], 1.7], [x[0], 1.7]]]))

    def span(self, num: int = 72) -> np.ndarray:
        """Return abscissas that reach beyond both edges, for curves that survive a tilt."""
        return np.linspace(-0.5, self.aspect + 0.5, num)

    def wave(self, x: np.ndarray, pitch: float, octaves: int = 4, rough: float = 0.5) -> np.ndarray:
        """Return a smooth random curve in about -1..1; `pitch` is its longest wavelength."""
        total, amplitude = np.zeros_like(x), 1.0
        for octave in range(octaves):
            total += amplitude * np.sin(x * (2 * math.pi * 2**octave / pitch) + self.rng.uniform(0, 7))
            amplitude *= rough
        return total * 0.6

    @property
    def labels(self) -> Image.Image:
        return self._image


_TURNS = np.linspace(0, 2 * math.pi, 28, endpoint=False)
_CIRCLE = np.stack([np.cos(_TURNS), np.sin(_TURNS)], axis=1)
