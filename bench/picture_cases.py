"""Pictures of a known scene in every combination of layout, each with its right pixels: what `python -m bench.pictures` judges by."""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, product
from typing import Any

import numpy as np
from PIL import Image

from artquant.core.schema import RejectClass
from bench.picture_writers import DEFLATE, LZW, NONE, PACKBITS, chunk, directory_of, png, tiff, tiff_pages

WIDTH, HEIGHT = 45, 31
CORNERS = ((220, 30, 30), (30, 200, 30), (30, 30, 210), (230, 220, 40))
_COMPRESSIONS = {"none": NONE, "LZW": LZW, "Deflate": DEFLATE, "PackBits": PACKBITS}
_LAYOUTS: tuple[dict[str, Any], ...] = ({"rows_per_strip": HEIGHT}, {"rows_per_strip": 7}, {"tile": (16, 16)}, {"tile": (64, 48)})


@dataclass(frozen=True)
class Case:
    """`right`: the (height, width, 3) pixels, upright and over white, or the class under which it may alone be refused. `tolerance`: in
    levels, at each pixel; for lossy kinds on average."""

    group: str
    name: str
    data: bytes
    right: np.ndarray | RejectClass
    tolerance: float = 1
    is_lossy: bool = False


def scene(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """(height, width, 3) uint8: four coloured quarters under a wave, no two rows or columns alike."""
    pixels = np.empty((height, width, 3))
    for index, color in enumerate(CORNERS):
        rows = slice(None, height // 2) if index < 2 else slice(height // 2, None)
        pixels[rows, slice(None, width // 2) if index % 2 == 0 else slice(width // 2, None)] = color
    row, column = np.mgrid[:height, :width]
    pixels += (8 * np.sin(row / 3) + 8 * np.cos(column / 5) + row / 4 - column / 6)[..., None]
    return np.clip(pixels, 0, 255).astype(np.uint8)


def over_white(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    mixed: np.ndarray = np.round(color * share + 255 * (1 - share)).astype(np.uint8)
    return mixed


def _deep(samples: np.ndarray, bits: int) -> np.ndarray:
    """Return 8-bit samples in `bits`; in 16 with a low byte that tells when it is taken for the high one."""
    wide = samples.astype(np.int64)
    return wide * 256 + (255 - wide) if bits == 16 else wide >> 8 - bits


def _shown(grey: np.ndarray, bits: int) -> np.ndarray:
    """Return the 8-bit value that grey of `bits` stands for."""
    most = (1 << bits) - 1
    return grey if bits == 16 else (grey >> 8 - bits).astype(int) * 255 // most


def _alpha() -> np.ndarray:
    return np.linspace(0, 255, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(np.uint8)


def tiff_kinds() -> Iterator[tuple[str, int, np.ndarray, tuple[int, ...], np.ndarray]]:
    """Name, photometric interpretation, 8-bit samples, what the extra ones are, right pixels."""
    rgb, alpha = scene(), _alpha()
    grey, noise = rgb[..., 1:2], rgb[::-1, ::-1, 2:]
    clear = alpha[..., None]
    held = np.round(rgb * (clear / 255)).astype(np.uint8)
    cmyk = np.concatenate([255 - rgb, np.full_like(grey, 40)], axis=2)
    inked = np.round((255 - cmyk[..., :3].astype(float)) * (255 - 40) / 255)
    greys = np.repeat(grey, 3, axis=2)
    yield "grey", 1, grey, (), greys
    yield "grey, white is zero", 0, 255 - grey, (), greys
    yield "grey + alpha", 1, np.concatenate([grey, clear], 2), (2,), over_white(greys, alpha)
    yield "grey + associated alpha", 1, np.concatenate([held[..., 1:2], clear], 2), (1,), over_white(greys, alpha)
    yield "grey + unspecified", 1, np.concatenate([grey, noise], 2), (0,), greys
    yield "RGB", 2, rgb, (), rgb
    yield "RGB + alpha", 2, np.concatenate([rgb, clear], 2), (2,), over_white(rgb, alpha)
    yield "RGB + associated alpha", 2, np.concatenate([held, clear], 2), (1,), over_white(rgb, alpha)
    yield "RGB + unspecified", 2, np.concatenate([rgb, noise], 2), (0,), rgb
    yield "RGB + alpha + mask", 2, np.concatenate([rgb, clear, noise], 2), (2, 0), over_white(rgb, alpha)
    yield "RGB + mask + alpha", 2, np.concatenate([rgb, noise, clear], 2), (0, 2), over_white(rgb, alpha)
    yield "CMYK", 5, cmyk, (), inked
    yield "CMYK + unspecified", 5, np.concatenate([cmyk, noise], 2), (0,), inked
    yield "CMYK + alpha", 5, np.concatenate([cmyk, clear], 2), (2,), over_white(inked, alpha)


def tiff_cases(every: int = 1) -> Iterator[Case]:
    """Every nth of channels x 8 and 16 bits x planes x compression x predictor x byte order x strips and tiles x classic and Big."""
    number = count()
    for (kind, photometric, samples, extra, right), bits, planar in product(tiff_kinds(), (8, 16), (False, True)):
        for (word, compression), predictor, order, layout, big in product(
            _COMPRESSIONS.items(), (False, True), "<>", _LAYOUTS, (False, True)
        ):
            if predictor and compression not in (LZW, DEFLATE) or big and (layout is _LAYOUTS[0] or compression == LZW):
                continue
            if next(number) % every:
                continue
            data = tiff(
                _deep(samples, bits), photometric, bits,
                planar=planar, compression=compression, predictor=predictor, order=order, big=big, extra=extra, **layout,
            )  # fmt: skip
            words = [word, *["predictor"] * predictor, {"<": "II", ">": "MM"}[order], *map(str, layout.items()), *["Big"] * big]
            tolerance = 4 if "associated" in kind else 2  # rounded once more, at little alpha coarsely
            yield Case(f"TIFF {kind}, {bits} bit, {'planes apart' if planar else 'together'}", ", ".join(words), data, right, tolerance)


def tiff_page_cases() -> Iterator[Case]:
    """Thumbnails, masks and previews beside the picture; few bits; palettes; orientation; tags that lead nowhere."""
    rgb = scene()
    small = np.full((10, 15, 3), 90, np.uint8)
    for order, big in product("<>", (False, True)):
        where = f"{'II' if order == '<' else 'MM'}{' Big' * big}"
        main, thumb = directory_of(rgb, 2, order=order), directory_of(small, 2, order=order, tags={254: (1,)})
        old, mask = directory_of(small, 2, order=order, tags={255: (2,)}), directory_of(small[..., :1], 1, order=order, tags={254: (4,)})
        plain = directory_of(small, 2, order=order)
        raw = directory_of(rgb[..., :1], 32803, order=order)
        for name, pages, below, right in (
            ("thumbnail first", [thumb, main], {}, rgb),
            ("old kind of thumbnail first", [old, main], {}, rgb),
            ("mask first", [mask, main], {}, rgb),
            ("two thumbnails first", [thumb, thumb, main], {}, rgb),
            ("thumbnail last", [main, thumb], {}, rgb),
            ("picture below a thumbnail", [thumb], {0: [main]}, rgb),
            ("larger picture below an unmarked one", [plain], {0: [main]}, rgb),
            ("pyramid below the picture", [main], {0: [thumb]}, rgb),
            ("alone, called a thumbnail", [directory_of(rgb, 2, order=order, tags={254: (1,)})], {}, rgb),
            ("first of two pages", [directory_of(rgb, 2, order=order, tags={254: (2,)}), plain], {}, rgb),
            ("camera raw below a preview", [thumb], {0: [raw]}, RejectClass.UNSUPPORTED),
            ("camera raw after a preview", [plain, raw], {}, RejectClass.UNSUPPORTED),
            ("camera raw first", [raw], {}, RejectClass.UNSUPPORTED),
            ("DNG", [directory_of(rgb, 2, order=order, tags={50706: (1, 4, 0, 0)})], {}, RejectClass.UNSUPPORTED),
        ):
            yield Case("TIFF, several directories", f"{name}, {where}", tiff_pages(pages, order, big, below), right)
        for bits, white in product((1, 2, 4), (False, True)):
            grey = rgb[..., 1:2]
            shown = np.repeat(_shown(grey, bits), 3, axis=2)
            samples = _deep(255 - grey if white else grey, bits)
            for (word, compression), layout in product(_COMPRESSIONS.items(), _LAYOUTS[1:3]):
                data = tiff(samples, 0 if white else 1, bits, compression=compression, order=order, big=big, **layout)
                yield Case(f"TIFF grey, {bits} bit", f"white is zero {white}, {word}, {layout}, {where}", data, shown)
        for orientation, planar, bits in product(range(1, 9), (False, True), (8, 16)):
            stored = turned_back(rgb, orientation)
            data = tiff(_deep(stored, bits), 2, bits, planar=planar, order=order, big=big, tags={274: (orientation,)})
            yield Case("TIFF orientation", f"{orientation}, planar {planar}, {bits} bit, {where}", data, rgb)
        table = np.random.default_rng(0).integers(0, 256, (256, 3))
        indices = rgb[..., 1:2]
        data = tiff(indices, 3, order=order, big=big, tags={320: tuple((table.T * 257).reshape(-1).tolist())})
        yield Case("TIFF palette", where, data, table[indices[..., 0]].astype(np.uint8))
        data = tiff(rgb[..., 1:2], 1, planar=True, order=order, big=big)
        yield Case("TIFF grey, one plane called apart", f"8 bit, {where}", data, np.repeat(rgb[..., 1:2], 3, axis=2))
        data = tiff(_deep(rgb[..., 1:2], 16), 1, 16, planar=True, order=order, big=big)
        yield Case("TIFF grey, one plane called apart", f"16 bit, {where}", data, np.repeat(rgb[..., 1:2], 3, axis=2))


def turned_back(upright: np.ndarray, orientation: int) -> np.ndarray:
    """Return what is stored under an EXIF orientation so that it is shown upright."""
    transposed = upright.swapaxes(0, 1) if orientation > 4 else upright
    flips = {2: (1, -1), 3: (-1, -1), 4: (-1, 1), 6: (-1, 1), 7: (-1, -1), 8: (1, -1)}.get(orientation, (1, 1))
    return transposed[:: flips[0], :: flips[1]]


def png_cases() -> Iterator[Case]:
    """All colour types and depths x interlaced x see-through colour; side data sound, huge and damaged."""
    rgb, alpha = scene(), _alpha()
    grey = rgb[..., 1:2]
    for bits, interlaced, clear in product((1, 2, 4, 8, 16), (False, True), (False, True)):
        deep = _deep(grey, bits)
        shown = np.repeat(_shown(grey, bits), 3, axis=2)
        key = int(deep[5, 5, 0])
        chunks = [chunk(b"tRNS", struct.pack(">H", key))] if clear else []
        right = np.where(clear & (deep == key), 255, shown).astype(np.uint8)
        yield Case(
            "PNG grey",
            f"{bits} bit, interlaced {interlaced}, see-through {clear}",
            png(deep, bits, 0, *chunks, interlaced=interlaced),
            right,
        )
        if bits >= 8:
            deep = _deep(rgb, bits)
            near = deep.copy()  # the see-through colour, and one that differs from it in the last bit alone
            near[3, 3] = near[5, 5] ^ 1
            chunks = [chunk(b"tRNS", struct.pack(">3H", *near[5, 5]))] if clear else []
            is_clear = (near == near[5, 5]).all(axis=2, keepdims=True) & clear
            right = np.where(is_clear, 255, near >> bits - 8).astype(np.uint8)
            yield Case(
                "PNG RGB",
                f"{bits} bit, interlaced {interlaced}, see-through {clear}",
                png(near, bits, 2, *chunks, interlaced=interlaced),
                right,
            )
            for color_type, samples, color in ((4, grey, np.repeat(grey, 3, axis=2)), (6, rgb, rgb)):
                data = png(_deep(np.concatenate([samples, alpha[..., None]], 2), bits), bits, color_type, interlaced=interlaced)
                yield Case("PNG with alpha", f"{color_type}, {bits} bit, interlaced {interlaced}", data, over_white(color, alpha), 2)
        if bits <= 8:
            table = np.random.default_rng(bits).integers(0, 256, (1 << bits, 3), dtype=np.uint8)
            indices = (grey >> 8 - bits).astype(np.int64)
            opacity = np.where(np.arange(1 << bits) % 3 == 1, 100, 255).astype(np.uint8)
            chunks = [chunk(b"PLTE", table.tobytes())] + ([chunk(b"tRNS", opacity.tobytes())] if clear else [])
            right = over_white(table, opacity) if clear else table
            data = png(indices, bits, 3, *chunks, interlaced=interlaced)
            yield Case("PNG palette", f"{bits} bit, interlaced {interlaced}, see-through {clear}", data, right[indices[..., 0]], 2)
    text = {size: zlib.compress(bytes(size)) for size in (100, 2 << 20, 64 << 20)}
    bodies = {name: {size: head + body for size, body in text.items()} for name, head in _SIDE_HEADS.items()}
    bodies |= {
        b"tEXt": {10: b"key\0text", 3 << 20: b"key\0" + bytes(3 << 20)},
        b"tIME": {7: bytes(7)},
        b"prVt": {9: bytes(9)},
        b"gAMA": {4: bytes(4)},
    }
    for name, sizes in bodies.items():
        for (size, body), crc_error, is_last in product(sizes.items(), (0, 1), (False, True)):
            part = chunk(name, body, crc_error)
            data = png(rgb, 8, 2, after=part) if is_last else png(rgb, 8, 2, part)
            yield Case(
                "PNG side data", f"{name.decode()} of {size} bytes, {'wrong' if crc_error else 'right'} checksum, last {is_last}", data, rgb
            )
    for orientation, is_last in product(range(1, 9), (False, True)):
        exif = Image.Exif()
        exif[274] = orientation
        part, stored = chunk(b"eXIf", exif.tobytes()[6:]), turned_back(rgb, orientation)
        yield Case(
            "PNG orientation", f"{orientation}, last {is_last}", png(stored, 8, 2, after=part) if is_last else png(stored, 8, 2, part), rgb
        )


_SIDE_HEADS = {b"zTXt": b"key\0\0", b"iTXt": b"XML:com.adobe.xmp\0\1\0\0\0", b"iCCP": b"profile\0\0"}


def encoded(kind: str, image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
