"""The directories of a TIFF, read without its decoder: which of them is the picture.

A reader that believes the first directory scores thumbnails, and previews of camera raws.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from artquant.core.errors import Reject
from artquant.core.schema import RejectClass

NEW_SUBFILE, OLD_SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 254, 255, 256, 257, 258, 259, 262, 266
STRIP_OFFSETS, ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_COUNTS, PLANAR = 273, 274, 277, 278, 279, 284
T4_OPTIONS, T6_OPTIONS, PREDICTOR, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS = 292, 293, 317, 322, 323, 324, 325
COLOR_MAP, SUB_DIRECTORIES, INK_SET, EXTRA_SAMPLES, SAMPLE_FORMAT, JPEG_TABLES, SUBSAMPLING, PROFILE = (
    320,
    330,
    332,
    338,
    339,
    347,
    530,
    34675,
)
DNG_VERSION = 50706

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_BYTES, _UNDEFINED = 1, 7
_UNSIGNED, _VOID = 1, 4
_SEPARATED, _YCBCR = 5, 6
_MAX_DIRECTORIES, _MAX_ENTRIES = 64, 20_000  # in all: more than that hold no picture that anybody made
_RAW_PHOTOMETRICS = (32803, 34892)  # colour filter array, linear raw
_COMPRESSIONS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 32771, 32773, 32809, 32946, 34925, 50000, 50001})


@dataclass(frozen=True)
class Directory:
    """One directory's entries: tag -> (field type, number of values, where they lie). `at` is where the directory lies."""

    data: bytes
    order: str
    is_big: bool
    at: int
    entries: dict[int, tuple[int, int, int]]

    def values(self, tag: int) -> tuple[int, ...]:
        """Return the whole numbers under a tag; none if it is absent, of another type or beyond the file's end."""
        kind, count, at = self.entries.get(tag, (0, 0, 0))
        form = _INTEGERS.get(kind)
        if form is None or at + count * _SIZES[kind] > len(self.data):
            return ()
        return struct.unpack_from(f"{self.order}{count}{form}", self.data, at)

    def raw(self, tag: int) -> bytes:
        kind, count, at = self.entries.get(tag, (0, 0, 0))
        return self.data[at : at + count] if kind in (_BYTES, _UNDEFINED) else b""

    def value(self, tag: int, default: int) -> int:
        values = self.values(tag)
        return values[0] if values else default

    @property
    def num_pixels(self) -> int:
        return self.value(WIDTH, 0) * self.value(HEIGHT, 0)

    @property
    def is_first(self) -> bool:
        return self.at == _first_offset(self.data, self.order, self.is_big)

    @property
    def is_reduced(self) -> bool:
        """A smaller version of another picture, or a mask of one."""
        return bool(self.value(NEW_SUBFILE, 0) & 5) or self.value(OLD_SUBFILE, 1) == 2


def find_picture(data: bytes) -> Directory | None:
    """Return the directory of the picture; None where there is none to be read, as in a truncated file.

    That is the first that is not marked as a thumbnail or a mask, or a larger one below it; if all are marked, the first of the largest.
    Raises Reject for camera raw, whose largest readable picture is a preview, and for compressions that no decoder here has.
    """
    chain, below = _read_all(data)
    every = [*chain, *(directory for directories in below.values() for directory in directories)]
    if any(DNG_VERSION in one.entries or one.value(PHOTOMETRIC, 0) in _RAW_PHOTOMETRICS for one in every):
        raise Reject(RejectClass.UNSUPPORTED, "a camera raw file")
    if not chain:
        return None
    found = next((one for one in chain if not one.is_reduced and one.num_pixels), None)
    found = found or next((one for one in every if not one.is_reduced and one.num_pixels), None)
    found = found or max(every, key=lambda one: one.num_pixels)
    larger = [one for one in below.get(found.at, []) if not one.is_reduced and one.num_pixels > found.num_pixels]
    found = max(larger, key=lambda one: one.num_pixels, default=found)
    _refuse_what_readers_take_for_another(found)
    return found


def _refuse_what_readers_take_for_another(picture: Directory) -> None:
    compression, photometric = picture.value(COMPRESSION, 1), picture.value(PHOTOMETRIC, 0)
    if compression not in _COMPRESSIONS:
        raise Reject(RejectClass.UNSUPPORTED, f"a TIFF with compression {compression}")
    if not set(picture.values(SAMPLE_FORMAT)) <= {_UNSIGNED, _VOID}:
        raise Reject(RejectClass.UNSUPPORTED, "a TIFF of signed or floating-point samples")
    if photometric == _SEPARATED and picture.value(INK_SET, 1) != 1:
        raise Reject(RejectClass.UNSUPPORTED, "a TIFF of inks other than CMYK")
    counts = sum(picture.values(STRIP_COUNTS) or picture.values(TILE_COUNTS))
    if photometric == _YCBCR and compression == 1 and counts < 3 * picture.num_pixels:
        raise Reject(RejectClass.UNSUPPORTED, "a TIFF of uncompressed YCbCr with fewer samples of colour")


def _first_offset(data: bytes, order: str, is_big: bool) -> int:
    offset: int = struct.unpack_from(f"{order}Q", data, 8)[0] if is_big else struct.unpack_from(f"{order}I", data, 4)[0]
    return offset


def _read_all(data: bytes) -> tuple[list[Directory], dict[int, list[Directory]]]:
    """Read the chain of directories, and by a directory's place those below it."""
    order = "<" if data[:2] == b"II" else ">"
    is_big = data[2:4] in (b"+\0", b"\0+")
    if len(data) < (16 if is_big else 8):
        return [], {}
    seen: set[int] = set()
    num_entries = 0

    def read(at: int) -> tuple[Directory | None, int]:
        nonlocal num_entries
        if at in seen or len(seen) >= _MAX_DIRECTORIES or num_entries >= _MAX_ENTRIES:
            return None, 0
        seen.add(at)
        directory, following = _read(data, at, order, is_big, _MAX_ENTRIES - num_entries)
        num_entries += len(directory.entries) if directory else 0
        return directory, following

    chain, below, at = [], {}, _first_offset(data, order, is_big)
    while at:
        directory, at = read(at)
        if directory is None:
            break
        chain.append(directory)
    for parent in chain:
        read_below = [read(place)[0] for place in parent.values(SUB_DIRECTORIES)[:_MAX_DIRECTORIES]]
        below[parent.at] = [one for one in read_below if one is not None]
    return chain, below


def _read(data: bytes, at: int, order: str, is_big: bool, most: int) -> tuple[Directory | None, int]:
    """Return the directory at a place and where the next one lies, 0 for none."""
    count_form, count_size, entry_size, inline = ("Q", 8, 20, 8) if is_big else ("H", 2, 12, 4)
    if at + count_size > len(data):
        return None, 0
    count = struct.unpack_from(f"{order}{count_form}", data, at)[0]
    start = at + count_size
    end = start + count * entry_size
    if count > most or end > len(data):
        return None, 0
    entries: dict[int, tuple[int, int, int]] = {}
    form = struct.Struct(f"{order}HH{'Q' if is_big else 'I'}")
    for place in range(start, end, entry_size):
        tag, kind, number = form.unpack_from(data, place)
        values_at = place + form.size
        if number * _SIZES.get(kind, 1) > inline:
            values_at = struct.unpack_from(f"{order}{'Q' if is_big else 'I'}", data, values_at)[0]
        entries.setdefault(tag, (kind, number, values_at))
    following = data[end : end + inline]
    return Directory(data, order, is_big, at, entries), int.from_bytes(following, "little" if order == "<" else "big")
