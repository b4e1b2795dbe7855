"""Bytes -> a picture file whose header was read. The format is told from the content, never from a name, and side data decide nothing."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from PIL import AvifImagePlugin, Image, ImageFile
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from artquant.core.errors import Reject
from artquant.core.schema import RejectClass
from artquant.images import tiff_directories as tiff
from artquant.images.avif_boxes import read_boxes
from artquant.images.color import profile_of_codes
from artquant.images.jpeg_markers import Markers, read_markers
from artquant.images.kinds import READ, kind_of
from artquant.images.png_chunks import read_chunks
from artquant.images.tiff_planes import PlanarTiffFile, as_one_page, lies_in_planes
from artquant.images.webp_chunks import without_side_data

_Reader = TypeVar("_Reader", bound=ImageFile.ImageFile)
_UNSUPPORTED_WORDS = re.compile(r"unsupported|not supported|not implemented|unknown|cannot handle", re.IGNORECASE)
MAX_SCAN_PIXELS = 20_000_000_000  # 100 scans of 200 megapixels, some five to eight seconds of one core
MAX_COVERS = 16  # how often a file's pieces may cover its picture: once for each channel is as often as a sound one does
_NO_JPEG = Markers(is_plain=False, num_scans=0)
_END_OF_JPEG = b"\xff\xd9"

AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # whoever decodes does so in threads of its own


@dataclass(frozen=True)
class Source:
    """A picture file whose header was read, and nothing decoded. `image` is at its stored size, not yet turned upright.

    `data`: the bytes that the decoder gets. `markers`: of a JPEG; of other kinds: not plain, no scans. `held_pixels`: the most pixels that
    the decoder holds: its picture's own, or those of a tile or a frame that may be far larger.
    """

    image: ImageFile.ImageFile
    data: bytes
    markers: Markers
    held_pixels: int


def open_image(data: bytes) -> Source:
    """Read the header. Raises `Reject`: empty, not_an_image, truncated, too_large, unsupported."""
    if not data:
        raise Reject(RejectClass.EMPTY, "no bytes")
    kind = kind_of(data)
    if kind.reject_class is RejectClass.NOT_AN_IMAGE:
        raise Reject(kind.reject_class, kind.name)
    if kind.reject_class is not None:
        raise Reject(kind.reject_class, f"{kind.name}: not one of {', '.join(READ)}")
    try:
        source = _OPENERS[kind.name](data)
    except Exception as error:  # a reader may fail in any way on hostile bytes
        raise reject_for(error) from error
    source.image.info.pop("xmp", None)  # Pillow turns a picture by it where EXIF is silent; browsers do not
    return source


def reject_for(error: Exception) -> Reject:
    """Return the Reject that says what a reader or a decoder meant by its error."""
    if isinstance(error, Reject):
        return error
    message = f"{type(error).__name__}: {error}"
    if isinstance(error, Image.DecompressionBombError):
        return Reject(RejectClass.TOO_LARGE, f"more pixels than its decoder takes ({error})")
    if isinstance(error, MemoryError):
        return Reject(RejectClass.TOO_LARGE, f"does not fit in memory ({message})")
    if isinstance(error, NotImplementedError) or _UNSUPPORTED_WORDS.search(message):
        return Reject(RejectClass.UNSUPPORTED, message)
    return Reject(RejectClass.TRUNCATED, f"broken off or damaged ({message})")


def _open_jpeg(data: bytes) -> Source:
    markers = read_markers(data)
    if markers.is_jpeg_ls:
        raise Reject(RejectClass.UNSUPPORTED, "JPEG-LS")
    if markers.lacks_end and markers.is_plain:  # what decodes it tells whether pixels are missing as well
        data += _END_OF_JPEG
    image = _read(JpegImageFile, data)
    if markers.num_scans * image.width * image.height > MAX_SCAN_PIXELS:
        raise Reject(RejectClass.TOO_LARGE, f"{markers.num_scans} scans of {image.width} x {image.height} pixels")
    return Source(image, data, markers, _piece_pixels(image))


def _open_png(data: bytes) -> Source:
    chunks = read_chunks(data)
    image = _read(PngImageFile, chunks.data)
    image.info["icc_profile"] = profile_of_codes(*chunks.color_codes) if chunks.color_codes else chunks.profile
    if image.mode == "L" and "transparency" in image.info:  # Pillow widens the pixels to 8 bits, and not the grey that is see-through
        most = (1 << chunks.bits) - 1
        image.info["transparency"] = (image.info["transparency"] & most) * 255 // most
    return Source(image, chunks.data, _NO_JPEG, _piece_pixels(image))


def _open_webp(data: bytes) -> Source:
    data = without_side_data(data)
    image = _read(WebPImageFile, data)
    return Source(image, data, _NO_JPEG, _piece_pixels(image))


def _open_tiff(data: bytes) -> Source:
    directory = tiff.find_picture(data)
    image: TiffImageFile
    if directory is not None and lies_in_planes(directory):
        image = PlanarTiffFile(directory)
    else:
        data = data if directory is None else as_one_page(directory)
        image = _read(TiffImageFile, data)
    if not isinstance(image.info.get("icc_profile"), bytes):
        image.info.pop("icc_profile", None)
    width, height = (image.tag_v2.get(tag, 0) for tag in (tiff.TILE_WIDTH, tiff.TILE_HEIGHT))
    tile_pixels = width * height if isinstance(width, int) and isinstance(height, int) else 0
    return Source(image, data, _NO_JPEG, max(_piece_pixels(image), tile_pixels))


def _open_avif(data: bytes) -> Source:
    boxes = read_boxes(data)
    image = _read(AvifImageFile, data)
    _check_covers(image, boxes.coded_pixels)
    if boxes.color_codes and not image.info.get("icc_profile"):
        image.info["icc_profile"] = profile_of_codes(*boxes.color_codes)
    return Source(image, data, _NO_JPEG, max(boxes.coded_pixels, image.width * image.height))


def _opener(reader: type[ImageFile.ImageFile]) -> Callable[[bytes], Source]:
    def open_as_it_is(data: bytes) -> Source:
        image = _read(reader, data)
        return Source(image, data, _NO_JPEG, _piece_pixels(image))

    return open_as_it_is


_OPENERS: dict[str, Callable[[bytes], Source]] = {
    "JPEG": _open_jpeg,
    "PNG": _open_png,
    "WebP": _open_webp,
    "GIF": _opener(GifImageFile),
    "TIFF": _open_tiff,
    "BMP": _opener(BmpImageFile),
    "AVIF": _open_avif,
}


def _read(reader: type[_Reader], data: bytes) -> _Reader:
    image = reader.__new__(reader)
    try:
        image.__init__(io.BytesIO(data))  # type: ignore[misc]  # separate from __new__, so that what was read before an error can be inspected
    except Exception as error:
        if getattr(image, "_mode", "") and 0 in image.size:
            raise Reject(RejectClass.EMPTY, f"the header says {image.width} x {image.height}") from error
        raise
    return image


def _piece_pixels(image: ImageFile.ImageFile) -> int:
    covered = sum(max(1, box[3] - box[1]) * max(1, box[2] - box[0]) for _, box, *_ in image.tile if box)
    _check_covers(image, covered)
    return image.width * image.height


def _check_covers(image: ImageFile.ImageFile, covered: int) -> None:
    """Raise Reject for a file whose pieces are decoded over one another again and again: a small one could keep a core busy for hours."""
    if covered > MAX_COVERS * max(1, image.width * image.height):
        raise Reject(RejectClass.TOO_LARGE, f"its pieces are decoded over its {image.width} x {image.height} pixels again and again")
