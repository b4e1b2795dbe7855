"""A PNG without its side data, and what of it concerns the pixels.

Text, times and histograms never decide whether a picture is read, nor does a wrong checksum on them (the PNG specification lets a decoder
leave out every ancillary chunk). Profiles are unpacked up to a limit: a larger one is a bomb, and is left out like a broken one.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

MAX_PROFILE_BYTES = 8 << 20
_SIGNATURE_BYTES = 8
_BITS_AT, _COLOR_AT = 24, 25
_TRANSPARENCY_BYTES = {0: 2, 2: 6, 3: 1}  # colour type -> what a tRNS has at least
_MAX_EXIF_BYTES = 1 << 20


@dataclass(frozen=True)
class Png:
    """`data`: the file with critical chunks, transparency and EXIF alone. `bits`: a sample's. `profile`: ICC, unpacked. `color_codes`:
    colour primaries and transfer function of cICP (ITU-T H.273), which count before a profile."""

    data: bytes
    bits: int
    profile: bytes | None
    color_codes: tuple[int, int] | None


def read_chunks(data: bytes) -> Png:
    """Take a PNG's chunks apart. Of a truncated file, or one with broken critical chunks, `data` is as truncated and as broken."""
    kept: list[tuple[int, int]] = [(0, _SIGNATURE_BYTES)]
    profile: bytes | None = None
    color_codes: tuple[int, int] | None = None
    at = _SIGNATURE_BYTES
    while at < len(data):
        if at + 8 > len(data):
            kept.append((at, len(data)))
            break
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if name == b"tRNS":
            is_wanted = length >= _TRANSPARENCY_BYTES.get(data[_COLOR_AT], 1 << 32) and _is_sound(data, at, end)
        elif name == b"eXIf":
            is_wanted = length <= _MAX_EXIF_BYTES and _is_sound(data, at, end)
        else:
            is_wanted = not name[0] & 0x20  # a critical chunk: without them there is no picture
        if is_wanted:
            if kept[-1][1] == at:
                kept[-1] = (kept[-1][0], end)
            else:
                kept.append((at, end))
        elif name == b"iCCP" and profile is None and _is_sound(data, at, end):
            profile = _unpack_profile(data[at + 8 : end - 4])
        elif name == b"cICP" and length == 4 and _is_sound(data, at, end):
            color_codes = (data[at + 8], data[at + 9])
        at = end
        if name == b"IEND":
            break
    whole = len(kept) == 1 and kept[0][1] >= len(data)
    clean = data if whole else b"".join(data[start:end] for start, end in kept)
    return Png(clean, data[_BITS_AT] if len(data) > _BITS_AT else 0, profile, color_codes)


def _is_sound(data: bytes, at: int, end: int) -> bool:
    return end <= len(data) and zlib.crc32(memoryview(data)[at + 4 : end - 4]) == int.from_bytes(data[end - 4 : end], "big")


def _unpack_profile(body: bytes) -> bytes | None:
    """Return the profile behind a name, a zero and the method; None if it is broken or beyond the limit."""
    name_end = body.find(b"\0", 0, 80)
    if name_end < 0 or body[name_end + 1 : name_end + 2] != b"\0":
        return None
    unpacker = zlib.decompressobj()
    try:
        profile = unpacker.decompress(body[name_end + 2 :], MAX_PROFILE_BYTES)
    except zlib.error:
        return None
    return profile if unpacker.eof or not unpacker.unconsumed_tail else None
