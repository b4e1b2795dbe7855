"""ICC profiles built by hand: Pillow can make none but sRGB, XYZ and Lab."""

import struct

import numpy as np

# Red, green and blue colorants, XYZ under D50, one row each; gamma.
ADOBE_RGB = (np.array([[0.60974, 0.31111, 0.01947], [0.20528, 0.62567, 0.06087], [0.14919, 0.06322, 0.74457]]), 2.19921875)
WIDE_P3 = (np.array([[0.51512, 0.24120, -0.00105], [0.29198, 0.69225, 0.04189], [0.15710, 0.06657, 0.78407]]), 2.19921875)
_SRGB = np.array([[0.43607, 0.22249, 0.01392], [0.38515, 0.71687, 0.09708], [0.14307, 0.06061, 0.71410]])
_D50 = (0.9642, 1.0, 0.8249)


def matrix_profile(space: tuple[np.ndarray, float]) -> bytes:
    colorants, gamma = space
    tags = {b"wtpt": _xyz(_D50)}
    for name, colorant in zip("rgb", colorants, strict=True):
        tags[f"{name}XYZ".encode()] = _xyz(colorant)
        tags[f"{name}TRC".encode()] = _gamma(gamma)
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags)


def grey_profile(gamma: float) -> bytes:
    return _profile(b"mntr", b"GRAY", b"XYZ ", {b"wtpt": _xyz(_D50), b"kTRC": _gamma(gamma)})


def cmyk_profile_where_every_ink_is_green() -> bytes:
    """No ink is white, any ink is Lab (60, -60, 40): nothing that a conversion without the profile could give."""
    clut = bytes([255, 128, 128]) + bytes([153, 68, 168]) * 15
    identity = struct.pack(">9i", *(65536 if index % 4 == 0 else 0 for index in range(9)))
    ramp = bytes(range(256))
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + identity + ramp * 4 + clut + ramp * 3
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"wtpt": _xyz(_D50), b"A2B0": lut})


def to_srgb(color: tuple[int, int, int], space: tuple[np.ndarray, float]) -> np.ndarray:
    """What `color` of `space` is in sRGB, 0-255, by the definition and apart from any colour engine."""
    colorants, gamma = space
    linear = np.clip((np.array(color) / 255) ** gamma @ colorants @ np.linalg.inv(_SRGB), 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _xyz(values: tuple[float, ...] | np.ndarray) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(float(value) * 65536) for value in values))


def _gamma(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))


def _profile(device_class: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    tags = {b"desc": b"desc\0\0\0\0\0\0\0\5test\0" + bytes(78), b"cprt": b"text\0\0\0\0none\0", **tags}
    table, body, offset = b"", b"", 132 + 12 * len(tags)
    for name, value in tags.items():
        value += bytes(-len(value) % 4)
        table += name + struct.pack(">2I", offset + len(body), len(value))
        body += value
    head = struct.pack(">I4xI4s4s4s", offset + len(body), 0x02400000, device_class, space, connection)
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(24) + bytes(4) + _xyz(_D50)[8:]
    return head + bytes(128 - len(head)) + struct.pack(">I", len(tags)) + table + body
