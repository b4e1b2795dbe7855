"""What colour a picture file's pixels become: profiles, inks, transparency, depth; and which way up they are."""

import numpy as np
import pytest
from PIL import Image

from artquant.images.square import load
from tests.colour_profiles import ADOBE_RGB, WIDE_P3, cmyk_profile_where_every_ink_is_green, grey_profile, matrix_profile, to_srgb
from tests.picture_files import CORNERS, encode, filled, oriented, pixels_of, scene, tiff, ycck_jpeg


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_puts_each_corner_right(kind, orientation):
    upright = scene()
    undo = [None, 0, 3, 1, 5, 2, 6, 4][orientation - 1]  # Image.Transpose that stores an upright picture under this orientation
    stored = upright if undo is None else upright.transpose(Image.Transpose(undo))
    picture = load(oriented(kind, orientation, stored), 96)
    assert (picture.width, picture.height) == (96, 64)
    corners = picture.pixels[[24, 24, 72, 72], [12, 84, 12, 84]].astype(int)  # 16 rows of padding above and below
    assert np.abs(corners - CORNERS).max() < 40


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_red_in_cmyk_is_red(kind):
    data = encode(filled((0, 255, 255, 0), "CMYK"), kind)
    assert np.abs(pixels_of(data) - (255, 0, 0)).max() <= 3


def test_red_in_inverted_ycck_is_red():
    assert np.abs(pixels_of(ycck_jpeg(filled((255, 0, 0)))) - (255, 0, 0)).max() <= 4


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_goes_through_its_own_profile(kind):
    data = encode(filled((0, 255, 255, 0), "CMYK"), kind, icc_profile=cmyk_profile_where_every_ink_is_green())
    red, green, blue = pixels_of(data)[32, 32]
    assert green > red + 80 and green > blue + 40


@pytest.mark.parametrize("space", [ADOBE_RGB, WIDE_P3], ids=["adobe", "p3"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_wide_gamut_is_converted_to_srgb(kind, space):
    color = (180, 120, 90)
    options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    pixels = pixels_of(encode(filled(color), kind, icc_profile=matrix_profile(space), **options))
    expected = to_srgb(color, space)
    assert np.abs(expected - color).max() > 5
    assert np.abs(pixels - expected).max() <= 2


def test_alpha_and_palette_keep_their_profile():
    expected = to_srgb((180, 120, 90), ADOBE_RGB)
    profile = matrix_profile(ADOBE_RGB)
    for image in (filled((180, 120, 90, 255), "RGBA"), filled((180, 120, 90)).quantize(4)):
        assert np.abs(pixels_of(encode(image, "PNG", icc_profile=profile)) - expected).max() <= 2


def test_linear_grey_is_converted_to_srgb_grey():
    data = encode(filled((128,), "L"), "PNG", icc_profile=grey_profile(1.0))
    assert np.abs(pixels_of(data) - 188).max() <= 2


def test_a_profile_that_is_broken_or_of_another_space_is_ignored():
    for profile in (b"no profile", matrix_profile(ADOBE_RGB)[:200], grey_profile(1.0), cmyk_profile_where_every_ink_is_green()):
        assert np.array_equal(pixels_of(encode(scene(), "PNG", icc_profile=profile)), pixels_of(encode(scene(), "PNG")))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_alpha_is_laid_over_white(kind):
    clear, half = filled((0, 0, 255, 0), "RGBA"), filled((0, 0, 0, 128), "RGBA")
    assert (pixels_of(encode(clear, kind)) == 255).all()
    assert np.abs(pixels_of(encode(half, kind)) - 127).max() <= 1


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_transparent_palette_entry_is_white(kind):
    image = Image.new("P", (32, 32), 3)
    image.putpalette([index for index in range(256) for _ in range(3)])
    assert (pixels_of(encode(image, kind, transparency=3)) == 255).all()
    assert (pixels_of(encode(image, kind)) == 3).all()


def test_sixteen_bits_keep_their_brightness():
    deep = np.full((8, 8), 0x8123, np.uint16)
    assert (pixels_of(encode(Image.fromarray(deep), "PNG")) == 0x81).all()
    assert (pixels_of(tiff(deep, 1)) == 0x81).all()
    assert (pixels_of(tiff(deep, 0)) == 255 - 0x81).all()
    assert (pixels_of(tiff(np.repeat(deep[..., None], 3, axis=2), 2)) == 0x81).all()
