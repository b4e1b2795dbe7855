"""A WebP without its side data: libwebp refuses a whole picture for a chunk of XMP that is cut or miscounted."""

import struct

_HEAD_BYTES = 12  # RIFF, length, WEBP
_PICTURE = frozenset({b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF"})
_SIDE = {b"ICCP": 0x20, b"EXIF": 0x08}  # kept where they are whole; their flags in VP8X
_XMP_FLAG = 0x04


def without_side_data(data: bytes) -> bytes:
    """Keep the picture's chunks, profile and EXIF. A truncated picture stays as truncated; the file itself, if it holds nothing else."""
    kept: list[bytes] = []
    flags_left, is_whole, at = 0, True, _HEAD_BYTES
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        end = at + 8 + size + size % 2
        if name in _PICTURE or (name in _SIDE and end <= len(data)):
            kept.append(data[at:end])
            flags_left |= _SIDE.get(name, 0)
        else:
            is_whole = False
        at = end
    if is_whole or not kept:
        return data
    if kept[0][:4] == b"VP8X" and len(kept[0]) > 8:
        flags = kept[0][8] & ~(_XMP_FLAG | sum(_SIDE.values())) | flags_left
        kept[0] = kept[0][:8] + bytes([flags]) + kept[0][9:]
    return data[:4] + struct.pack("<I", 4 + sum(map(len, kept))) + data[8:12] + b"".join(kept)
