"""Bytes -> upright sRGB pixels. The format is told from the content, never from a name.

Plain JPEGs go through simplejpeg, which refuses damaged data and decodes at a reduced size; everything else goes through Pillow.
"""

from __future__ import annotations

import io
import logging
import re
from functools import lru_cache
from typing import cast

import numpy as np
import simplejpeg
from PIL import Image, ImageCms, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from artquant.core.errors import Reject
from artquant.core.schema import RejectClass
from artquant.images.jpeg_markers import Markers, read_markers

_log = logging.getLogger(__name__)

_READERS: tuple[tuple[re.Pattern[bytes], type[ImageFile.ImageFile]], ...] = (
    (re.compile(rb"\xff\xd8\xff"), JpegImageFile),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), PngImageFile),
    (re.compile(rb"(?s)RIFF.{4}WEBP"), WebPImageFile),
    (re.compile(rb"GIF8[79]a"), GifImageFile),
    (re.compile(rb"II[*+]\0|MM\0[*+]"), TiffImageFile),
    (re.compile(rb"(?s)BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"), BmpImageFile),
)
_OTHER_KINDS = (
    (re.compile(rb"(?i)[\s\xef\xbb\xbf]*<(!doctype html|html|head|body)"), RejectClass.NOT_AN_IMAGE, "a web page"),
    (re.compile(rb"(?is)[\s\xef\xbb\xbf]*<.{0,4000}?(?<=<)svg\b"), RejectClass.UNSUPPORTED, "an SVG drawing"),
    (re.compile(rb"(?s).{4}ftyp(avi[fs]|hei[cxms]|hev[cx]|mif1|msf1)"), RejectClass.UNSUPPORTED, "AVIF or HEIC"),
    (re.compile(rb"(?s).{4}ftyp|\x1a\x45\xdf\xa3|RIFF.{4}AVI "), RejectClass.NOT_AN_IMAGE, "a video"),
    (re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"), RejectClass.UNSUPPORTED, "JPEG 2000"),
    (re.compile(rb"\0\0\0\x0cJXL |\xff\x0a"), RejectClass.UNSUPPORTED, "JPEG XL"),
    (re.compile(rb"8BPS\0"), RejectClass.UNSUPPORTED, "a Photoshop file"),
    (re.compile(rb"\0\0\x01\0[^\0]\0"), RejectClass.UNSUPPORTED, "an icon file"),
    (re.compile(rb"%PDF"), RejectClass.NOT_AN_IMAGE, "a PDF"),
)
_MODES = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"})
_UNSUPPORTED_WORDS = re.compile(r"unsupported|not supported|unknown|cannot handle|decompressed data too large", re.IGNORECASE)
_DAMAGED_JPEG_WORDS = re.compile(r"premature|bad huffman|instead of RST|bad progressive|arithmetic", re.IGNORECASE)
_TURNS = {  # EXIF orientation -> upright view
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels[::-1].swapaxes(0, 1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: pixels[:, ::-1].swapaxes(0, 1),
}
MAX_SCAN_PIXELS = 20_000_000_000  # 100 scans of 200 megapixels, some five to eight seconds of one core
MAX_COVERS = 16  # how often a file's pieces may cover its picture: once for each channel is as often as a sound one does
_MAX_KEPT_PROFILE_BYTES = 1 << 22  # a larger one is read anew each time: the cache holds 64 transforms, of any size
_ORIENTATION_TAG, _PHOTOMETRIC_TAG, _BITS_TAG, _TILE_TAGS = 274, 262, 258, (322, 323)
_STRIP_PIXELS = 1 << 21


def open_image(data: bytes) -> ImageFile.ImageFile:
    """Open the header of `data` without decoding anything. Raises `Reject`: empty, not_an_image, truncated, unsupported."""
    if not data:
        raise Reject(RejectClass.EMPTY, "no bytes")
    reader = next((reader for magic, reader in _READERS if magic.match(data)), None)
    if reader is None:
        for pattern, reject_class, kind in _OTHER_KINDS:
            if pattern.match(data):
                raise Reject(reject_class, f"{kind}: not one of JPEG, PNG, WebP, GIF, TIFF, BMP")
        raise Reject(RejectClass.NOT_AN_IMAGE, "no image format begins with these bytes")
    image = reader.__new__(reader)
    try:
        image.__init__(io.BytesIO(data))  # type: ignore[misc]  # separate from __new__, so that what was read before an error can be inspected
    except Exception as error:  # a reader may fail in any way on hostile bytes
        if getattr(image, "_mode", "") and 0 in image.size:
            raise Reject(RejectClass.EMPTY, f"the header says {image.width} x {image.height}") from error
        raise _reject(error) from error
    return image


def decode(image: ImageFile.ImageFile, data: bytes, *, is_plain: bool, max_factor: int = 1) -> np.ndarray:
    """Decode to upright sRGB pixels, (height, width, 3) uint8, writable and contiguous, alpha laid over white.

    An image that `is_plain` (:func:`jpeg_markers`) is decoded at 1/`max_factor` of its size (1, 2, 4 or 8; rounded up). Raises `Reject`:
    empty, truncated, too_large, unsupported.
    """
    try:
        pixels = _decode_plain_jpeg(image, data, max_factor) if is_plain and isinstance(image, JpegImageFile) else None
        if pixels is None:
            if is_plain:
                image.draft(None, (max(1, image.width // max_factor), max(1, image.height // max_factor)))
            image.load()
            pixels = _to_array(_to_srgb(image))
        turn = _TURNS.get(_orientation(image))
        return pixels if turn is None else np.ascontiguousarray(turn(pixels))
    except Exception as error:  # a decoder may fail in any way on hostile bytes
        raise _reject(error) from error


def jpeg_markers(image: ImageFile.ImageFile, data: bytes) -> Markers:
    """Return what a JPEG's markers say; for other kinds: not plain, no scans.

    Only a JPEG that `is_plain` may be decoded at a reduced size: on a lossless one, libjpeg-turbo before 3.1.4 then writes beyond its
    buffer. Raises Reject for a JPEG whose scans take far more work than its pixels.
    """
    if not isinstance(image, JpegImageFile):
        return Markers(is_plain=False, num_scans=0)
    markers = read_markers(data)
    if markers.num_scans * image.width * image.height > MAX_SCAN_PIXELS:
        raise Reject(RejectClass.TOO_LARGE, f"{markers.num_scans} scans of {image.width} x {image.height} pixels")
    return markers


def piece_pixels(image: ImageFile.ImageFile) -> int:
    """Return the most pixels that a decoder holds of `image`: its own, or those of one tile of a TIFF, which may be far larger.

    Raises Reject for a file whose strips or tiles are decoded over one another again and again: a small file could keep a core busy for
    hours.
    """
    num_pixels = image.width * image.height
    covered = sum(max(1, box[3] - box[1]) * max(1, box[2] - box[0]) for _, box, *_ in image.tile if box)
    if covered > MAX_COVERS * max(1, num_pixels):
        raise Reject(RejectClass.TOO_LARGE, f"its pieces are decoded over its {image.width} x {image.height} pixels again and again")
    if not isinstance(image, TiffImageFile):
        return num_pixels
    width, height = (image.tag_v2.get(tag, 0) for tag in _TILE_TAGS)
    return max(num_pixels, width * height) if isinstance(width, int) and isinstance(height, int) else num_pixels


def swaps_sides(image: ImageFile.ImageFile) -> bool:
    """Tell whether `decode` exchanges width and height of the size in the header (Pillow has already done so for TIFF)."""
    return not isinstance(image, TiffImageFile) and _orientation(image) in (5, 6, 7, 8)


def _reject(error: Exception) -> Reject:
    if isinstance(error, Reject):
        return error
    message = f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError | Image.DecompressionBombError):
        return Reject(RejectClass.TOO_LARGE, f"does not fit in memory ({message})")
    if isinstance(error, NotImplementedError) or _UNSUPPORTED_WORDS.search(message):
        return Reject(RejectClass.UNSUPPORTED, message)
    return Reject(RejectClass.TRUNCATED, f"broken off or damaged ({message})")


def _decode_plain_jpeg(image: JpegImageFile, data: bytes, factor: int) -> np.ndarray | None:
    """Decode a grey or three-colour JPEG to RGB pixels; None for a kind, or a harmless flaw, that Pillow must handle."""
    profile = image.info.get("icc_profile")
    if image.mode not in ("L", "RGB") or (image.mode == "L" and profile):
        return None
    width, height = image.size
    try:
        size = simplejpeg.decode_jpeg_header(data, strict=False)[:2]
    except (ValueError, KeyError) as error:  # less usual sampling: libjpeg decodes it, this interface cannot name it
        _log.debug("Pillow decodes a JPEG of a kind that simplejpeg does not know: %s", error)
        return None
    if size != (height, width):
        raise Reject(RejectClass.TRUNCATED, "the file holds two headers of different sizes")
    try:
        pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=-(-height // factor), min_width=-(-width // factor))
    except ValueError as error:
        if _DAMAGED_JPEG_WORDS.search(str(error)):
            raise
        _log.debug("Pillow decodes a JPEG that simplejpeg refuses: %s", error)
        return None
    transform = _srgb_transform(profile, "RGB") if profile else None
    return pixels if transform is None else _to_array(_apply(transform, Image.fromarray(pixels)))


def _to_srgb(image: Image.Image) -> Image.Image:
    """Convert the loaded image to mode RGB in sRGB, with alpha over white."""
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I;16"):
        image = _to_eight_bits(image)
    if image.mode not in _MODES:
        raise Reject(RejectClass.UNSUPPORTED, f"{image.format} with pixels of kind {image.mode}")
    alpha = None
    if image.has_transparency_data:
        if image.mode not in ("LA", "RGBA"):
            image = image.convert("RGBA")
        alpha = image.getchannel("A")
        image = image.convert(image.mode.rstrip("A"))
    elif image.mode not in ("L", "CMYK", "RGB"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    transform = _srgb_transform(profile, image.mode) if profile else None
    rgb = image.convert("RGB") if transform is None else _apply(transform, image)
    if alpha is None or alpha.getextrema()[0] == 255:
        return rgb
    white = Image.new("RGB", rgb.size, "white")
    white.paste(rgb, mask=alpha)
    return white


def _to_array(image: Image.Image) -> np.ndarray:
    """Copy an RGB image to (height, width, 3) uint8, strip by strip: `np.array` holds three copies at a time."""
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        pixels[top:bottom] = np.asarray(image.crop((0, top, image.width, bottom)))
    return pixels


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Convert 16-bit grey to L by its high byte, as Pillow itself does for 16-bit colour."""
    tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    bits = tags.get(_BITS_TAG, (16,))[0]
    grey = (np.asarray(image) >> (bits - 8)).astype(np.uint8)
    return Image.fromarray(~grey if tags.get(_PHOTOMETRIC_TAG) == 0 else grey)


def _orientation(image: Image.Image) -> int:
    try:
        return cast(int, image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception as error:  # broken EXIF says nothing about the picture
        _log.debug("unreadable EXIF is ignored: %s", error)
        return 1


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
