"""TIFFs that Pillow does not read as they are: above all those whose samples lie in planes apart, as Photoshop writes "per channel".

Of 16 bits, or with further channels, Pillow reads planes as garbage or not at all (its pull request 5178). A plane is what a grey page is,
and grey pages it reads right: the file is given one directory for each plane, and the pages are put together here.
"""

from __future__ import annotations

import io
import struct

from PIL import Image, ImageChops
from PIL.TiffImagePlugin import TiffImageFile

from artquant.core.errors import Reject
from artquant.core.schema import RejectClass
from artquant.images import tiff_directories as tiff
from artquant.images.tiff_directories import Directory

_COLORS = {0: "L", 1: "L", 2: "RGB", 5: "CMYK"}  # photometric interpretation -> mode
_ASSOCIATED, _UNASSOCIATED = 1, 2
_SHORT, _LONG, _UNDEFINED = 3, 4, 7
_KEPT = (tiff.WIDTH, tiff.HEIGHT, tiff.COMPRESSION, tiff.FILL_ORDER, tiff.ORIENTATION, tiff.ROWS_PER_STRIP, tiff.PREDICTOR)
_TILE_SIZE = (tiff.TILE_WIDTH, tiff.TILE_HEIGHT)
_PLACES = (tiff.STRIP_OFFSETS, tiff.STRIP_COUNTS, tiff.TILE_OFFSETS, tiff.TILE_COUNTS)
_KEPT_OF_WHOLE = (
    *(tiff.BITS, tiff.PHOTOMETRIC, tiff.SAMPLES, tiff.EXTRA_SAMPLES, tiff.SAMPLE_FORMAT, tiff.COLOR_MAP, tiff.SUBSAMPLING),
    *(tiff.T4_OPTIONS, tiff.T6_OPTIONS, tiff.JPEG_TABLES, tiff.PROFILE),
)
_SHORTS = frozenset({*_KEPT, *_KEPT_OF_WHOLE}) - {tiff.WIDTH, tiff.HEIGHT, tiff.ROWS_PER_STRIP, tiff.T4_OPTIONS, tiff.T6_OPTIONS}

Page = dict[int, tuple[int, ...] | bytes]  # tag -> values, by tag


class PlanarTiffFile(TiffImageFile):
    """A TIFF in planes apart, opened as its pages of one plane each. `num_planes`: those that `merge` reads."""

    def __init__(self, directory: Directory) -> None:
        """Open the header. Raises Reject for what is neither grey, RGB nor CMYK of 8 or 16 bits, and as `TiffImageFile` does."""
        photometric = directory.value(tiff.PHOTOMETRIC, -1)
        num_samples = directory.value(tiff.SAMPLES, 1)
        bits = set(directory.values(tiff.BITS))
        color = _COLORS.get(photometric)
        if color is None or bits not in ({8}, {16}):
            raise Reject(RejectClass.UNSUPPORTED, "a TIFF with planes apart that are not of grey, RGB or CMYK in 8 or 16 bits")
        num_colors = len(color)
        if num_samples < num_colors:
            raise Reject(RejectClass.TRUNCATED, f"broken off or damaged ({num_samples} of {num_colors} planes)")
        extra = (*directory.values(tiff.EXTRA_SAMPLES), *[0] * num_samples)[: num_samples - num_colors]
        alpha = next((index for index, kind in enumerate(extra) if kind in (_ASSOCIATED, _UNASSOCIATED)), None)
        planes = [*range(num_colors), *([] if alpha is None else [num_colors + alpha])]
        if color == "CMYK" and alpha is not None:
            raise Reject(RejectClass.UNSUPPORTED, "a TIFF of CMYK with alpha")
        self.num_planes = len(planes)
        self._merged_mode = color if alpha is None else f"{color}{'a' if extra[alpha] == _ASSOCIATED else 'A'}"
        self._is_white_zero = photometric == 0
        pages = [_plane(directory, plane, num_samples, bits) for plane in planes]
        super().__init__(io.BytesIO(_with_pages(directory, pages)))
        self.info["icc_profile"] = directory.raw(tiff.PROFILE)

    def merge(self) -> Image.Image:
        """Decode the planes and put them together as L, LA, RGB, RGBA or CMYK, upright."""
        info = dict(self.info)
        bands = []
        for plane in range(self.num_planes):
            self.seek(plane)
            self.load()
            bands.append(to_eight_bits(self) if self.mode.startswith("I;16") else self.copy())
        if self._is_white_zero:
            bands[0] = ImageChops.invert(bands[0])
        merged = bands[0] if len(bands) == 1 else Image.merge(self._merged_mode, bands)
        merged.info = info
        return merged


def to_eight_bits(image: Image.Image) -> Image.Image:
    """Convert 16-bit grey to L by its high byte, as Pillow itself does for 16-bit colour."""
    import numpy as np

    tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    bits = tags.get(tiff.BITS, (16,))[0]
    grey = (np.asarray(image) >> (bits - 8)).astype(np.uint8)
    return Image.fromarray(~grey if tags.get(tiff.PHOTOMETRIC) == 0 else grey)


def lies_in_planes(directory: Directory) -> bool:
    """Tell whether this needs `PlanarTiffFile`: 16-bit grey with white as zero does as well, which Pillow knows in one byte order only."""
    is_deep_white_zero = directory.value(tiff.PHOTOMETRIC, 1) == 0 and directory.values(tiff.BITS) == (16,)
    return is_deep_white_zero or (directory.value(tiff.PLANAR, 1) == 2 and directory.value(tiff.SAMPLES, 1) > 1)


def as_one_page(directory: Directory) -> bytes:
    """Return the file with this directory as its only one, for readers of first pages; the file itself, if that is so already.

    It is a classic file then: Pillow takes a big-endian BigTIFF for one.
    """
    is_planar, is_readable = directory.value(tiff.PLANAR, 1) == 2, directory.order == "<" or not directory.is_big
    if directory.is_first and is_readable and not is_planar:
        return directory.data
    page = {tag: directory.raw(tag) or directory.values(tag) for tag in (*_KEPT, *_TILE_SIZE, *_PLACES, *_KEPT_OF_WHOLE)}
    return _with_pages(directory, [{tag: values for tag, values in sorted(page.items()) if values}])


def _plane(directory: Directory, plane: int, num_samples: int, bits: set[int]) -> Page:
    """Describe a plane as a grey page."""
    page: Page = {tag: directory.values(tag)[:1] for tag in (*_KEPT, *_TILE_SIZE)}
    page |= {tiff.BITS: tuple(bits), tiff.PHOTOMETRIC: (1,), tiff.SAMPLES: (1,), tiff.JPEG_TABLES: directory.raw(tiff.JPEG_TABLES)}
    for tag in _PLACES:
        values = directory.values(tag)
        num = len(values) // num_samples
        page[tag] = values[plane * num : (plane + 1) * num]
    return {tag: values for tag, values in sorted(page.items()) if values}


def _with_pages(directory: Directory, pages: list[Page]) -> bytes:
    """Return the file as a classic one with these pages instead of its own, all whose values follow at its end."""
    order = directory.order
    out = bytearray(directory.data)
    out[:8] = directory.data[:2] + struct.pack(f"{order}HI", 42, 0)
    link = 4  # where the place of the next directory is written
    for page in pages:
        entries = b""
        for tag, values in page.items():
            if isinstance(values, bytes):
                packed, kind = values, _UNDEFINED
            elif tag in _SHORTS:
                packed, kind = struct.pack(f"{order}{len(values)}H", *values), _SHORT
            else:
                packed, kind = struct.pack(f"{order}{len(values)}I", *values), _LONG
            if len(packed) > 4:
                out += bytes(len(out) % 2)
                place = len(out)
                out += packed
                packed = struct.pack(f"{order}I", place)
            entries += struct.pack(f"{order}HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
        out += bytes(len(out) % 2)
        struct.pack_into(f"{order}I", out, link, len(out))
        out += struct.pack(f"{order}H", len(page)) + entries
        link = len(out)
        out += bytes(4)
    return bytes(out)
