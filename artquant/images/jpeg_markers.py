"""The segments of a JPEG file, read without decoding: which kind it is, and how many scans it has."""

from dataclasses import dataclass

_SOI, _EOI, _SOS, _DHP, _EXP = 0xD8, 0xD9, 0xDA, 0xDE, 0xDF
_FRAMES = (frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}) | {0xF7}  # SOF0 to SOF15, without three tables, and SOF55 (JPEG-LS)
_LS_FRAME = 0xF7
_SEQUENTIAL = frozenset({0xC0, 0xC1, 0xC9})  # baseline and extended, Huffman and arithmetic
_DCT_FRAMES = _SEQUENTIAL | {0xC2, 0xCA}  # and progressive
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})
_IN_SCAN = frozenset({0, *range(0xD0, 0xD8)})  # what may follow 0xff in entropy-coded data: a stuffed zero, or a restart marker


@dataclass(frozen=True)
class Markers:
    """`is_plain`: one DCT frame of 8 bits a sample, and nothing out of place, so that any decoder reads it as we did.

    `lacks_end`: all of the picture is in one scan, and no marker of the file's end comes after it: perhaps nothing else is missing.
    """

    is_plain: bool
    num_scans: int
    lacks_end: bool = False
    is_jpeg_ls: bool = False


def read_markers(data: bytes) -> Markers:
    """Read the markers from the first SOI on; of a truncated file, those before its end."""
    frames: list[tuple[int, int, int]] = []  # marker, bits a sample, components
    num_scans, position, is_clean, lacks_end = 0, 2, data[:2] == b"\xff\xd8", False
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
            frames.append((marker, data[position + 4], data[position + 9]) if position + 9 < len(data) else (marker, 0, 0))
        if marker == _SOS:
            num_scans += 1
            if len(frames) == 1 and frames[0][0] in _SEQUENTIAL and data[position + 4 : position + 5] == bytes([frames[0][2]]):
                lacks_end = data.rfind(b"\xff\xd9", position) < 0
                break  # all of the picture is in this scan: what comes after it is read by nobody
            position = _after_scan(data, position + 2 + max(2, length))
        else:
            position += 2 + max(2, length)
    is_plain = is_clean and len(frames) == 1 and frames[0][0] in _DCT_FRAMES and frames[0][1] == 8
    return Markers(is_plain, num_scans, lacks_end, any(marker == _LS_FRAME for marker, _, _ in frames))


def _after_scan(data: bytes, position: int) -> int:
    """Return where the marker after a scan's entropy-coded data begins, or the file's end if there is none."""
    last = len(data) - 1
    while 0 <= (position := data.find(b"\xff", position)) < last:
        if data[position + 1] not in _IN_SCAN:
            return position  # a fill byte, or the marker
        position += 2
    return len(data)
