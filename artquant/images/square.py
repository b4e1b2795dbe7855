"""Bytes of an artwork -> one sRGB uint8 square, as the model was trained to see it; and back to a thumbnail.

Covered: JPEG, PNG, WebP, GIF, TIFF, BMP, AVIF; of animations and multi-page files the first picture. Not covered: camera raw, HEIC,
JPEG 2000, JPEG XL, drawings, floating-point and Lab pixels: `unsupported`. docs/pictures.md has the measured list.

`load` may be called from several threads: decoders, colour transform and resize release the GIL. The resize runs on torch's intra-op
threads, so each thread that decodes beside others calls `torch.set_num_threads(1)` first.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import simplejpeg
from PIL import Image

from artquant.core.errors import Reject
from artquant.core.memory import ByteBudget
from artquant.core.schema import RejectClass
from artquant.images.decode import decode, swaps_sides
from artquant.images.sources import Source, open_image

if TYPE_CHECKING:
    import torch

PAD_COLOR = (122, 116, 104)  # the mean colour that the published weights were trained with
REDUCED_MARGIN = 2  # a JPEG decodes at 1/2 or 1/4 while its long side stays this many times the square's
MAX_PADDING = 4  # padding is never held but it is resized, so a very thin picture must not cost minutes
MAX_REDUCTION = 4
_STRIP_PIXELS = 1 << 21


@dataclass(frozen=True)
class Picture:
    """An artwork as the model sees it. `pixels`: (size, size, 3) uint8 sRGB. `width`, `height`: the original's, upright."""

    pixels: np.ndarray
    width: int
    height: int


def load(
    data: bytes,
    size: int,
    *,
    max_pixels: int = 200_000_000,
    fast: bool = True,
    out: np.ndarray | None = None,
    budget: ByteBudget | None = None,
    simd: bool = True,
) -> Picture:
    """Decode, turn upright, convert to sRGB, lay over white, pad to a square, resize to `size`. The pixels lie in `out`, if given.

    `fast=False` is the published preprocessing to the last bit; `fast=True` decodes large JPEGs at a reduced size and resizes with
    SIMD code, a drift that tests/images/test_square.py bounds. Which files are refused does not depend on it. At the peak a picture takes
    up to 20 bytes a pixel, a JPEG decoded at a reduced size far less; `budget` is what all threads may take together, and is waited for.
    `simd=False` resizes by Pillow whatever `fast` says, and so without torch.
    Raises only `Reject`: empty, not_an_image, truncated (damaged too), too_large, unsupported.
    """
    source = open_image(data)
    width, height = source.image.size
    side = max(width, height)
    if width * height > max_pixels:
        raise Reject(RejectClass.TOO_LARGE, f"{width} x {height} is {width * height} pixels, more than max_pixels={max_pixels}")
    if side * side > MAX_PADDING * max_pixels:
        raise Reject(RejectClass.TOO_LARGE, f"{width} x {height} would pad to a square beyond {MAX_PADDING} x max_pixels={max_pixels}")
    factor = _reduction(side, size) if fast and source.markers.is_plain else 1
    try:
        with budget.holding(peak_bytes(source, factor)) if budget else nullcontext():
            pixels = decode(source, factor)
            if swaps_sides(source):
                width, height = height, width
            return Picture(to_square(pixels, size, fast=fast and simd, out=out), width, height)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "allocate memory" not in str(error):  # torch has no class of its own for it on a CPU
            raise
        raise Reject(RejectClass.TOO_LARGE, f"{width} x {height} does not fit in memory") from error


def peak_bytes(source: Source, factor: int) -> int:
    """Estimate the peak memory of decoding, too high rather than too low.

    Measured at 36 megapixels, in bytes per pixel: WebP 20 to 26, other formats 9 to 17, JPEGs 7, or 12 with Pillow or a profile; a JPEG
    with several scans takes two more per channel for its coefficients, whatever size it is decoded at.
    """
    image, markers = source.image, source.markers
    if image.format == "WEBP":
        a_pixel = 26.0
    elif not markers.is_plain:
        a_pixel = 20.0
    else:
        holds_coefficients = markers.num_scans > 1 or "progressive" in image.info
        is_simple = image.mode in ("L", "RGB") and "icc_profile" not in image.info
        a_pixel = 1.0 + (8 if is_simple else 14) / factor**2 + (2.0 * len(image.getbands()) if holds_coefficients else 0.0)
    return round(source.held_pixels * a_pixel)


def recipe(size: int, *, fast: bool) -> dict[str, object]:
    """Describe all that `load` does to a picture, as JSON values: different pixels mean a different recipe.

    `version` changes with the pixels of pictures that were read right. It does not with a fault that is mended for a few: that would score
    whole collections anew (docs/pictures.md).
    """
    return {
        "version": 1,
        "size": size,
        "pad_color": PAD_COLOR,
        "resize": "bicubic",
        "reduced": [MAX_REDUCTION, REDUCED_MARGIN] if fast else None,
    }


def to_square(pixels: np.ndarray, size: int, *, fast: bool, out: np.ndarray | None = None) -> np.ndarray:
    """(height, width, 3) uint8 -> (size, size, 3) uint8, content centred on `PAD_COLOR`, bicubic; Pillow's own for `fast=False`, as
    published. It lies in `out`, if given.

    The padded square is never held, yet the result is the same to the bit: bicubic goes along the rows first and then down the columns,
    so rows are padded and narrowed strip by strip, and columns padded after that.
    """
    resize = _resize_simd if fast else _resize_pillow
    height, width = pixels.shape[:2]
    if height != width:
        side = max(height, width)
        rows = max(1, _STRIP_PIXELS // side)
        narrow = np.empty((height, size, 3), np.uint8)
        for top in range(0, height, rows):
            strip = pixels[top : top + rows]
            resize(_pad(strip, len(strip), side), narrow[top : top + rows])
        pixels = _pad(narrow, side, size)
    if out is None:
        out = np.empty((size, size, 3), np.uint8)
    resize(pixels, out)
    return out


def thumbnail(picture: Picture, size: int) -> bytes:
    """Make a JPEG of the picture's content without its padding; its long side is `size` pixels, or fewer if the picture has fewer."""
    square = picture.pixels.shape[0]
    side = max(picture.width, picture.height)
    width, height = (max(1, round(square * length / side)) for length in (picture.width, picture.height))
    left, top = (square - width) // 2, (square - height) // 2
    content = Image.fromarray(picture.pixels[top : top + height, left : left + width])
    content.thumbnail((size, size), Image.Resampling.BICUBIC)
    return cast(bytes, simplejpeg.encode_jpeg(np.array(content), quality=75, colorsubsampling="420"))


def _reduction(side: int, size: int) -> int:
    """Return 1, 2 or 4: scales between decode no faster than the next larger; at 8, a block's mean alone, scores drift 20 times as far."""
    factor = 1
    while factor < MAX_REDUCTION and side >= 2 * factor * REDUCED_MARGIN * size:
        factor *= 2
    return factor


def _pad(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Centre `pixels` on a (height, width, 3) ground of `PAD_COLOR`."""
    inner_height, inner_width = pixels.shape[:2]
    if (inner_height, inner_width) == (height, width):
        return pixels
    ground = np.empty((height, width * 3), np.uint8)
    ground[:] = np.tile(np.array(PAD_COLOR, np.uint8), width)  # whole rows: ten times faster than pixel by pixel
    padded = ground.reshape(height, width, 3)
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    padded[top : top + inner_height, left : left + inner_width] = pixels
    return padded


def _resize_pillow(pixels: np.ndarray, out: np.ndarray) -> None:
    height, width = out.shape[:2]
    out[:] = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def _resize_simd(pixels: np.ndarray, out: np.ndarray) -> None:
    """Resize with the same filter, at most 2 levels from Pillow's (1 in a few values of a thousand) and about eight times faster."""
    if pixels.shape == out.shape:
        out[:] = pixels
        return
    import torch

    # What `torch.nn.functional.interpolate` calls, which cannot write into a given place: a twentieth of fetch and decode.
    height, width = out.shape[:2]
    torch.ops.aten._upsample_bicubic2d_aa.out(_channels_last(pixels), [height, width], False, None, None, out=_channels_last(out))


def _channels_last(pixels: np.ndarray) -> torch.Tensor:
    import torch

    return torch.from_numpy(pixels)[None].permute(0, 3, 1, 2)  # indexed before permuting: torch must see its strides as NHWC
