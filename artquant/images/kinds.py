"""What a file is, told from its first bytes alone: a picture that is read, one of another kind, or no picture."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from functools import cache

from artquant.core.schema import RejectClass

READ = ("JPEG", "PNG", "WebP", "GIF", "TIFF", "BMP", "AVIF")
_PEEK_BYTES = 4096  # of what a gzip holds

_READ_MAGICS = (
    (rb"\xff\xd8\xff", "JPEG"),
    (rb"\x89PNG\r\n\x1a\n(?!.{4}CgBI)", "PNG"),
    (rb"RIFF.{4}WEBP", "WebP"),
    (rb"GIF8[79]a", "GIF"),
    (rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", "BMP"),
)
_OTHER_PICTURES = (
    (rb"FUJIFILMCCD-RAW|II(?:RO|RS|U\0)|MMOR|\0MRM|FOVb|II\x1a\0\0\0HEAP", "a camera raw file"),
    (rb"II[*]\0.{4}CR[\x01-\x09]|(?:II[*]\0|MM\0[*]).{4}(?:IIII|MMMM)", "a camera raw file"),
    (rb"\x89PNG\r\n\x1a\n.{4}CgBI", "a PNG that is packed for Apple's apps"),
    (rb"II\xbc[\0\x01]", "JPEG XR"),
    (rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", "JPEG 2000"),
    (rb"\0\0\0\x0cJXL \r\n\x87\n|\xff\x0a", "JPEG XL"),
    (rb"\0\0\0\x0cJXS \r\n\x87\n|\xff\x10\xff\x50", "JPEG XS"),
    (rb"\x8b[JM]NG\r\n\x1a\n|\x8aMNG\r\n\x1a\n", "MNG or JNG"),
    (rb"P[1-6](?:\s+#[^\n]*)*\s+\d+\s|P7\s+(?:#[^\n]*\s+)*(?:WIDTH|HEIGHT|DEPTH|MAXVAL)\b|P[fF]\s+\d+\s+\d+\s", "a Netpbm picture (PPM)"),
    (rb"\x76\x2f\x31\x01", "OpenEXR"),
    (rb"#\?(?:RADIANCE|RGBE)\s", "Radiance HDR"),
    (rb"gimp xcf ", "a GIMP picture (XCF)"),
    (rb"8BPS\0", "a Photoshop file"),
    (rb"PK\x03\x04.{26}mimetype(?:image/openraster|application/x-krita)", "a layered painting (OpenRaster, Krita)"),
    (rb"Paint Shop Pro Image File", "a Paint Shop Pro picture"),
    (rb"%!PS[^\n]{0,40} EPSF|%!PS|\xc5\xd0\xd3\xc6", "PostScript (EPS)"),
    (rb"\0\0[\x01\x02]\0[^\0]\0", "an icon file"),
    (rb"icns\0", "an icon file"),
    (rb"DDS \x7c\0\0\0|\xabKTX [12][01]\xbb", "a texture (DDS, KTX)"),
    (rb"qoif.{8}[\x03\x04][\0\x01]", "QOI"),
    (rb"BPG\xfb", "BPG"),
    (rb"FLIF[\x31-\x6f]", "FLIF"),
    (rb"SIMPLE  =", "FITS"),
    (rb".{128}DICM", "DICOM"),
    (rb"AT&TFORM", "DjVu"),
    (rb"SDPX|XPDS|\x80\x2a\x5f\xd7", "a film scan (DPX, Cineon)"),
    (rb"\x59\xa6\x6a\x95", "a Sun raster picture"),
    (rb"\x01\xda[\0\x01][\x01\x02]\0[\x01-\x03]", "an SGI picture"),
    (rb"\x0a[\0\x02-\x05]\x01[\x01\x02\x04\x08]", "PCX"),
    (rb"FORM.{4}(?:ILBM|PBM |ACBM)", "an Amiga picture (ILBM)"),
    (rb"\xd7\xcd\xc6\x9a\0\0|\x01\0\0\0.{36} EMF", "a Windows metafile"),
    (rb"/[*] XPM [*]/|#define\s+\w+_width\s+\d", "an X pixmap"),
    (rb"RIFF.{4}CDR", "a CorelDraw drawing"),
)
_NO_PICTURES = (
    (rb"(?i:[\s\xef\xbb\xbf]*<(?:!doctype html|html|head|body))", "a web page"),
    (rb"\x1a\x45\xdf\xa3|RIFF.{4}AVI |.{4}(?:moov|mdat|wide|pnot)|\0\0\x01[\xba\xb3]|FLV\x01|\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a video"),
    (rb"RIFF.{4}WAVE|ID3[\x02-\x04]|OggS\0|fLaC\0|FORM.{4}AIF[FC]", "a sound file"),
    (rb"%PDF", "a PDF"),
    (rb"PK\x03\x04|7z\xbc\xaf\x27\x1c|Rar!\x1a\x07", "an archive"),
)
_DRAWING = rb"(?i:[\s\xef\xbb\xbf]*<.{0,4000}?(?<=<)(?:\w{1,20}:)?svg\b)"  # after the web pages: those may hold one
_TIFF = rb"II[*+]\0|MM\0[*+]"  # after the camera raws: most of them are TIFFs
_HEIF_BRANDS = frozenset(
    b"heic heix heim heis hevc hevx hevm hevs mif1 mif2 msf1 miaf avci avcs jpeg jpgs vvic vvis evbi evbs j2ki j2is unif 1pic".split()
)


@dataclass(frozen=True)
class Kind:
    """`name`: one of `READ`, or what the file is. `reject_class`: None for a kind that is read."""

    name: str
    reject_class: RejectClass | None = None


def kind_of(data: bytes) -> Kind:
    """Tell the kind of a file of at least one byte."""
    for pattern, kind in _kinds():
        if pattern.match(data):
            return kind
    if data[4:8] == b"ftyp":
        return _kind_of_brands(data)
    if data[:3] == b"\x1f\x8b\x08":
        return _kind_inside_gzip(data)
    return Kind("no image format begins with these bytes", RejectClass.NOT_AN_IMAGE)


@cache
def _kinds() -> list[tuple[re.Pattern[bytes], Kind]]:
    read = [(magic, Kind(name)) for magic, name in _READ_MAGICS]
    other = [(magic, Kind(name, RejectClass.UNSUPPORTED)) for magic, name in _OTHER_PICTURES]
    none = [(magic, Kind(name, RejectClass.NOT_AN_IMAGE)) for magic, name in _NO_PICTURES]
    last = [(_TIFF, Kind("TIFF")), (_DRAWING, Kind("an SVG drawing", RejectClass.UNSUPPORTED))]
    return [(re.compile(magic, re.DOTALL), kind) for magic, kind in (*read, *other, *none, *last)]


def _kind_of_brands(data: bytes) -> Kind:
    """Tell a picture in an ISO base media file from a video: by all its brands, since the major one may be of any of its uses."""
    size = min(int.from_bytes(data[:4], "big") or len(data), 1024)
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, size - 3, 4))}
    if b"crx " in brands:
        return Kind("a camera raw file", RejectClass.UNSUPPORTED)
    if brands & {b"avif", b"avis"}:
        return Kind("AVIF")
    if brands & _HEIF_BRANDS or any(brand[:2] == b"Mi" for brand in brands):
        return Kind("HEIF (HEIC)", RejectClass.UNSUPPORTED)
    return Kind("a video", RejectClass.NOT_AN_IMAGE)


def _kind_inside_gzip(data: bytes) -> Kind:
    try:
        start = zlib.decompressobj(31).decompress(data[:_PEEK_BYTES], _PEEK_BYTES)
    except zlib.error:
        start = b""
    if not start or start[:2] == b"\x1f\x8b":
        return Kind("packed with gzip", RejectClass.NOT_AN_IMAGE)
    inner = kind_of(start)
    return Kind(f"packed with gzip: {inner.name}", inner.reject_class or RejectClass.UNSUPPORTED)
