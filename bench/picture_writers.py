"""PNGs and TIFFs of any layout, written from samples: what other libraries write is what other libraries read."""

import struct
import zlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

NONE, LZW, DEFLATE, PACKBITS = 1, 5, 8, 32773
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))  # row, column, and their steps


def png(samples: np.ndarray, bits: int, color_type: int, *chunks: bytes, interlaced: bool = False, after: bytes = b"") -> bytes:
    """(height, width, channels) samples of `bits` each; `chunks` before the pixels, `after` behind them."""
    height, width = samples.shape[:2]
    parts = [samples[row::down, column::across] for row, column, down, across in _ADAM7] if interlaced else [samples]
    rows = b"".join(b"\0" + packed(row, bits, ">") for part in parts if part.size for row in part)
    header = struct.pack(">2I5B", width, height, bits, color_type, 0, 0, interlaced)
    body = chunk(b"IDAT", zlib.compress(rows)) + after + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + body


def chunk(name: bytes, body: bytes, crc_error: int = 0) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body) ^ crc_error)


def packed(samples: np.ndarray, bits: int, order: str) -> bytes:
    """Return one row's samples as bytes, those of less than 8 bits from the high end on."""
    flat = samples.reshape(-1)
    if bits >= 8:
        return flat.astype(f"{order}u{bits // 8}").tobytes()
    places = flat.astype(np.uint8)[:, None] >> np.arange(bits - 1, -1, -1, dtype=np.uint8) & 1
    return np.packbits(places.reshape(-1)).tobytes()


def tiff(
    samples: np.ndarray,
    photometric: int,
    bits: int = 8,
    *,
    planar: bool = False,
    compression: int = NONE,
    predictor: bool = False,
    order: str = "<",
    tile: tuple[int, int] | None = None,
    rows_per_strip: int = 0,
    big: bool = False,
    extra: Sequence[int] = (),
    tags: dict[int, tuple[int, ...]] | None = None,
) -> bytes:
    """(height, width, channels) samples -> a TIFF. `tile`: (width, height); `extra`: what the further samples are; `tags`: more of them."""
    return tiff_pages(
        [directory_of(samples, photometric, bits, planar, compression, predictor, order, tile, rows_per_strip, extra, tags)], order, big
    )


Page = tuple[dict[int, tuple[int, ...]], list[bytes]]


def directory_of(
    samples: np.ndarray,
    photometric: int,
    bits: int = 8,
    planar: bool = False,
    compression: int = NONE,
    predictor: bool = False,
    order: str = "<",
    tile: tuple[int, int] | None = None,
    rows_per_strip: int = 0,
    extra: Sequence[int] = (),
    tags: dict[int, tuple[int, ...]] | None = None,
) -> Page:
    """Return a page's tags, and its strips or tiles."""
    height, width, channels = samples.shape
    pieces = []
    for plane in [samples[..., i : i + 1] for i in range(channels)] if planar else [samples]:
        for piece in _tiles(plane, *tile) if tile else _strips(plane, rows_per_strip or height):
            if predictor:
                piece = np.concatenate([piece[:, :1], piece[:, 1:] - piece[:, :-1]], axis=1)
            pieces.append(_COMPRESS[compression](b"".join(packed(row, bits, order) for row in piece)))
    page = {256: (width,), 257: (height,), 258: (bits,) * channels, 259: (compression,), 262: (photometric,), 277: (channels,)}
    page |= {284: (2 if planar else 1,)} | ({338: tuple(extra)} if extra else {}) | ({317: (2,)} if predictor else {})
    page |= {322: (tile[0],), 323: (tile[1],)} if tile else {278: (rows_per_strip or height,)}
    return page | (tags or {}), pieces


def tiff_pages(pages: list[Page], order: str = "<", big: bool = False, below: dict[int, list[Page]] | None = None) -> bytes:
    """Write pages one after another; `below`: those in directories below a page (SubIFDs), by its number."""
    out = bytearray((b"II" if order == "<" else b"MM") + struct.pack(f"{order}H", 43 if big else 42))
    out += struct.pack(f"{order}HHQ", 8, 0, 0) if big else bytes(4)
    link = len(out) - (8 if big else 4)
    for number, page in enumerate(pages):
        places = []
        for child in (below or {}).get(number, []):
            at, _ = _add(out, child, order, big)
            places.append(at)
        at, next_link = _add(out, (page[0] | ({330: tuple(places)} if places else {}), page[1]), order, big)
        struct.pack_into(f"{order}{'Q' if big else 'I'}", out, link, at)
        link = next_link
    return bytes(out)


def _add(out: bytearray, page: Page, order: str, big: bool) -> tuple[int, int]:
    """Append a page; return where its directory lies, and where the place of the next one is to be written."""
    tags, pieces = page
    offsets = []
    for piece in pieces:
        out += bytes(len(out) % 2)
        offsets.append(len(out))
        out += piece
    tiled = 322 in tags
    tags = tags | {324 if tiled else 273: tuple(offsets), 325 if tiled else 279: tuple(map(len, pieces))}
    entries = b""
    word, inline = ("Q", 8) if big else ("I", 4)
    for tag, values in sorted(tags.items()):
        kind, form = (3, "H") if tag not in (273, 279, 324, 325, 330) else (16, "Q") if big else (4, "I")
        body = struct.pack(f"{order}{len(values)}{form}", *values)
        if len(body) > inline:
            out += bytes(len(out) % 2)
            place = len(out)
            out += body
            body = struct.pack(f"{order}{word}", place)
        entries += struct.pack(f"{order}HH{word}", tag, kind, len(values)) + body.ljust(inline, b"\0")
    out += bytes(len(out) % 2)
    at = len(out)
    out += struct.pack(f"{order}{'Q' if big else 'H'}", len(tags)) + entries + bytes(inline)
    return at, len(out) - inline


def _strips(plane: np.ndarray, rows: int) -> Iterator[np.ndarray]:
    for top in range(0, len(plane), rows):
        yield plane[top : top + rows]


def _tiles(plane: np.ndarray, width: int, height: int) -> Iterator[np.ndarray]:
    for top in range(0, plane.shape[0], height):
        for left in range(0, plane.shape[1], width):
            part = plane[top : top + height, left : left + width]
            yield np.pad(part, ((0, height - part.shape[0]), (0, width - part.shape[1]), (0, 0)))


def _lzw(data: bytes) -> bytes:
    """LZW of single bytes, cleared before its codes grow beyond 9 bits: long, and valid."""
    bits = []
    for at in range(0, len(data), 250):
        bits += [256, *data[at : at + 250]]
    codes = np.array([*bits, 257], np.uint16)[:, None] >> np.arange(8, -1, -1, dtype=np.uint16) & 1
    return np.packbits(codes.astype(np.uint8).reshape(-1)).tobytes()


def _packbits(data: bytes) -> bytes:
    return b"".join(bytes([len(part) - 1]) + part for part in (data[at : at + 128] for at in range(0, len(data), 128)))


_COMPRESS: dict[int, Callable[[bytes], bytes]] = {NONE: bytes, LZW: _lzw, DEFLATE: zlib.compress, PACKBITS: _packbits}
