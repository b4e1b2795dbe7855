"""Colour spaces -> sRGB: ICC profiles, and the codes for primaries and transfer function that PNG and AVIF carry instead."""

from __future__ import annotations

import io
import logging
import struct
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

from artquant.core.errors import Reject
from artquant.core.schema import RejectClass

_log = logging.getLogger(__name__)

_MAX_KEPT_PROFILE_BYTES = 1 << 22  # a larger one is read anew each time: the cache holds 64 transforms, of any size
_D50, _D65, _C, _DCI = (0.3457, 0.3585), (0.3127, 0.3290), (0.310, 0.316), (0.314, 0.351)
_PRIMARIES = {  # ITU-T H.273, table 2: x and y of red, green, blue and white
    4: ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), _C),
    5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), _D65),
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
    7: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _DCI),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65),
    22: ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077), _D65),
}
_SRGB_PRIMARIES = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), _D65)
_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}
_BRIGHT_TRANSFERS = {16: "PQ", 17: "SMPTE ST 428", 18: "HLG"}
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert an opaque image of mode L, RGB or CMYK to RGB in sRGB; a profile that is broken or of another space counts as none."""
    transform = _srgb_transform(profile, image.mode) if profile else None
    return image.convert("RGB") if transform is None else _apply(transform, image)


@lru_cache(maxsize=64)
def profile_of_codes(primaries: int, transfer: int) -> bytes | None:
    """Make an ICC profile of the codes of ITU-T H.273; None for sRGB and what is taken for it. Raises Reject for high dynamic range.

    The transfer functions of television (BT.709, 601, 2020) are taken for that of sRGB, as browsers do.
    """
    if transfer in _BRIGHT_TRANSFERS:
        raise Reject(RejectClass.UNSUPPORTED, f"a picture of high dynamic range ({_BRIGHT_TRANSFERS[transfer]})")
    gamma = _GAMMAS.get(transfer)
    if gamma is None and primaries not in _PRIMARIES:
        return None
    colorants = _colorants(_PRIMARIES.get(primaries, _SRGB_PRIMARIES))
    # ICC.1, table 68: function type 3 is sRGB's, with gamma, a, b, c and d
    curve = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045) if gamma is None else (gamma,)
    parametric = struct.pack(">4s4xHH", b"para", 0 if gamma else 3, 0) + b"".join(map(_fixed, curve))
    tags = {b"wtpt": _xyz(colorants.sum(axis=1)), b"desc": b"desc\0\0\0\0\0\0\0\1\0" + bytes(78), b"cprt": b"text\0\0\0\0\0"}
    for name, colorant in zip("rgb", colorants.T, strict=True):
        tags |= {f"{name}XYZ".encode(): _xyz(colorant), f"{name}TRC".encode(): parametric}
    table, body, start = b"", b"", 132 + 12 * len(tags)
    for tag, value in tags.items():
        table += tag + struct.pack(">2I", start + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    head = struct.pack(">I4xI4s4s4s12x4s", start + len(body), 0x04000000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    head = head.ljust(68, b"\0") + _xyz(np.array([0.9642, 1.0, 0.8249]))[8:]
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def _colorants(points: tuple[tuple[float, float], ...]) -> np.ndarray:
    """Return the (3, 3) matrix whose columns are XYZ of red, green and blue, adapted to D50 (Bradford)."""
    red, green, blue, white, d50 = (np.array([x / y, 1.0, (1 - x - y) / y]) for x, y in (*points, _D50))
    primaries = np.stack([red, green, blue], axis=1)
    primaries = primaries * np.linalg.solve(primaries, white)
    scale = (_BRADFORD @ d50) / (_BRADFORD @ white)
    adapted: np.ndarray = np.linalg.inv(_BRADFORD) @ np.diag(scale) @ _BRADFORD @ primaries
    return adapted


def _xyz(values: np.ndarray) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(_fixed(float(value)) for value in values)


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def _srgb_transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Do as `_kept_transform`, which caches the transforms of profiles of usual size."""
    make = _kept_transform if len(profile) <= _MAX_KEPT_PROFILE_BYTES else _kept_transform.__wrapped__
    return make(profile, mode)


@lru_cache(maxsize=64)
def _kept_transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Build the transform from `mode` under `profile` to sRGB.

    Returns None if there is nothing to do, or the profile is broken or not for `mode`.
    """
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError) as error:
        _log.debug("a colour profile that cannot be used is ignored: %s", error)
        return None
    if mode != "RGB":
        return transform
    steps = np.arange(0, 256, 15, dtype=np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    moved = np.asarray(_apply(transform, Image.fromarray(cube))).astype(int)
    return transform if np.abs(moved - cube).max() > 1 else None


def _apply(transform: ImageCms.ImageCmsTransform, image: Image.Image) -> Image.Image:
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None  # None is for changes in place
    return converted
