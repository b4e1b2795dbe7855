"""From latents to pixels: draw the scene, model it, lay it down in strokes, and spoil it as far as the qualities say."""

from __future__ import annotations

import io
import math

import numpy as np
from PIL import Image

from artquant.paintings.brush import MARGIN, NUM_DIRECTIONS, canvas, noise, stroke_map
from artquant.paintings.latents import ASPECTS, Latents
from artquant.paintings.painting import Painting
from artquant.paintings.pigments import in_light, mix
from artquant.paintings.scene import Scene
from artquant.paintings.subjects import DRAW

MIN_WORKING_SIDE = 256  # smaller pictures are reduced from this one, so that every size looks alike
_BARE = np.array([0.91, 0.87, 0.78])  # primed canvas
_RELIEF = np.float32(0.16)
_REACH = {"smooth": 0.4, "impasto": 1.0, "pointillist": 1.0, "hatched": 0.8}  # how far a stroke carries its colour
_JITTER = {"smooth": 0.012, "impasto": 0.05, "pointillist": 0.09, "hatched": 0.05}  # how much strokes differ from each other
_KEEPS = {"crisp": 0.96, "soft": 0.5, "broken": 0.6}  # how many strokes stop at a contour
_INK = {"crisp": 0.48, "soft": 0.0, "broken": 0.55}


def size_of(latents: Latents, long_side: int) -> tuple[int, int]:
    """Return width and height in pixels."""
    aspect = ASPECTS[latents.aspect]
    return (long_side, round(long_side / aspect)) if aspect >= 1 else (round(long_side * aspect), long_side)


def render(painting: Painting | Latents, long_side: int = 448) -> np.ndarray:
    """Render to uint8 (height, width, 3). The first picture of a size is slower: it makes the stroke maps of that size."""
    latents = painting.latents if isinstance(painting, Painting) else painting
    work = max(long_side, MIN_WORKING_SIDE)
    pixels = _paint(latents, work)
    if work == long_side:
        return np.ascontiguousarray(pixels)
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize(size_of(latents, long_side), Image.Resampling.BOX))


def jpeg(painting: Painting | Latents, long_side: int = 448, quality: int = 90) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(render(painting, long_side)).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def _paint(latents: Latents, long_side: int) -> np.ndarray:
    width, height = size_of(latents, long_side)
    rng = np.random.Generator(np.random.PCG64(latents.variation))
    scene = Scene(latents, width, height, rng)
    DRAW[latents.subject](scene)
    cloth = _Cloth(long_side, width, height, rng)
    colour, labels, direction = _model(scene, cloth)
    _light(colour, scene, cloth)
    colour = _lay(colour, labels, direction, scene, cloth) * 255
    return np.clip(colour, 0, 255, out=colour).astype(np.uint8).transpose(1, 2, 0)


class _Cloth:
    """Cuts a painting's own piece out of the fields that all paintings of a size share."""

    def __init__(self, long_side: int, width: int, height: int, rng: np.random.Generator):
        self.long_side, self.width, self.height, self.rng = long_side, width, height, rng
        self.x = np.arange(width, dtype=np.float32)[None, :]
        self.y = np.arange(height, dtype=np.float32)[:, None]
        self._side = math.ceil(MARGIN * long_side)

    def corner(self) -> tuple[int, int]:
        return int(self.rng.integers(self._side - self.width + 1)), int(self.rng.integers(self._side - self.height + 1))

    def cut(self, field: np.ndarray) -> np.ndarray:
        x, y = self.corner()
        return field[..., y : y + self.height, x : x + self.width]

    def noise(self, cells: int, octaves: int = 1) -> np.ndarray:
        return self.cut(noise(self.long_side, cells, octaves, int(self.rng.integers(3))))


def _model(scene: Scene, cloth: _Cloth) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the colour (3, H, W) float32 with its modelling, the pigment of each pixel, and the direction of its strokes (0..7)."""
    labels = np.ascontiguousarray(np.asarray(scene.labels)[::2, ::2])
    first, second = (_colour_of(scene.labels, table) for table in scene.colour_tables())
    c, kx, ky, q = (np.take(np.array(column, np.float32), labels) for column in zip(*scene.shades, strict=True))
    x, y = cloth.x / cloth.height, cloth.y / cloth.height
    depth = scene.latents.depth
    shade = c + kx * x + ky * y + q * (x * x + y * y) + (0.05 + 0.05 * depth) * cloth.noise(9, 3)
    shade = 0.5 + (np.clip(shade, 0, 1) - 0.5) * (0.1 + 0.9 * depth)
    second -= first
    second *= shade
    first += second
    turn, swirl = (np.take(np.array(column, np.float32), labels) for column in zip(*scene.flow, strict=True))
    angle = np.arctan2(ky + 2 * q * y, kx + 2 * q * x + 1e-6) + math.pi / 2 + turn + swirl * cloth.noise(4)
    direction = np.round(angle * (NUM_DIRECTIONS / math.pi)).astype(np.int32) % NUM_DIRECTIONS
    return first, labels, direction


def _colour_of(labels: Image.Image, table: np.ndarray) -> np.ndarray:
    """Look up the table's colours, anti-aliased by reducing the drawing to half its size; float32 (3, H, W)."""
    image = labels.copy()
    image.putpalette((np.clip(table, 0, 1) * 255 + 0.5).astype(np.uint8).tobytes())
    return _planes(image.convert("RGB").reduce(2))


def _planes(image: Image.Image) -> np.ndarray:
    planes = np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1), dtype=np.float32)
    planes *= 1 / 255
    return planes


def _column(colour: np.ndarray) -> np.ndarray:
    return np.asarray(colour, np.float32).reshape(3, 1, 1)


def _light(colour: np.ndarray, scene: Scene, cloth: _Cloth) -> None:
    """Lay the hour's light over the whole picture in place; the composition decides where it comes from."""
    latents, aspect, focus = scene.latents, scene.aspect, scene.focus
    x, y = cloth.x / cloth.height, cloth.y / cloth.height
    at_x, at_y, radius, power = {
        "dawn": (0.0, 0.62, 0.55, 0.34),
        "noon": (focus, -0.1, 0.7, 0.14),
        "dusk": (aspect, 0.55, 0.5, 0.42),
        "night": (focus, 0.2, 0.38, 0.36),
    }[latents.light]
    glow = power * np.exp(-((x - at_x) ** 2) / radius**2) * np.exp(-((y - at_y) ** 2) / radius**2)
    veil = {"dawn": 0.06, "noon": 0.0, "dusk": 0.36, "night": 0.25}[latents.light]
    gain = 1 - 2 * veil * ((x / aspect - 0.5) ** 2 + (y - 0.5) ** 2)
    if latents.composition == "diagonal":
        gain = gain * (1 + 0.30 * np.tanh((0.5 - (x / aspect + y) / 2) * 9))
    gain = gain * (1 + 0.55 * scene.lean * (x / aspect - 0.5))
    colour *= gain * (1 - glow)
    colour += (1.05 * glow) * _column(scene.lamp)


def _lay(colour: np.ndarray, labels: np.ndarray, direction: np.ndarray, scene: Scene, cloth: _Cloth) -> np.ndarray:
    """Lay strokes and contours, then what spoils them: wrong notes, chalk, bare canvas. Returns (3, H, W)."""
    latents, unit, (height, width) = scene.latents, cloth.long_side, labels.shape
    clumsy = 1 - latents.control
    strokes = stroke_map(latents.brush, unit)
    left, top = cloth.corner()
    columns, rows = np.arange(width, dtype=np.int32), np.arange(height, dtype=np.int32)[:, None]
    side = strokes.mark.shape[1]
    spot = (direction * side + (rows + top)) * side + (columns + left)
    back_x, back_y, mark, relief = (np.take(table, spot) for table in (strokes.back_x, strokes.back_y, strokes.mark, strokes.relief))

    sway = unit * (0.0015 + 0.021 * clumsy**1.3)
    here_x = columns + (sway * cloth.noise(9, 2)).astype(np.int32)
    here_y = rows + (sway * cloth.noise(9, 2)).astype(np.int32)
    own = np.clip(here_y, 0, height - 1) * width + np.clip(here_x, 0, width - 1)
    fine = np.take(np.array(scene.fine), np.take(labels, own))
    reach = np.where(fine, np.float32(_REACH[latents.brush] * 0.3), np.float32(_REACH[latents.brush]))
    from_x, from_y = here_x - (reach * back_x).astype(np.int32), here_y - (reach * back_y).astype(np.int32)
    middle = np.clip(from_y, 0, height - 1) * width + np.clip(from_x, 0, width - 1)
    groups = np.take(np.array(scene.group, np.uint8), labels)
    keeps = _KEEPS[latents.line] * (1 - 0.75 * clumsy)
    stays = (np.take(groups, own) != np.take(groups, middle)) & (mark < 255 * keeps)
    source = np.where(stays, own, middle)

    if latents.line == "soft":
        colour = _blurred(colour, round(unit * 0.008))
    laid = np.take(colour.reshape(3, -1), source, axis=1)
    marks = np.random.Generator(np.random.PCG64(latents.variation + 1))
    amount = _JITTER[latents.brush]
    jitter = (marks.normal(0, amount, (3, 256)) + marks.normal(0, amount + 0.13 * clumsy, 256)).astype(np.float32)
    gain = 1 + _RELIEF * relief
    if latents.brush in ("pointillist", "hatched"):
        ground = _column(in_light(mix(scene.colours["light"], scene.colours["second"], 0.25), latents.light))
        laid += (0.4 * (mark == 0)) * (ground - laid)
    laid *= gain + np.take(jitter, mark, axis=1)

    edge = np.take(_edges(groups), own)
    if latents.line == "broken":
        edge = edge * (cloth.noise(22) > -0.1)
    laid += (edge * np.float32(_INK[latents.line])) * (_column(in_light(scene.colours["dark"], latents.light)) - laid)
    _spoil(laid, edge, source, latents, cloth)
    laid += 0.022 * cloth.cut(canvas(unit))
    return laid


def _spoil(laid: np.ndarray, edge: np.ndarray, source: np.ndarray, latents: Latents, cloth: _Cloth) -> None:
    """Apply, in place, what poor harmony, depth and finish leave on the picture."""
    discord, chalk = 1 - latents.harmony, 1 - latents.depth
    blot = (0.42 * discord**1.3) * np.clip(cloth.noise(5, 2) * 1.6 - 0.3, -1, 1)
    for plane, wrong, other in zip(laid, (0.30, -0.26, 0.22), (-0.30, 0.22, -0.22), strict=True):
        plane += np.where(blot > 0, wrong * blot, -other * blot)
    mean = laid.mean(axis=(1, 2), keepdims=True)
    laid -= mean
    laid *= 1.06 - 0.5 * chalk
    laid += mean + 0.10 * chalk * (0.62 - mean)

    bare = 0.45 * max(0.0, 0.94 - latents.finish) ** 1.1
    if bare > 0.01:
        field = np.hypot(cloth.x / cloth.width * 2 - 1, cloth.y / cloth.height * 2 - 1) + 0.16 * cloth.noise(7, 3)
        level = np.quantile(field[::4, ::4], 1 - bare)
        open_cloth = np.clip((np.take(field, source) - level) * 14, 0, 1)
        laid += open_cloth * (_column(_BARE) * (1 - 0.45 * edge) - laid)


def _blurred(colour: np.ndarray, step: int) -> np.ndarray:
    """Blur cheaply, as a soft focus: reduce and enlarge again."""
    height, width = colour.shape[1:]
    pixels = (np.clip(colour, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
    return _planes(Image.fromarray(np.ascontiguousarray(pixels)).reduce(max(2, step)).resize((width, height), Image.Resampling.BILINEAR))


def _edges(groups: np.ndarray) -> np.ndarray:
    """Return float32 0 or 1: contours where two groups meet, about 1/150 of the long side wide."""
    edge = np.zeros(groups.shape, bool)
    edge[:, 1:] = groups[:, 1:] != groups[:, :-1]
    edge[1:] |= groups[1:] != groups[:-1]
    wide = edge.copy()
    for shift in range(1, max(1, round(max(groups.shape) / 400)) + 1):
        wide[:, shift:] |= edge[:, :-shift]
        wide[shift:] |= edge[:-shift]
    return wide.astype(np.float32)
