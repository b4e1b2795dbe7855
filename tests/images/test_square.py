"""Every format and defect, exactness and drift of `artquant.images.square`; colours and orientation are in `test_colours.py`."""

import io
import json
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from artquant.core.errors import Reject
from artquant.core.schema import RejectClass
from artquant.images.square import PAD_COLOR, Picture, load, thumbnail, to_square
from tests.picture_files import encode, filled, make_picture_files, oriented, pixels_of, png, png_chunk, scene

SHARED = Path(__file__).resolve().parents[3] / "shared"
SHARED_IMAGES = sorted(path for path in (SHARED / "images").glob("*") if path.suffix in (".png", ".jpg"))
FILES = make_picture_files()
GOOD = [name for name, (_, refused) in FILES.items() if refused is None]

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow remarks on each of the broken files


def drift(data: bytes, size: int = 448) -> np.ndarray:
    return np.abs(pixels_of(data, size) - pixels_of(data, size, fast=False))


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("name", FILES)
def test_each_kind_of_file_loads_or_is_refused_under_its_class(name, fast):
    data, refused = FILES[name]
    if refused:
        with pytest.raises(Reject) as caught:
            load(data, 64, fast=fast)
        assert caught.value.reject_class is refused
        assert caught.value.message
        return
    picture = load(data, 64, fast=fast)
    assert picture.pixels.shape == (64, 64, 3)
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.flags.c_contiguous
    if "one_pixel" not in name and "very_" not in name:
        assert picture.pixels.std() > 10
    assert picture.width >= 1 <= picture.height


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("name", ["baseline.jpg", "progressive.jpg", "rgb.png", "rgb_16_bit.png", "plain.tif", "rgb_16_bit.tif", "rgb.bmp"])
def test_opaque_rgb_files_of_one_scene_give_that_scene(name, fast):
    difference = np.abs(pixels_of(FILES[name][0], fast=fast) - to_square(np.array(scene()), 64, fast=False))
    assert difference.mean() < (6 if name.endswith("jpg") else 0.01)


@pytest.mark.skipif(not (SHARED / "reference/processor").is_dir(), reason="../shared/reference is absent")
def test_the_exact_way_equals_the_published_processor():
    from safetensors.numpy import load_file

    folder = SHARED / "reference/processor"
    described = json.loads((folder / "expected.json").read_text())
    expected = load_file(folder / "expected.safetensors")["pixel_values"]
    mean, std = (np.array(described[key], np.float32) for key in ("image_mean", "image_std"))
    assert tuple(described["pad_color"]) == PAD_COLOR
    for name, values in zip(described["images"], expected, strict=True):
        picture = load((folder / name).read_bytes(), described["image_size"], fast=False)
        ours = ((picture.pixels.astype(np.float32) / 255 - mean) / std).transpose(2, 0, 1).astype(np.float16)
        assert np.array_equal(ours, values)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("shape", [(100, 37), (37, 100), (90, 90), (448, 301), (900, 2501), (2501, 900), (1, 700), (700, 1), (3, 60_000)])
def test_padding_in_strips_equals_padding_first(shape, fast):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    if max(shape) > 10_000:
        assert to_square(pixels, 448, fast=fast)[:200].max() <= PAD_COLOR[0]  # the full square would take 10 GB
        return
    assert np.array_equal(to_square(pixels, 448, fast=fast), to_square(pad_to_square(pixels), 448, fast=fast))


def pad_to_square(pixels: np.ndarray) -> np.ndarray:
    """(height, width, 3) -> (side, side, 3), centred on PAD_COLOR, an odd row or column after the content: the published preprocessing."""
    height, width, _ = pixels.shape
    side = max(height, width)
    padded = np.full((side, side, 3), PAD_COLOR, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    padded[top : top + height, left : left + width] = pixels
    return padded


def test_the_content_is_centred_on_the_mean_colour():
    padded = to_square(np.zeros((4, 7, 3), np.uint8), 7, fast=False)
    assert padded.shape == (7, 7, 3)
    assert (padded[[0, 4 + 1, 6], :] == PAD_COLOR).all()
    assert not padded[1:5].any()


@pytest.mark.parametrize("side", [60, 300, 384, 447, 449, 1000, 1800])
def test_the_simd_resize_stays_within_two_levels_of_pillow(side):
    pixels = np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)
    difference = np.abs(to_square(pixels, 448, fast=True).astype(int) - to_square(pixels, 448, fast=False))
    assert difference.max() <= 2
    assert difference.mean() < 0.02


@pytest.mark.skipif(not SHARED_IMAGES, reason="../shared/images is absent")
def test_every_shared_picture_loads():
    for path in SHARED_IMAGES:
        picture = load(path.read_bytes(), 448)
        with Image.open(path) as image:
            assert (picture.width, picture.height) == image.size


@pytest.mark.skipif(not SHARED_IMAGES, reason="../shared/images is absent")
@pytest.mark.parametrize(("start", "mean_limit"), [("049", 0.8), ("051", 0.2), ("055", 0.2), ("056", 0.005), ("060", 0.4), ("063", 1.0)])
def test_reduced_decoding_of_photographs_drifts_less_than_a_level(start, mean_limit):
    path = next(path for path in SHARED_IMAGES if path.name.startswith(start))
    difference = drift(path.read_bytes())
    assert difference.mean() < mean_limit
    assert np.quantile(difference, 0.99) <= 12
    assert difference.max() <= 48


@pytest.mark.parametrize("orientation", [1, 6])
def test_reduced_decoding_of_a_turned_camera_picture_drifts_less_than_a_level(orientation):
    data = oriented("JPEG", orientation, scene(4000, 3000))
    picture = load(data, 448)
    assert (picture.width, picture.height) == ((3000, 4000) if orientation > 4 else (4000, 3000))
    difference = drift(data)
    assert difference.mean() < 0.4
    assert difference.max() <= 10


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "MPO", "PNG"])
def test_the_first_picture_of_many_is_taken(kind):
    options = {"quality": 100} if kind in ("WEBP", "MPO") else {}
    data = encode(filled((250, 250, 250)), kind, save_all=True, append_images=[filled((5, 5, 5))], **options)
    assert pixels_of(data).min() > 240


def test_the_pixel_cap_holds_exactly_and_names_its_option():
    data = encode(scene(40, 30), "PNG")
    assert load(data, 16, max_pixels=1200).width == 40
    with pytest.raises(Reject, match=r"40 x 30 is 1200 pixels, more than max_pixels=1199") as caught:
        load(data, 16, max_pixels=1199)
    assert caught.value.reject_class is RejectClass.TOO_LARGE


@pytest.mark.parametrize("error", [MemoryError(), Image.DecompressionBombError("large")])
def test_a_good_file_that_does_not_fit_in_memory_is_not_called_damaged(error, monkeypatch):
    def too_much(image):
        raise error

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", too_much)
    with pytest.raises(Reject) as refused:
        load(encode(scene(8, 8), "PNG"), 8)
    assert refused.value.reject_class is RejectClass.TOO_LARGE


def test_a_thread_of_pixels_does_not_blow_up_when_padded():
    rows = b"".join(b"\0" + bytes(3) for _ in range(400_000))
    with pytest.raises(Reject, match="pad to a square") as caught:
        load(png(1, 400_000, 8, 2, rows), 448, max_pixels=100_000_000)
    assert caught.value.reject_class is RejectClass.TOO_LARGE


@pytest.mark.parametrize("name", [name.removeprefix("cut_") for name in FILES if name.startswith("cut_") and "ended" not in name])
def test_a_file_cut_anywhere_is_never_loaded_in_part(name):
    data = FILES[name][0]
    for share in range(5, 95, 5):
        with pytest.raises(Reject) as caught:
            load(data[: len(data) * share // 100], 64)
        assert caught.value.reject_class is RejectClass.TRUNCATED


def test_a_jpeg_with_harmless_stray_bytes_loads():
    data = encode(scene(), "JPEG", restart_marker_rows=1)
    at = data.index(b"\xff\xd0")
    stray = data[:at] + b"\x12\x34\x56" + data[at:]
    with pytest.raises(ValueError, match="extraneous"):
        simplejpeg.decode_jpeg(stray)
    assert np.array_equal(pixels_of(stray), pixels_of(data))


@pytest.mark.parametrize("name", GOOD)
def test_mutated_files_load_or_are_refused_and_nothing_else(name):
    data = FILES[name][0]
    rng = np.random.default_rng(len(data))
    for _ in range(12 if len(data) < 40_000 else 2):
        mutant = bytearray(data)
        for at in rng.integers(0, min(len(data), rng.choice([40, 400, len(data)])), rng.integers(1, 6)):
            mutant[at] = rng.choice([0, 1, 0x7F, 0xFF, rng.integers(256)])
        start, length = rng.integers(0, len(data)), rng.integers(0, 40)
        if rng.random() < 0.3:
            del mutant[start : start + length]
        try:
            picture = load(bytes(mutant), 32, max_pixels=4_000_000, fast=bool(rng.random() < 0.7))
        except Reject as reject:
            assert not reject.reject_class.is_transient
        else:
            assert picture.pixels.shape == (32, 32, 3)


def test_hostile_metadata_is_ignored():
    rows = b"\0\1\2\3"
    loop = png_chunk(b"eXIf", b"II*\0" + struct.pack("<IHHHII", 8, 1, 0x8769, 4, 1, 8))
    assert load(png(1, 1, 8, 2, rows, loop), 8).width == 1
    assert load(png(1, 1, 8, 2, rows, png_chunk(b"iCCP", b"x\0\0not deflated")), 8).width == 1
    assert load(png(1, 1, 8, 2, rows, *[png_chunk(b"tEXt", b"k\0" + bytes(1 << 20))] * 70), 8).width == 1


def test_threads_see_the_same_pixels_as_one_after_another():
    names = [*GOOD] * 2
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda name: load(FILES[name][0], 64).pixels, names))
    for name, pixels in zip(names, together, strict=True):
        assert np.array_equal(pixels, load(FILES[name][0], 64).pixels)


@pytest.mark.parametrize("case", [(400, 200, (100, 50)), (200, 400, (50, 100)), (300, 300, (100, 100)), (9000, 1, (100, 1))])
def test_a_thumbnail_shows_the_content_without_its_padding(case):
    width, height, expected = case
    white = np.full((height, width, 3), 255, np.uint8)
    shown = Image.open(io.BytesIO(thumbnail(Picture(to_square(white, 448, fast=True), width, height), 100)))
    assert shown.format == "JPEG"
    assert shown.size == expected
    if height > 1:
        assert np.asarray(shown)[2:-2, 2:-2].min() > 245
