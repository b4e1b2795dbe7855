"""JPEG, WebP, AVIF, GIF and BMP of a known scene, and the first bytes of kinds that are not read; the other half of `picture_cases`."""

import gzip
import struct
from collections.abc import Iterator
from itertools import product

import numpy as np
from PIL import Image, ImageCms

from artquant.core.schema import RejectClass
from artquant.images.color import profile_of_codes
from bench.picture_cases import Case, encoded, over_white, scene, turned_back
from bench.picture_writers import png

_LOSSY = 8.0  # levels on average
_CODE_SIZES = 16


def upright(name: str) -> tuple[Image.Image, np.ndarray]:
    pixels = scene()
    return Image.fromarray(pixels).convert(name), pixels


def jpeg_cases() -> Iterator[Case]:
    """Yield sampling, progressive, colours, orientation, segments that are damaged, and an end that is missing."""
    image, right = upright("RGB")
    grey = np.repeat(np.array(image.convert("L"))[..., None], 3, axis=2)
    plain: dict[str, dict[str, object]] = {"4:4:4": {"subsampling": 0}, "4:2:2": {"subsampling": 1}, "4:2:0": {"subsampling": 2}}
    for (name, options), progressive in product(plain.items(), (False, True)):
        data = encoded("JPEG", image, quality=95, progressive=progressive, **options)
        yield Case("JPEG", f"{name}, progressive {progressive}", data, right, _LOSSY, True)
    for sampling in product((1, 2, 3, 4), (1, 2, 4)):
        for others in (((1, 1), (1, 1)), ((1, 1), sampling), (sampling, sampling)):
            factors = (sampling, *others)
            if sum(across * down for across, down in factors) <= 10:
                yield Case("JPEG, any sampling", str(factors), *dc_jpeg(factors), tolerance=_LOSSY, is_lossy=True)
    yield Case("JPEG", "grey", encoded("JPEG", image.convert("L"), quality=95), grey, _LOSSY, True)
    yield Case("JPEG", "RGB, not YCbCr", encoded("JPEG", image, quality=95, keep_rgb=True), right, _LOSSY, True)
    for progressive in (False, True):
        yield Case(
            "JPEG",
            f"CMYK, progressive {progressive}",
            encoded("JPEG", image.convert("CMYK"), quality=95, progressive=progressive),
            right,
            _LOSSY,
            True,
        )
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[274] = orientation
        data = encoded("JPEG", Image.fromarray(np.ascontiguousarray(turned_back(right, orientation))), quality=95, exif=exif)
        yield Case("JPEG orientation", str(orientation), data, right, _LOSSY, True)
    base = encoded("JPEG", image, quality=95, subsampling=0)
    xmp = b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    segments = {
        "XMP alone turns": (0xE1, xmp),
        "garbage EXIF": (0xE1, b"Exif\0\0garbage"),
        "short APP1": (0xE1, b"E"),
        "empty APP2": (0xE2, b""),
    }
    segments |= {"broken profile": (0xE2, b"ICC_PROFILE\0\1\1no profile"), "second half of a profile": (0xE2, b"ICC_PROFILE\0\2\2half")}
    segments |= {
        "broken Photoshop": (0xED, b"Photoshop 3.0\0" + b"8BIM\xff\xff\xff"),
        "comment": (0xFE, bytes(60_000)),
        "MPF": (0xE2, b"MPF\0garbage"),
    }
    for name, (marker, body) in segments.items():
        part = bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body
        yield Case("JPEG side data", name, base[:2] + part + base[2:], right, _LOSSY, True)
    yield Case("JPEG cut", "without its end alone", base[:-2], right, _LOSSY, True)
    yield Case("JPEG cut", "with bytes after its end", base + bytes(1000), right, _LOSSY, True)
    for mode, share in product(("L", "RGB", "CMYK"), (30, 60, 90)):
        data = encoded("JPEG", image.convert(mode).resize((450, 310)), quality=95)
        cut = data[: len(data) * share // 100]
        for name, end in (("as it is", b""), ("and ended", b"\xff\xd9")):
            yield Case("JPEG cut", f"{mode} after {share} %, {name}", cut + end, RejectClass.TRUNCATED)


def dc_jpeg(sampling: tuple[tuple[int, int], ...]) -> tuple[bytes, np.ndarray]:
    """Return a baseline JPEG of one colour a block, of any sampling factors (across, down), and its pixels: four quarters."""
    most_across, most_down = (max(factors[axis] for factors in sampling) for axis in (0, 1))
    units = 4  # minimum coded units across and down
    side = np.array([most_down, most_across]) * 8 * units
    quarters = np.array([(180, 90, 160), (60, 150, 100), (120, 200, 90), (200, 120, 128)])  # Y, Cb, Cr
    bits, previous = "", [0, 0, 0]
    for row, column in product(range(units), range(units)):
        color = quarters[2 * (row >= units // 2) + (column >= units // 2)]
        for index, (across, down) in enumerate(sampling):
            for _ in range(across * down):
                difference = int(color[index]) - 128 - previous[index]  # quantised by 8: a DC of eight times the level above 128
                previous[index] += difference
                size = abs(difference).bit_length()
                bits += f"{size:04b}" + (f"{difference if difference > 0 else difference + (1 << size) - 1:0{size}b}" if size else "") + "0"
    bits += "1" * (-len(bits) % 8)
    body = bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)).replace(b"\xff", b"\xff\0")

    def segment(marker: int, content: bytes) -> bytes:
        return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content

    frame = struct.pack(">BHHB", 8, *side.tolist(), 3) + b"".join(bytes([i + 1, a << 4 | d, 0]) for i, (a, d) in enumerate(sampling))
    dc = b"\0" + bytes([0, 0, 0, 12, *[0] * 12]) + bytes(range(12))
    ac = b"\x10" + bytes([1, *[0] * 15]) + b"\0"
    scan = b"\3" + b"".join(bytes([i + 1, 0]) for i in range(3)) + b"\0\x3f\0"
    data = b"\xff\xd8" + segment(0xDB, b"\0" + bytes([8] * 64)) + segment(0xC0, frame) + segment(0xC4, dc) + segment(0xC4, ac)
    data += segment(0xDA, scan) + body + b"\xff\xd9"
    luma, blue, red = quarters[..., 0], quarters[..., 1] - 128, quarters[..., 2] - 128
    colors = np.clip(np.round(np.stack([luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue], 1)), 0, 255)
    blocks = colors.astype(np.uint8).reshape(2, 2, 3)
    return data, blocks.repeat(side[0] // 2, axis=0).repeat(side[1] // 2, axis=1)


def avif_cases() -> Iterator[Case]:
    """Yield sampling, alpha, orientation, profiles and colour codes, animation; cut, and frames larger than the file says."""
    image, right = upright("RGB")
    for subsampling in ("4:2:0", "4:2:2", "4:4:4"):
        yield Case("AVIF", subsampling, encoded("AVIF", image, quality=95, subsampling=subsampling), right, _LOSSY, True)
    yield Case("AVIF", "grey", encoded("AVIF", image.convert("L"), quality=95), np.array(image.convert("L").convert("RGB")), _LOSSY, True)
    alpha = np.linspace(0, 255, right[..., 0].size).reshape(right.shape[:2]).astype(np.uint8)
    clear = Image.fromarray(np.dstack([right, alpha]))
    yield Case("AVIF", "alpha", encoded("AVIF", clear, quality=95), over_white(right, alpha), _LOSSY, True)
    film = encoded("AVIF", image, quality=95, save_all=True, append_images=[image.rotate(180)])
    yield Case("AVIF", "first of an animation", film, right, _LOSSY, True)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[274] = orientation
        data = encoded("AVIF", Image.fromarray(np.ascontiguousarray(turned_back(right, orientation))), quality=95, exif=exif)
        yield Case("AVIF orientation", str(orientation), data, right, _LOSSY, True)
    base = encoded("AVIF", image, quality=95, subsampling="4:4:4")
    at = base.index(b"colrnclx") + 8
    for primaries, transfer in ((1, 13), (2, 2), (12, 13), (9, 1), (1, 8), (1, 4)):
        yield Case(
            "AVIF colours",
            f"primaries {primaries}, transfer {transfer}",
            _coded(base, at, primaries, transfer),
            in_srgb(right, primaries, transfer),
            _LOSSY,
            True,
        )
    for transfer in (16, 18):
        yield Case("AVIF colours", f"high dynamic range, transfer {transfer}", _coded(base, at, 9, transfer), RejectClass.UNSUPPORTED)
    for share in (10, 40, 80, 99):
        yield Case("AVIF cut", f"after {share} %", base[: len(base) * share // 100], RejectClass.TRUNCATED)
    large = encoded("AVIF", Image.new("RGB", (2000, 2000), "red"), quality=30, speed=10)
    at = large.index(b"ispe") + 8
    yield Case(
        "AVIF that lies", "4 megapixels as 16 x 16", large[:at] + struct.pack(">2I", 16, 16) + large[at + 8 :], RejectClass.TOO_LARGE
    )


def _coded(data: bytes, at: int, primaries: int, transfer: int) -> bytes:
    return data[:at] + struct.pack(">2H", primaries, transfer) + data[at + 4 :]


def in_srgb(pixels: np.ndarray, primaries: int, transfer: int) -> np.ndarray:
    """Return the pixels under these codes as sRGB, by Little CMS: `tests/images/test_color.py` holds the profile against the definition."""
    profile = profile_of_codes(primaries, transfer)
    if profile is None:
        return pixels
    import io

    converted = ImageCms.profileToProfile(
        Image.fromarray(pixels), ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
    )
    return np.asarray(converted)


def webp_gif_bmp_cases() -> Iterator[Case]:
    image, right = upright("RGB")
    alpha = np.linspace(0, 255, right[..., 0].size).reshape(right.shape[:2]).astype(np.uint8)
    clear = Image.fromarray(np.dstack([right, alpha]))
    lossless = encoded("WEBP", image, lossless=True)
    yield Case("WebP", "lossy", encoded("WEBP", image, quality=95), right, _LOSSY, True)
    yield Case("WebP", "lossless", lossless, right)
    yield Case("WebP", "alpha", encoded("WEBP", clear, lossless=True, exact=True), over_white(right, alpha), 2)
    yield Case(
        "WebP", "first of an animation", encoded("WEBP", image, lossless=True, save_all=True, append_images=[image.rotate(90)]), right
    )
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[274] = orientation
        stored = Image.fromarray(np.ascontiguousarray(turned_back(right, orientation)))
        yield Case("WebP orientation", str(orientation), encoded("WEBP", stored, lossless=True, exif=exif), right)
    rich = encoded("WEBP", image, lossless=True, exif=b"Exif\0\0garbage", xmp=b"<x/>" * 100)
    yield Case("WebP side data", "garbage in EXIF", rich, right)
    at = rich.index(b"XMP ") + 4
    for name, size in (("longer than the file", 1 << 20), ("of no length", 0)):
        yield Case("WebP side data", f"XMP {name}", rich[:at] + struct.pack("<I", size) + rich[at + 4 :], right)
    yield Case("WebP side data", "cut in its XMP", rich[: at + 50], right)
    yield Case("WebP side data", "with bytes after its end", rich + bytes(100), right)
    yield Case("WebP cut", "after 60 %", lossless[: len(lossless) * 6 // 10], RejectClass.TRUNCATED)
    palette = image.quantize(64)
    shown = np.array(palette.convert("RGB"))
    yield Case("GIF", "palette", encoded("GIF", palette), shown)
    yield Case("GIF", "first of an animation", encoded("GIF", palette, save_all=True, append_images=[palette.rotate(180)]), shown)
    for mode in ("1", "L", "P", "RGB"):
        picture = image.quantize(64) if mode == "P" else image.convert(mode)
        yield Case("BMP", mode, encoded("BMP", picture), np.array(picture.convert("RGB")))


def other_kinds() -> Iterator[Case]:
    """Yield the first bytes of pictures that are not read, and of what is no picture."""

    def brands(*names: str) -> bytes:
        body = b"ftyp" + names[0].encode() + bytes(4) + "".join(names[1:]).encode()
        return struct.pack(">I", len(body) + 4) + body + bytes(200)

    heif = {
        f"HEIF {name}": brands(name, "mif1", "heic")
        for name in ("heic", "heix", "hevc", "mif1", "msf1", "MiHE", "MiHB", "miaf", "avci", "jpeg")
    }
    pictures = heif | {
        "HEIF of an unknown major brand": brands("abcd", "mif1", "miaf"),
        "CR3": brands("crx ", "crx ", "isom"),
        "CR2": b"II*\0\x10\0\0\0CR\2\0" + bytes(200),
        "Phase One": b"II*\0\x08\0\0\0IIII" + bytes(200),
        **{
            f"camera raw {head[:8]!r}": head + bytes(200)
            for head in (
                b"FUJIFILMCCD-RAW 0201",
                b"IIRO\x08\0\0\0",
                b"IIRS\x08\0\0\0",
                b"MMOR",
                b"IIU\0\x18\0\0\0",
                b"\0MRM",
                b"FOVb",
                b"II\x1a\0\0\0HEAPCCDR",
            )
        },
        "JPEG-LS": b"\xff\xd8\xff\xf7\0\x0b\x08\0\x10\0\x10\1\1\x11\0" + bytes(200),
        "JPEG XR": b"II\xbc\1\x08\0\0\0" + bytes(200),
        "JPEG XL": b"\xff\x0a" + bytes(200),
        "JPEG XL in boxes": b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(200),
        "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(200),
        "JPEG 2000 stream": b"\xff\x4f\xff\x51" + bytes(200),
        "PPM": b"P6\n# made by hand\n4 4\n255\n" + bytes(48),
        "PGM in letters": b"P2 2 2 255 1 2 3 4\n",
        "PFM": b"PF\n4 4\n-1.0\n" + bytes(192),
        "PAM": b"P7\nWIDTH 4\nHEIGHT 4\n" + bytes(64),
        "OpenEXR": b"\x76\x2f\x31\1\2\0\0\0" + bytes(100),
        "Radiance": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n" + bytes(100),
        "XCF": b"gimp xcf v011\0" + bytes(100),
        "Photoshop": b"8BPS\0\1" + bytes(100),
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n",
        "EPS with a preview": b"\xc5\xd0\xd3\xc6" + bytes(100),
        "SVG": b'<?xml version="1.0"?>\n<!-- drawn -->\n<svg xmlns="http://www.w3.org/2000/svg"/>',
        "SVG with a prefix": b'<svg:svg xmlns:svg="http://www.w3.org/2000/svg"/>',
        "PNG as Apple packs it": b"\x89PNG\r\n\x1a\n\0\0\0\4CgBI\x50\0\x20\2" + bytes(100),
        "icon": b"\0\0\1\0\1\0\x10\x10" + bytes(100),
        "DICOM": bytes(128) + b"DICM" + bytes(100),
        "QOI": b"qoif" + struct.pack(">2I2B", 4, 4, 3, 0) + bytes(64),
        "DDS": b"DDS \x7c\0\0\0" + bytes(128),
        "gzip of a PNG": gzip.compress(png(scene().astype(int), 8, 2)),
        "gzip of an SVG": gzip.compress(b'<svg xmlns="http://www.w3.org/2000/svg"/>'),
    }
    others = {
        "web page": b"<!DOCTYPE html>\n<html><svg></svg></html>",
        "MP4": brands("isom", "iso2", "mp41"),
        "QuickTime": brands("qt  "),
        "Matroska": b"\x1a\x45\xdf\xa3" + bytes(100),
        "MP3": b"ID3\4" + bytes(100),
        "PDF": b"%PDF-1.7\n",
        "ZIP": b"PK\3\4\x14\0" + bytes(100),
        "gzip of a text": gzip.compress(b"once upon a time"),
        "gzip of a gzip": gzip.compress(gzip.compress(b"once")),
        "gzip cut": gzip.compress(b"once")[:12],
        "text": b"P1 is a computer\n",
        "zeros": bytes(500),
    }
    for name, data in pictures.items():
        yield Case("Other pictures", name, data, RejectClass.UNSUPPORTED)
    for name, data in others.items():
        yield Case("No pictures", name, data, RejectClass.NOT_AN_IMAGE)
