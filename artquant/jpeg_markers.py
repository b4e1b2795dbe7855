"""The segments of a JPEG file, read without decoding: which kind it is, and how many scans it has."""

import re
from dataclasses import dataclass

_SOI, _EOI, _SOS, _DHP, _EXP = 0xD8, 0xD9, 0xDA, 0xDE, 0xDF
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15; the others are tables
_DCT_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})  # baseline, extended and progressive; Huffman and arithmetic
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})
_AFTER_SCAN = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")  # in entropy-coded data, 0xff is followed by 0 or a restart marker


@dataclass(frozen=True)
class Markers:
    """`is_plain`: one DCT frame of 8 bits a sample, and nothing out of place, so that any decoder reads it as we did."""

    is_plain: bool
    num_scans: int


def read_markers(data: bytes) -> Markers:
    """The markers from the first SOI on; a file that breaks off has those up to there."""
    frames: list[tuple[int, int]] = []
    num_scans, position, is_clean = 0, 2, data[:2] == b"\xff\xd8"
    while position + 4 <= len(data):
        if data[position] != 0xFF:  # decoders skip what they do not know, each in its way
            is_clean = False
            position = data.find(b"\xff", position)
            if position < 0:
                break
            continue
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if marker in _WITHOUT_LENGTH or marker == 0:
            is_clean &= marker != 0
            position += 2
            continue
        if marker == _EOI:
            break
        if marker == _SOI or marker in (_DHP, _EXP):  # a picture in the picture, or a hierarchical one
            is_clean = False
        if marker == _SOI:
            position += 2
            continue
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        if marker in _FRAMES:
            frames.append((marker, data[position + 4] if position + 4 < len(data) else 0))
        position += 2 + max(2, length)
        if marker == _SOS:
            num_scans += 1
            following = _AFTER_SCAN.search(data, position)
            if following is None:
                break
            position = following.end() - 2
    is_plain = is_clean and len(frames) == 1 and frames[0][0] in _DCT_FRAMES and frames[0][1] == 8
    return Markers(is_plain, num_scans)
