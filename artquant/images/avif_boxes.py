"""The boxes of an AVIF, read without decoding: how large its coded pictures really are, and its colours' codes.

The size in the container is what a reader reports, but the decoder works at the size in the AV1 sequence headers, which may be far larger:
a file of 1 kB that calls itself 16 x 16 can hold a frame of 268 megapixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from artquant.core.errors import Reject
from artquant.core.schema import RejectClass

_MAX_UNITS = 50_000  # AV1 units and items looked at, in all
_SEQUENCE_HEADER = 1


@dataclass(frozen=True)
class Avif:
    """`coded_pixels`: of all coded pictures together. `color_codes`: colour primaries and transfer function (ITU-T H.273), where the
    container gives them and no ICC profile."""

    coded_pixels: int
    color_codes: tuple[int, int] | None


class _Confused(Exception):
    """The boxes lead nowhere."""


def read_boxes(data: bytes) -> Avif:
    """Read an AVIF's boxes. Raises Reject: truncated, where they lead nowhere."""
    view = memoryview(data)
    color_codes: tuple[int, int] | None = None
    try:
        payloads = []
        for name, body in _boxes(view):
            if name == b"meta":
                payloads += _item_payloads(view, body[4:])
                color_codes = _color_codes(body[4:])
            elif name == b"moov":
                payloads += _first_samples(view, body)
        if not payloads:
            raise _Confused
        num_units = [0]
        return Avif(sum(_coded_pixels(payload, num_units) for payload in payloads), color_codes)
    except (_Confused, IndexError) as error:
        raise Reject(RejectClass.TRUNCATED, "broken off or damaged (the boxes of this AVIF lead to no picture)") from error


def _number(view: memoryview, at: int, size: int) -> int:
    if at + size > len(view):
        raise _Confused
    return int.from_bytes(view[at : at + size], "big")


def _boxes(view: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    at = 0
    while at + 8 <= len(view):
        size, head = _number(view, at, 4), 8
        if size == 1:
            size, head = _number(view, at + 8, 8), 16
        size = size or len(view) - at
        if size < head:
            raise _Confused
        yield bytes(view[at + 4 : at + 8]), view[at + head : at + size]
        at += size


def _child(view: memoryview, *names: bytes) -> memoryview | None:
    for name in names:
        found = next((body for child, body in _boxes(view) if child == name), None)
        if found is None:
            return None
        view = found
    return view


def _color_codes(meta: memoryview) -> tuple[int, int] | None:
    properties = _child(meta, b"iprp", b"ipco")
    codes = [body for name, body in _boxes(properties) if name == b"colr"] if properties is not None else []
    if any(bytes(body[:4]) in (b"prof", b"rICC") for body in codes):
        return None
    nclx = next((body for body in codes if bytes(body[:4]) == b"nclx" and len(body) >= 8), None)
    return None if nclx is None else (_number(nclx, 4, 2), _number(nclx, 6, 2))


def _item_payloads(view: memoryview, meta: memoryview) -> list[list[memoryview]]:
    """Return the extents of each item that is coded in AV1."""
    information, locations, inside = (_child(meta, name) for name in (b"iinf", b"iloc", b"idat"))
    if information is None or locations is None:
        return []
    coded = set()
    for name, body in _boxes(information[6 if information[0] == 0 else 8 :]):
        if name == b"infe" and body[0] in (2, 3):
            size = 2 if body[0] == 2 else 4
            if bytes(body[6 + size : 10 + size]) == b"av01":
                coded.add(_number(body, 4, size))
    return [extents for item, extents in _extents(view, locations, inside) if item in coded]


def _extents(view: memoryview, locations: memoryview, inside: memoryview | None) -> Iterator[tuple[int, list[memoryview]]]:
    version = locations[0]
    offset_size, length_size, base_size, index_size = locations[4] >> 4, locations[4] & 15, locations[5] >> 4, locations[5] & 15
    id_size = 2 if version < 2 else 4
    num_items, at = _number(locations, 6, id_size), 6 + id_size
    for _ in range(num_items):
        item, method = _number(locations, at, id_size), 0
        at += id_size
        if version:
            method = _number(locations, at, 2) & 15
            at += 2
        base, num_extents = _number(locations, at + 2, base_size), _number(locations, at + 2 + base_size, 2)
        at += 4 + base_size
        source = (view, inside, None)[method] if method < 3 else None
        extents = []
        for _ in range(num_extents):
            at += index_size if version else 0
            start, length = base + _number(locations, at, offset_size), _number(locations, at + offset_size, length_size)
            at += offset_size + length_size
            if source is None:
                raise _Confused
            extents.append(source[start : start + length if length else len(source)])
        yield item, extents


def _first_samples(view: memoryview, movie: memoryview) -> list[list[memoryview]]:
    """Return the first sample of each track that is coded in AV1."""
    samples = []
    for name, track in _boxes(movie):
        table = _child(track, b"mdia", b"minf", b"stbl") if name == b"trak" else None
        if table is None:
            continue
        described, sizes = _child(table, b"stsd"), _child(table, b"stsz")
        if described is None or bytes(described[12:16]) != b"av01":
            continue
        offset_size = 4
        places = _child(table, b"stco")
        if places is None:
            places, offset_size = _child(table, b"co64"), 8
        if places is None or sizes is None:
            raise _Confused
        start, length = _number(places, 8, offset_size), _number(sizes, 4, 4) or _number(sizes, 12, 4)
        samples.append([view[start : start + length]])
    return samples


def _coded_pixels(extents: list[memoryview], num_units: list[int]) -> int:
    """Return the pixels of the largest frame that an AV1 stream's sequence headers allow."""
    stream = extents[0] if len(extents) == 1 else memoryview(b"".join(extents))
    most, at = 0, 0
    while at < len(stream):
        num_units[0] += 1
        if num_units[0] > _MAX_UNITS:
            raise _Confused
        head = stream[at]
        at += 2 if head & 4 else 1
        size, shift = len(stream) - at, 0
        if head & 2:
            size = 0
            while True:
                byte = stream[at]
                size |= (byte & 127) << shift
                at, shift = at + 1, shift + 7
                if byte < 128 or shift > 56:
                    break
        if head >> 3 & 15 == _SEQUENCE_HEADER:
            most = max(most, _max_frame_pixels(bytes(stream[at : at + min(size, 1024)])))
        at += size
    if not most:
        raise _Confused
    return most


def _max_frame_pixels(header: bytes) -> int:
    """Read a sequence header (AV1 specification, 5.5.1) as far as the largest frame's width and height."""
    bits, left = int.from_bytes(header, "big"), 8 * len(header)

    def take(num: int) -> int:
        nonlocal left
        left -= num
        if left < 0:
            raise _Confused
        return bits >> left & (1 << num) - 1

    take(4)
    if take(1):  # a reduced header of a still picture
        take(5)
    else:
        delay_bits = 0
        if take(1):  # timing
            take(64)
            if take(1):
                num_zeros = 0
                while not take(1):
                    num_zeros += 1
                take(num_zeros)
            if take(1):  # decoder model
                delay_bits = take(5) + 1
                take(42)
        shows_delay = take(1)
        for _ in range(take(5) + 1):
            take(12)
            if take(5) > 7:
                take(1)
            if delay_bits and take(1):
                take(2 * delay_bits + 1)
            if shows_delay and take(1):
                take(4)
    width_bits, height_bits = take(4) + 1, take(4) + 1
    return (take(width_bits) + 1) * (take(height_bits) + 1)
