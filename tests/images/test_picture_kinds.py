"""Every layout of a known scene is read right or called unsupported, and what is no picture, or another kind, is called that."""

import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from artquant.core.errors import Reject
from artquant.core.schema import RejectClass
from artquant.images.color import profile_of_codes
from artquant.images.kinds import kind_of
from artquant.images.png_chunks import MAX_PROFILE_BYTES, read_chunks
from artquant.images.sources import open_image
from artquant.images.square import load
from bench import picture_kinds
from bench.picture_cases import Case, encoded, png_cases, scene, tiff_cases, tiff_page_cases
from bench.picture_writers import chunk, png, tiff
from bench.pictures import judge
from tests.colour_profiles import ADOBE_RGB, matrix_profile, to_srgb

CASES = Path(__file__).parents[1] / "cases"
GROUPS = {
    "jpeg": picture_kinds.jpeg_cases,
    "webp_gif_bmp": picture_kinds.webp_gif_bmp_cases,
    "avif": picture_kinds.avif_cases,
    "other": picture_kinds.other_kinds,
    "png": png_cases,
    "tiff_pages": tiff_page_cases,
    "tiff": lambda: tiff_cases(29),  # all of them: python -m bench.pictures
}
NEVER_REFUSED = ("jpeg", "webp_gif_bmp", "avif", "png", "tiff_pages")

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


@pytest.mark.parametrize("group", GROUPS)
def test_no_layout_is_read_wrong_or_refused_as_what_it_is_not(group: str) -> None:
    found = [(judge(case, fast=fast), f"{case.group}, {case.name}") for case in GROUPS[group]() for fast in (False, True)]
    allowed = {"right"} if group in NEVER_REFUSED else {"right", "unsupported"}
    assert len(found) > 30
    assert [one for one in found if one[0][0] not in allowed] == []


def test_planes_apart_are_read_and_not_only_refused() -> None:
    verdicts = {case.group: judge(case)[0] for case in tiff_cases(29) if "planes apart" in case.group}
    assert len(verdicts) == 28
    assert {group for group, verdict in verdicts.items() if verdict != "right"} == {
        f"TIFF CMYK + alpha, {n} bit, planes apart" for n in (8, 16)
    }


def test_the_judge_tells_what_is_wrong() -> None:
    right, data = scene(), png(scene().astype(int), 8, 2)
    assert judge(Case("", "", data, right))[0] == "right"
    assert judge(Case("", "", data, right[::-1]))[0] == "wrong"
    assert judge(Case("", "", data, right[:20]))[0] == "wrong"
    assert judge(Case("", "", data, RejectClass.UNSUPPORTED))[0] == "wrong"
    assert judge(Case("", "", b"BM", right))[0] == "misnamed"
    assert judge(Case("", "", b"\xff\x0a", right))[0] == "unsupported"


def test_a_jpeg_that_lacks_its_end_alone_is_whole_and_a_jpeg_ls_is_no_damage() -> None:
    picture = load((CASES / "jpg_noeoi.jpg").read_bytes(), 64)
    assert (picture.width, picture.height) == (60, 40)
    assert picture.pixels[20:44].std() > 40
    with pytest.raises(Reject, match="JPEG-LS") as refusal:
        load((CASES / "x_jls.jls").read_bytes(), 64)
    assert refusal.value.reject_class is RejectClass.UNSUPPORTED


def test_a_bomb_in_a_side_chunk_is_neither_unpacked_nor_counted_against_the_picture() -> None:
    bomb = zlib.compress(bytes(200 << 20))
    data = png(scene().astype(int), 8, 2, chunk(b"iCCP", b"p\0\0" + bomb), chunk(b"zTXt", b"k\0\0" + bomb))
    tracemalloc.start()
    picture = load(data, 64)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert picture.width == scene().shape[1]
    assert peak < 3 * MAX_PROFILE_BYTES
    assert read_chunks(data).profile is None


def test_a_large_profile_of_a_png_acts_and_a_wrong_checksum_drops_it() -> None:
    profile = bytearray(matrix_profile(ADOBE_RGB) + bytes(2 << 20))
    struct.pack_into(">I", profile, 0, len(profile))
    flat = np.full((16, 16, 3), (180, 120, 90))
    body = b"p\0\0" + zlib.compress(bytes(profile))
    sound, broken = (load(png(flat, 8, 2, chunk(b"iCCP", body, error)), 16).pixels[8, 8] for error in (0, 1))
    assert np.abs(sound - to_srgb((180, 120, 90), ADOBE_RGB)).max() <= 2
    assert tuple(broken) == (180, 120, 90)


def test_color_codes_are_converted_as_their_definition_says() -> None:
    """Display P3 by its primaries and the curve of sRGB, apart from any colour engine."""
    color = np.array((200, 100, 60)) / 255
    linear = np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)
    p3_to_srgb = np.array([[1.2249402, -0.2249402, 0], [-0.0420570, 1.0420570, 0], [-0.0196376, -0.0786361, 1.0982736]])
    mixed = np.clip(p3_to_srgb @ linear, 0, 1)
    expected = 255 * np.where(mixed <= 0.0031308, 12.92 * mixed, 1.055 * mixed ** (1 / 2.4) - 0.055)
    flat = np.full((16, 16, 3), (200, 100, 60))
    assert np.abs(load(png(flat, 8, 2, chunk(b"cICP", bytes([12, 13, 0, 1]))), 16).pixels[8, 8] - expected).max() <= 1
    data = encoded("AVIF", Image.fromarray(flat.astype(np.uint8)), quality=100, subsampling="4:4:4")
    at = data.index(b"colrnclx") + 8
    assert np.abs(load(data[:at] + b"\0\x0c\0\x0d" + data[at + 4 :], 16).pixels[8, 8] - expected).max() <= 3
    assert profile_of_codes(1, 13) is None and profile_of_codes(2, 2) is None
    with pytest.raises(Reject, match="high dynamic range"):
        load(png(flat, 8, 2, chunk(b"cICP", bytes([9, 16, 0, 1]))), 16)


def test_an_avif_counts_with_the_frames_that_it_holds_not_with_the_size_that_it_says() -> None:
    large = encoded("AVIF", Image.new("RGB", (1200, 800), "red"), quality=30, speed=10)
    at = large.index(b"ispe") + 8
    assert open_image(large).held_pixels == 1200 * 800
    modest = large[:at] + struct.pack(">2I", 600, 400) + large[at + 8 :]
    assert open_image(modest).held_pixels == 1200 * 800
    film = encoded("AVIF", Image.new("RGB", (64, 48)), save_all=True, append_images=[Image.new("RGB", (64, 48), "red")])
    assert open_image(film).held_pixels >= 64 * 48


def test_tiffs_that_readers_take_for_others_are_unsupported() -> None:
    pixels = scene().astype(int)
    four = np.concatenate([pixels, pixels[..., :1]], axis=2)
    for data in (
        tiff(pixels[..., :1], 1, tags={339: (2,)}),
        tiff(pixels * 257, 2, 16, planar=True, tags={339: (2, 2, 2)}),
        tiff(four, 5, tags={332: (2,)}),
        tiff(four, 5, planar=True, tags={332: (2,)}),
        tiff(pixels, 6, planar=True),
        tiff(pixels[:, :22], 6, tags={256: (45,)}),
        tiff(pixels, 2, tags={259: (34712,)}),
    ):
        with pytest.raises(Reject) as refusal:
            load(data, 32)
        assert refusal.value.reject_class is RejectClass.UNSUPPORTED


def test_directories_that_lead_in_circles_or_nowhere_end() -> None:
    loop = bytearray(tiff(scene().astype(int), 2))
    at = struct.unpack_from("<I", loop, 4)[0]
    count = struct.unpack_from("<H", loop, at)[0]
    struct.pack_into("<I", loop, at + 2 + 12 * count, at)
    assert load(bytes(loop), 45).width == 45
    below = tiff(scene().astype(int), 2, tags={330: (8, 1, 0xFFFF)})
    assert load(below, 45).width == 45


def test_a_webp_beyond_its_decoder_is_refused_for_that_reason() -> None:
    size = b"".join(struct.pack("<I", length - 1)[:3] for length in (16_000, 11_500))
    data = b"RIFF" + struct.pack("<I", 4 + 18) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + size
    with pytest.raises(Reject, match="more pixels than its decoder takes") as refusal:
        load(data, 32)
    assert refusal.value.reject_class is RejectClass.TOO_LARGE


def test_a_kind_is_told_without_reading_far() -> None:
    assert kind_of(b"\xff\xd8\xff").reject_class is None
    assert kind_of(b"II*\0").name == "TIFF"
    assert kind_of(b"\0").reject_class is RejectClass.NOT_AN_IMAGE
    assert kind_of(b"\0\0\0\x08ftyp").reject_class is RejectClass.NOT_AN_IMAGE
