"""Small files of every format and defect that a collection holds, made on the spot, each with what must become of it."""

import io
import struct
import zlib

import numpy as np
import simplejpeg
from PIL import Image

from artquant.core.schema import RejectClass
from artquant.images.square import load
from bench import picture_writers as layouts
from tests.colour_profiles import ADOBE_RGB, WIDE_P3, cmyk_profile_where_every_ink_is_green, grey_profile, matrix_profile

CORNERS = ((220, 30, 30), (30, 200, 30), (30, 30, 210), (230, 220, 40))  # top left, top right, bottom left, bottom right


def scene(width: int = 96, height: int = 64) -> Image.Image:
    """Four coloured quarters under a gentle wave: no symmetry, no flat areas."""
    pixels = np.empty((height, width, 3), float)
    halves = ((slice(None, height // 2), slice(height // 2, None)), (slice(None, width // 2), slice(width // 2, None)))
    for index, color in enumerate(CORNERS):
        pixels[halves[0][index // 2], halves[1][index % 2]] = color
    rows, columns = np.mgrid[:height, :width]
    pixels += 8 * np.sin(rows / 3)[..., None] + 8 * np.cos(columns / 5)[..., None]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def filled(color: tuple[int, ...], mode: str = "RGB") -> Image.Image:
    return Image.new(mode, (32, 32), color)


def pixels_of(data: bytes, size: int = 64, *, fast: bool = True) -> np.ndarray:
    """(size, size, 3) int: what the file becomes."""
    return load(data, size, fast=fast).pixels.astype(int)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def oriented(kind: str, orientation: int, image: Image.Image | None = None) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    if kind == "TIFF":
        return encode(image or scene(), kind, tiffinfo={274: orientation})
    return encode(image or scene(), kind, exif=exif.tobytes())


def ycck_jpeg(image: Image.Image) -> bytes:
    """As Photoshop writes CMYK: YCCK, inverted, Adobe marker."""
    return simplejpeg.encode_jpeg(255 - np.array(image.convert("CMYK")), quality=95, colorspace="CMYK", colorsubsampling="444")


def png(width: int, height: int, bits: int, color_type: int, rows: bytes, *chunks: bytes) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">2I5B", width, height, bits, color_type, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_sixteen_bit_rgb(image: Image.Image) -> bytes:
    rows = (np.array(image).astype(">u2") * 257).reshape(image.height, -1)
    return png(*image.size, 16, 2, b"".join(b"\0" + row.tobytes() for row in rows))


def tiff(pixels: np.ndarray, photometric: int, *, sample_format: int = 1) -> bytes:
    """Uncompressed, little-endian, one strip. `pixels` is (height, width) or (height, width, samples)."""
    height, width = pixels.shape[:2]
    samples = pixels.shape[2] if pixels.ndim == 3 else 1
    body = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    bits = struct.pack(f"<{samples}H", *[pixels.itemsize * 8] * samples)
    formats = struct.pack(f"<{samples}H", *[sample_format] * samples)
    extras, fields = b"", []
    values = [(256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1), (262, 3, photometric), (273, 4, 8), (277, 3, samples)]
    for tag, kind, value in [*values, (278, 4, height), (279, 4, len(body)), (339, 3, formats)]:
        if isinstance(value, int):
            fields.append(struct.pack("<2H2I", tag, kind, 1, value))
        elif len(value) <= 4:
            fields.append(struct.pack("<2HI4s", tag, kind, samples, value))
        else:
            fields.append(struct.pack("<2H2I", tag, kind, samples, 8 + len(body) + len(extras)))
            extras += value
    directory = struct.pack("<H", len(fields)) + b"".join(fields) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(body) + len(extras)) + body + extras + directory


def make_picture_files() -> dict[str, tuple[bytes, RejectClass | None]]:
    """File name -> (its bytes, the class under which it must be refused or None where it must load)."""
    good = _good()
    return {name: (data, None) for name, data in good.items()} | {name: (data, refused) for name, (data, refused) in _bad(good).items()}


def _good() -> dict[str, bytes]:
    rgb = scene()
    grey = rgb.convert("L")
    clear = rgb.copy()
    clear.putalpha(Image.linear_gradient("L").resize(rgb.size))
    palette = rgb.quantize(32)
    deep = np.array(grey).astype(np.uint16) * 257
    files = {
        "baseline.jpg": encode(rgb, "JPEG", quality=90),
        "progressive.jpg": encode(rgb, "JPEG", progressive=True),
        "unsubsampled.jpg": encode(rgb, "JPEG", subsampling=0, quality=95),
        "optimized_restarts.jpg": encode(rgb, "JPEG", optimize=True, restart_marker_rows=1),
        "large_progressive.jpg": encode(scene(1500, 2000), "JPEG", progressive=True),
        "rgb_not_ycc.jpg": encode(rgb, "JPEG", keep_rgb=True),
        "grey.jpg": encode(grey, "JPEG"),
        "grey_profile.jpg": encode(grey, "JPEG", icc_profile=grey_profile(1.0)),
        "cmyk_adobe.jpg": encode(rgb.convert("CMYK"), "JPEG", quality=95),
        "ycck_adobe.jpg": ycck_jpeg(rgb),
        "cmyk_profile.jpg": encode(rgb.convert("CMYK"), "JPEG", icc_profile=cmyk_profile_where_every_ink_is_green()),
        "adobe_rgb.jpg": encode(rgb, "JPEG", icc_profile=matrix_profile(ADOBE_RGB)),
        "broken_profile.jpg": encode(rgb, "JPEG", icc_profile=b"no profile at all"),
        "profile_of_other_space.jpg": encode(rgb, "JPEG", icc_profile=grey_profile(2.2)),
        "broken_exif.jpg": encode(rgb, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f"),
        "trailing_bytes.jpg": encode(rgb, "JPEG") + b"appended by a camera" * 20,
        "jpeg_named.png": encode(rgb, "JPEG"),
        "no_extension": encode(rgb, "PNG"),
        "two_pictures.mpo.jpg": encode(rgb, "MPO", save_all=True, append_images=[rgb.rotate(180)]),
        "one_pixel.jpg": encode(Image.new("RGB", (1, 1), "red"), "JPEG"),
        "rgb.png": encode(rgb, "PNG"),
        "palette.png": encode(palette, "PNG"),
        "palette_transparent.png": encode(palette, "PNG", transparency=0),
        "palette_half_transparent.png": encode(palette, "PNG", transparency=bytes(range(0, 256, 8))),
        "grey.png": encode(grey, "PNG"),
        "grey_transparent.png": encode(grey, "PNG", transparency=30),
        "grey_alpha.png": encode(clear.convert("LA"), "PNG"),
        "rgb_transparent.png": encode(rgb, "PNG", transparency=(220, 30, 30)),
        "rgba.png": encode(clear, "PNG"),
        "one_bit.png": encode(rgb.convert("1"), "PNG"),
        "grey_16_bit.png": encode(Image.fromarray(deep), "PNG"),
        "rgb_16_bit.png": png_sixteen_bit_rgb(rgb),
        "interlaced_one_pixel.png": png(1, 1, 8, 2, b"\0\1\2\3"),
        "profile.png": encode(rgb, "PNG", icc_profile=matrix_profile(WIDE_P3)),
        "lossy.webp": encode(rgb, "WEBP"),
        "lossless_alpha.webp": encode(clear, "WEBP", lossless=True),
        "animated.webp": encode(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(180)]),
        "palette.gif": encode(palette, "GIF"),
        "transparent.gif": encode(palette, "GIF", transparency=0),
        "animated.gif": encode(palette, "GIF", save_all=True, append_images=[rgb.rotate(180).quantize(32)]),
        "plain.tif": encode(rgb, "TIFF"),
        "lzw.tif": encode(rgb, "TIFF", compression="tiff_lzw"),
        "deflate_alpha.tif": encode(clear, "TIFF", compression="tiff_adobe_deflate"),
        "jpeg_inside.tif": encode(rgb, "TIFF", compression="jpeg"),
        "cmyk.tif": encode(rgb.convert("CMYK"), "TIFF"),
        "grey_16_bit.tif": tiff(deep, 1),
        "grey_16_bit_white_is_zero.tif": tiff(~deep, 0),
        "rgb_16_bit.tif": tiff(np.array(rgb).astype(np.uint16) * 257, 2),
        "fax.tif": encode(rgb.convert("1"), "TIFF", compression="group4"),
        "two_pages.tif": encode(rgb, "TIFF", save_all=True, append_images=[rgb.rotate(180)]),
        "planes_16_bit.tif": layouts.tiff(np.array(clear).astype(int) * 257, 2, 16, planar=True, compression=layouts.LZW, extra=(2,)),
        "big.tif": layouts.tiff(np.array(rgb).astype(int), 2, planar=True, order=">", big=True, tile=(32, 16)),
        "lossy.avif": encode(rgb, "AVIF"),
        "alpha.avif": encode(clear, "AVIF", quality=90),
        "animated.avif": encode(rgb, "AVIF", save_all=True, append_images=[rgb.rotate(180)]),
        "side_data.webp": encode(rgb, "WEBP", exif=b"Exif\0\0", xmp=b"<x/>"),
        "rgb.bmp": encode(rgb, "BMP"),
        "palette.bmp": encode(palette, "BMP"),
        "very_wide.png": encode(Image.new("RGB", (3000, 2), "red"), "PNG"),
        "very_tall.jpg": encode(Image.new("RGB", (2, 3000), "red"), "JPEG"),
    }
    return files | {f"orientation_{value}.jpg": oriented("JPEG", value) for value in (0, 3, 6, 9)}


def _bad(good: dict[str, bytes]) -> dict[str, tuple[bytes, RejectClass]]:
    large_header = struct.pack(">2I5B", 60_000, 60_000, 8, 2, 0, 0, 0)
    page = b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head><svg></svg></html>"
    jpegs = ("baseline.jpg", "progressive.jpg", "grey.jpg", "cmyk_adobe.jpg")
    others = ("rgb.png", "rgba.png", "lossy.webp", "lossless_alpha.webp", "lossy.avif", "palette.gif", "plain.tif", "lzw.tif", "rgb.bmp")
    cut = {f"cut_{name}": good[name][: len(good[name]) * 6 // 10] for name in (*jpegs, *others)}
    cut["cut_but_ended.jpg"] = cut["cut_baseline.jpg"] + b"\xff\xd9"
    cut["header_only.jpg"] = good["baseline.jpg"][:24]
    cut["header_only.png"] = good["rgb.png"][:20]
    cut["magic_only.tif"] = b"II*\0"
    return {
        **{name: (data, RejectClass.TRUNCATED) for name, data in cut.items()},
        "empty.jpg": (b"", RejectClass.EMPTY),
        "zero_wide.png": (png(0, 5, 8, 2, b""), RejectClass.EMPTY),
        "zero_high.gif": (_gif_header(5, 0), RejectClass.EMPTY),
        "zero_high.jpg": (_jpeg_of_size(good["baseline.jpg"], 96, 0), RejectClass.EMPTY),
        "zero_high.tif": (tiff(np.ones((0, 4), np.uint8), 1), RejectClass.EMPTY),
        "page.jpg": (page, RejectClass.NOT_AN_IMAGE),
        "noise.jpg": (np.random.default_rng(0).bytes(4000), RejectClass.NOT_AN_IMAGE),
        "text.bmp": (b"BMW drives, and this is text, not a bitmap at all", RejectClass.NOT_AN_IMAGE),
        "zeros.png": (bytes(4000), RejectClass.NOT_AN_IMAGE),
        "film.gif": (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(100), RejectClass.NOT_AN_IMAGE),
        "huge.png": (b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", large_header) + png_chunk(b"IDAT", b""), RejectClass.TOO_LARGE),
        "huge.gif": (_gif_header(65_535, 65_535), RejectClass.TOO_LARGE),
        "huge.jpg": (_jpeg_of_size(good["baseline.jpg"], 65_000, 65_000), RejectClass.TOO_LARGE),
        "drawing.svg": (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', RejectClass.UNSUPPORTED),
        "photo.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100), RejectClass.UNSUPPORTED),
        "float.tif": (tiff(np.ones((4, 4), np.float32), 1, sample_format=3), RejectClass.UNSUPPORTED),
    }


def _gif_header(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<2H3B", width, height, 0, 0, 0) + b"," + struct.pack("<4H2B", 0, 0, width, height, 0, 2) + b"\0;"


def _jpeg_of_size(data: bytes, width: int, height: int) -> bytes:
    """The same JPEG with another size in its frame header."""
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">2H", height, width) + data[at + 4 :]
