"""A picture file whose header was read -> upright sRGB pixels.

Plain JPEGs go through simplejpeg, which refuses damaged data and decodes at a reduced size; everything else goes through Pillow.
"""

from __future__ import annotations

import io
import logging
import re
from typing import cast

import numpy as np
import simplejpeg
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from artquant.core.errors import Reject
from artquant.core.schema import RejectClass
from artquant.images.color import to_srgb
from artquant.images.sources import Source, reject_for
from artquant.images.tiff_planes import PlanarTiffFile, to_eight_bits

_log = logging.getLogger(__name__)

_MODES = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"})
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
_ORIENTATION_TAG = 274
_STRIP_PIXELS = 1 << 21


def decode(source: Source, max_factor: int = 1) -> np.ndarray:
    """Decode to upright sRGB pixels, (height, width, 3) uint8, writable and contiguous, alpha laid over white.

    A plain JPEG (`Markers`) is decoded at 1/`max_factor` of its size (1, 2, 4 or 8; rounded up), another one never: on a lossless one,
    libjpeg-turbo before 3.1.4 then writes beyond its buffer. Raises `Reject`: empty, truncated, too_large, unsupported.
    """
    image = source.image
    try:
        pixels = _decode_plain_jpeg(source, max_factor) if source.markers.is_plain else None
        if pixels is None:
            if source.markers.is_plain:
                image.draft(None, (max(1, image.width // max_factor), max(1, image.height // max_factor)))
            pixels = _to_array(_to_srgb(_load(source)))
        turn = _TURNS.get(_orientation(image))
        return pixels if turn is None else np.ascontiguousarray(turn(pixels))
    except Exception as error:  # a decoder may fail in any way on hostile bytes
        raise reject_for(error) from error


def swaps_sides(source: Source) -> bool:
    """Tell whether `decode` exchanges width and height of the size in the header (Pillow has already done so for TIFF)."""
    return not isinstance(source.image, TiffImageFile) and _orientation(source.image) in (5, 6, 7, 8)


def _decode_plain_jpeg(source: Source, factor: int) -> np.ndarray | None:
    """Decode a grey or three-colour JPEG to RGB pixels; None for a kind, or a harmless flaw, that Pillow must handle.

    Pillow decodes a damaged JPEG in silence: those of other colours are decoded here as well, at an eighth, to see whether they are whole.
    """
    image, data = source.image, source.data
    profile = image.info.get("icc_profile")
    width, height = image.size
    is_for_pillow = image.mode not in ("L", "RGB") or (image.mode == "L" and profile)
    try:
        size = simplejpeg.decode_jpeg_header(data, strict=False)[:2]
    except (ValueError, KeyError) as error:  # less usual sampling: libjpeg decodes it, this interface cannot name it
        _log.debug("Pillow decodes a JPEG of a kind that simplejpeg does not know: %s", error)
        return None
    if size != (height, width):
        raise Reject(RejectClass.TRUNCATED, "the file holds two headers of different sizes")
    space, factor = ({"L": "GRAY"}.get(image.mode, image.mode), 8) if is_for_pillow else ("RGB", factor)
    try:
        pixels = simplejpeg.decode_jpeg(data, space, min_height=-(-height // factor), min_width=-(-width // factor))
    except ValueError as error:
        if _DAMAGED_JPEG_WORDS.search(str(error)):
            raise
        _log.debug("Pillow decodes a JPEG that simplejpeg refuses: %s", error)
        return None
    if is_for_pillow:
        return None
    return _to_array(to_srgb(Image.fromarray(pixels), profile)) if profile else pixels


def _load(source: Source) -> Image.Image:
    """Decode with Pillow to 8 bits a sample."""
    image = source.image
    if isinstance(image, PlanarTiffFile):
        return image.merge()
    image.load()
    if image.mode.startswith("I;16"):
        return _with_see_through_grey(image, to_eight_bits(image))
    if isinstance(image, PngImageFile) and image.mode == "RGB" and "transparency" in image.info:
        return _with_see_through_color(image, source.data)
    return image


def _with_see_through_grey(image: Image.Image, grey: Image.Image) -> Image.Image:
    key = image.info.pop("transparency", None)
    if key is not None:
        grey.putalpha(Image.fromarray(np.where(np.asarray(image) == key, 0, 255).astype(np.uint8)))
    grey.info = image.info
    return grey


def _with_see_through_color(image: PngImageFile, data: bytes) -> Image.Image:
    """Give a PNG its alpha by the one colour that is see-through, compared in all bits: Pillow has the high bytes of 16 bits only."""
    key = image.info.pop("transparency")
    is_clear = np.ones((image.height, image.width), bool)
    low = PngImageFile(io.BytesIO(data))
    halves = [(image, 0)]
    if low.tile[0].args == "RGB;16B":
        low.tile = [low.tile[0]._replace(args="RGB;16L")]  # the low bytes, taken for the high ones
        low.load()
        halves = [(image, 8), (low, 0)]
    for half, shift in halves:
        for band, value in zip(half.split(), key, strict=True):
            is_clear &= np.asarray(band) == value >> shift & 255
    image.putalpha(Image.fromarray(np.where(is_clear, 0, 255).astype(np.uint8)))
    return image


def _to_srgb(image: Image.Image) -> Image.Image:
    """Convert the loaded image to mode RGB in sRGB, with alpha over white."""
    profile = image.info.get("icc_profile")
    if image.mode not in _MODES:
        raise Reject(RejectClass.UNSUPPORTED, f"{image.format} with pixels of kind {image.mode}")
    alpha = None
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        if image.mode not in ("LA", "RGBA"):
            image = image.convert("RGBA")
        alpha = image.getchannel("A")
        image = image.convert(image.mode.rstrip("A"))
    elif image.mode not in ("L", "CMYK", "RGB"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    rgb = to_srgb(image, profile)
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


def _orientation(image: Image.Image) -> int:
    try:
        return cast(int, image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception as error:  # broken EXIF says nothing about the picture
        _log.debug("unreadable EXIF is ignored: %s", error)
        return 1
