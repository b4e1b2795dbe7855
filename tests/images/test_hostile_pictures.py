"""Pictures that would take the process, its time or its memory: each is decoded right or refused, and nobody else pays."""

from __future__ import annotations

import io
import random
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from artquant.core.errors import Reject
from artquant.core.memory import ByteBudget
from artquant.core.schema import RejectClass
from artquant.images import color
from artquant.images import square as images
from artquant.images.jpeg_markers import read_markers
from artquant.images.sources import open_image
from bench.picture_writers import DEFLATE, chunk, png, tiff
from tests.colour_profiles import ADOBE_RGB, matrix_profile
from tests.processes import ROOT

CASES = Path(__file__).parents[1] / "cases"
assert list(CASES.glob("jpg_*.jpg")), "the cases have moved: a glob of nothing would test nothing"
LOAD_ALL = """
import sys
from artquant.images import square as images
from artquant.core.errors import Reject
for path in sys.argv[1:]:
    for fast in (True, False):
        for size in (16, 56, 112):
            try:
                picture = images.load(open(path, "rb").read(), size, fast=fast)
                print(picture.width, picture.height)
            except Reject as reject:
                print(reject.reject_class)
"""


def load_all(paths: list[Path]) -> list[str]:
    """What comes of each file, six times, in a process of its own: a decoder that writes beyond its buffer ends it, now or later."""
    done = subprocess.run([sys.executable, "-c", LOAD_ALL, *map(str, paths)], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"the process ended with {done.returncode}: {done.stderr[-500:]}"
    return done.stdout.splitlines()


def lossless(width: int, height: int, components: int = 3) -> bytes:
    """A lossless JPEG (SOF3, predictor 1, one Huffman code of one bit: every difference is zero) of one colour."""
    frame = bytes([8, *height.to_bytes(2, "big"), *width.to_bytes(2, "big"), components])
    frame += b"".join(bytes([i + 1, 0x11, 0]) for i in range(components))
    tables = bytes([0, 1, *[0] * 15, 0])
    scan = bytes([components]) + b"".join(bytes([i + 1, 0]) for i in range(components)) + bytes([1, 0, 0])
    body = bytes(-(-width * height * components // 8))

    def segment(marker: int, data: bytes) -> bytes:
        return bytes([0xFF, marker]) + (len(data) + 2).to_bytes(2, "big") + data

    return b"\xff\xd8" + segment(0xC3, frame) + segment(0xC4, tables) + segment(0xDA, scan) + body + b"\xff\xd9"


def test_lossless_jpegs_are_decoded_at_their_own_size_and_no_buffer_is_overrun(tmp_path: Path) -> None:
    paths = sorted(CASES.glob("jpg_lossless_*.jpg"))
    for width, height in ((448, 1), (448, 2), (448, 64), (450, 8), (896, 897), (4000, 3)):
        for components in (1, 3):
            path = tmp_path / f"{width}x{height}x{components}.jpg"
            path.write_bytes(lossless(width, height, components))
            paths.append(path)
    found = load_all(paths)
    assert len(found) == 6 * len(paths)
    for number, path in enumerate(paths):
        outcomes = set(found[6 * number : 6 * number + 6])
        assert len(outcomes) == 1, f"{path.name}: what is refused depends on fast or on the size: {outcomes}"
    assert found[:12] == ["450 300"] * 6 + ["448 64"] * 6


@pytest.mark.parametrize("path", sorted(CASES.glob("jpg_sampling_*.jpg")), ids=lambda path: path.stem)
def test_less_usual_sampling_is_no_damage(path: Path) -> None:
    data = path.read_bytes()
    upright = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    side = max(upright.shape[:2])
    for fast in (True, False):
        picture = images.load(data, side, fast=fast)
        assert (picture.height, picture.width) == upright.shape[:2]
        top, left = (side - picture.height) // 2, (side - picture.width) // 2
        assert np.abs(picture.pixels[top : top + picture.height, left : left + picture.width].astype(int) - upright).max() <= 3


def jpeg(width: int, height: int, **options: object) -> bytes:
    buffer = io.BytesIO()
    gradient = np.linspace(0, 255, width * height * 3).reshape(height, width, 3).astype(np.uint8)
    Image.fromarray(gradient).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def with_empty_scans(data: bytes, num: int) -> bytes:
    """More refinement scans that hold no bits, before the end of a progressive file."""
    scan = b"\xff\xda" + bytes([0, 8, 1, 1, 0, 1, 63, 0x10])
    return data[:-2] + (scan + b"\x00\x00") * num + data[-2:]


def test_a_scan_bomb_is_refused_by_its_work_and_before_it_is_decoded() -> None:
    data = with_empty_scans(jpeg(4000, 4000, progressive=True, quality=20), 8000)
    started = time.monotonic()
    with pytest.raises(Reject, match="scans of 4000 x 4000 pixels") as refusal:
        images.load(data, 112)
    assert refusal.value.reject_class is RejectClass.TOO_LARGE
    assert time.monotonic() - started < 5
    assert images.load(jpeg(4000, 4000, progressive=True, quality=20), 112).width == 4000
    many = with_empty_scans(jpeg(64, 64, progressive=True), 60)
    assert read_markers(many).num_scans > 60  # work, not number: a small picture may have them
    images.load(many, 32)


@pytest.mark.parametrize(
    "name, data, is_plain",
    [
        ("baseline", jpeg(64, 48), True),
        ("progressive", jpeg(64, 48, progressive=True), True),
        ("restart markers", jpeg(64, 48, restart_marker_blocks=2), True),
        ("fill bytes", jpeg(64, 48).replace(b"\xff\xc0", b"\xff\xff\xff\xc0", 1), True),
        ("lossless", lossless(64, 48), False),
        ("junk between segments", jpeg(64, 48)[:2] + b"junk" + jpeg(64, 48)[2:], False),
        ("a second frame", jpeg(64, 48, progressive=True)[:-2] + lossless(64, 48)[2:], False),
        ("a second picture's start", jpeg(64, 48)[:2] + jpeg(64, 48), False),
        ("a lossless frame first", lossless(64, 48)[:19] + jpeg(64, 48)[2:], False),
        ("nothing", b"", False),
        ("the start alone", b"\xff\xd8\xff", False),
        ("twelve bits", jpeg(64, 48).replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x0c"), False),
    ],
)
def test_only_a_jpeg_that_every_decoder_reads_alike_is_decoded_at_a_reduced_size(name: str, data: bytes, is_plain: bool) -> None:
    assert read_markers(data).is_plain is is_plain


def test_mutated_headers_never_end_the_process(tmp_path: Path) -> None:
    rng = random.Random(0)
    seeds = [lossless(448, 8), jpeg(450, 300), jpeg(450, 300, progressive=True), *(p.read_bytes() for p in CASES.glob("jpg_*.jpg"))]
    paths = []
    for number in range(150):
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(2, min(len(data), 700))] = rng.choice([rng.randrange(256), 0xC0, 0xC2, 0xC3, 0xD8, 0xDA, 0xFF])
        paths.append(tmp_path / f"{number}.jpg")
        paths[-1].write_bytes(data)
    assert len(load_all(paths)) == 6 * len(paths)


def test_a_budget_lets_in_what_fits_in_the_order_of_asking_and_the_largest_alone() -> None:
    budget, held, most, order = ByteBudget(100), [0], [0], []
    lock = threading.Lock()

    def hold(name: str, num_bytes: int) -> None:
        with budget.holding(num_bytes):
            with lock:
                held[0] += min(num_bytes, 100)
                most[0] = max(most[0], held[0])
                order.append(name)
            time.sleep(0.05)
            with lock:
                held[0] -= min(num_bytes, 100)

    threads = []
    for name, num_bytes in [("a", 60), ("huge", 5000), ("b", 10), ("c", 10)]:
        threads.append(threading.Thread(target=hold, args=(name, num_bytes)))
        threads[-1].start()
        time.sleep(0.01)
    for thread in threads:
        thread.join(10)
    assert most[0] <= 100 and order[:2] == ["a", "huge"] and sorted(order) == ["a", "b", "c", "huge"]
    assert budget.free == 100


def test_pictures_wait_for_the_memory_that_others_have() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (600, 600)).save(buffer, "PNG")
    budget = ByteBudget(8 << 20)  # a PNG of 0.36 megapixels takes 7.2 MB of it
    with budget.holding(4 << 20):
        thread = threading.Thread(target=images.load, args=(buffer.getvalue(), 32), kwargs={"budget": budget})
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()
    thread.join(10)
    assert not thread.is_alive() and budget.free == 8 << 20


def grey_tiff(width: int, height: int, offsets_of: dict[int, list[int]], body: bytes) -> bytes:
    """An uncompressed 8-bit TIFF of `body`, which begins at byte 8, with the LONG tags of `offsets_of` beside those that each file has."""
    tags = {256: [width], 257: [height], 258: [8], 259: [1], 262: [1], 277: [1]} | offsets_of
    out, entries = bytearray(b"II*\0" + bytes(4) + body), b""
    for tag, values in sorted(tags.items()):
        packed = struct.pack(f"<{len(values)}I", *values)
        entries += struct.pack("<HHI", tag, 4, len(values)) + (packed if len(values) == 1 else struct.pack("<I", len(out)))
        out += packed if len(values) > 1 else b""
    struct.pack_into("<I", out, 4, len(out))
    return bytes(out + struct.pack("<H", len(tags)) + entries + bytes(4))


def test_strips_that_are_decoded_over_one_another_are_refused_and_as_many_as_rows_are_not() -> None:
    num = 20_000  # each of them is half of the picture
    bomb = grey_tiff(400, 400, {273: [8] * num, 278: [200], 279: [80_000] * num}, bytes(80_000))
    with pytest.raises(Reject, match="again and again") as refusal:
        images.load(bomb, 32)
    assert refusal.value.reject_class is RejectClass.TOO_LARGE
    rows = grey_tiff(400, 400, {273: [8 + 400 * row for row in range(400)], 278: [1], 279: [400] * 400}, bytes(160_000))
    assert images.load(rows, 32).width == 400


def test_a_tile_that_is_larger_than_its_picture_counts_towards_the_memory() -> None:
    tiled = grey_tiff(16, 16, {322: [20_000], 323: [20_000], 324: [8], 325: [256]}, bytes(256))
    assert open_image(tiled).held_pixels == 400_000_000
    plain = grey_tiff(16, 16, {273: [8], 278: [16], 279: [256]}, bytes(256))
    assert open_image(plain).held_pixels == 256


def planes_apart(width: int, height: int) -> bytes:
    """A baseline JPEG of three full channels, each in a scan of its own: a decoder must hold all coefficients, as of a progressive one."""
    buffer = io.BytesIO()
    Image.new("L", (width, height), 90).save(buffer, "JPEG")
    grey = buffer.getvalue()
    frame, scan = grey.index(b"\xff\xc0"), grey.index(b"\xff\xda")
    data = grey[:frame] + b"\xff\xc0\0\x11" + grey[frame + 4 : frame + 9] + b"\3"
    data += b"".join(bytes([i, 0x11, 0]) for i in (1, 2, 3)) + grey[frame + 13 : scan]
    return data + b"".join(b"\xff\xda\0\x08\1" + bytes([i, 0, 0, 63, 0]) + grey[scan + 10 : -2] for i in (1, 2, 3)) + b"\xff\xd9"


PEAK = """
import sys
from contextlib import nullcontext
from artquant.images import square as images
asked = []
class Budget:
    def holding(self, num_bytes):
        asked.append(num_bytes)
        return nullcontext()
def status(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name)) << 10
images.load(open(sys.argv[1], "rb").read(), 448)
data = open(sys.argv[2], "rb").read()
open("/proc/self/clear_refs", "w").write("5")
before = status("VmRSS")
images.load(data, 448, fast=sys.argv[3] == "fast", budget=Budget())
print(asked[0], status("VmHWM") - before)
"""
SIDE = 3000


def saved(kind: str, mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    pixels = np.kron(np.random.default_rng(0).integers(0, 256, (SIDE // 50, SIDE // 50, 3), dtype=np.uint8), np.ones((50, 50, 1), np.uint8))
    Image.fromarray(pixels).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def see_through_deep_png(side: int) -> bytes:
    return png(np.full((side, side, 3), 0x1234), 16, 2, chunk(b"tRNS", struct.pack(">3H", 1, 2, 3)))


def deep_planes_tiff(side: int) -> bytes:
    return tiff(np.full((side, side, 4), 0x1234), 2, 16, planar=True, compression=DEFLATE, rows_per_strip=100, extra=(2,))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells a process's peak")
@pytest.mark.parametrize("fast", ["fast", "exact"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: saved("JPEG"),
        lambda: saved("JPEG", icc_profile=matrix_profile(ADOBE_RGB)),
        lambda: saved("JPEG", "CMYK", progressive=True),
        lambda: planes_apart(SIDE, SIDE),
        lambda: saved("PNG", "RGBA", compress_level=1),
        lambda: saved("TIFF", compression="tiff_lzw"),
        lambda: saved("GIF", "P"),
        lambda: saved("WEBP", "RGBA", lossless=True, method=0, quality=0),
        lambda: saved("AVIF", "RGBA", quality=60, speed=10),
        lambda: see_through_deep_png(SIDE),
        lambda: deep_planes_tiff(SIDE),
    ],
    ids=[
        *("jpeg", "jpeg_icc", "jpeg_cmyk_progressive", "jpeg_planes_apart", "png_rgba", "tiff", "gif", "webp_lossless", "avif_rgba"),
        *("png_16_bit_see_through", "tiff_planes_16_bit"),
    ],
)
def test_what_is_asked_of_the_budget_covers_what_decoding_takes(make: Callable[[], bytes], fast: str, tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(jpeg(640, 640))
    (tmp_path / "large").write_bytes(make())
    command = [sys.executable, "-c", PEAK, str(tmp_path / "small"), str(tmp_path / "large"), fast]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=True)
    asked, took = map(int, done.stdout.split())
    assert took < asked + (12 << 20), f"{took >> 20} MB were taken, {asked >> 20} MB asked for"  # 12 MB: strips, and the file's own bytes


def test_transforms_are_kept_but_not_of_profiles_that_fill_the_memory() -> None:
    color._kept_transform.cache_clear()
    for num_bytes, kept in ((1000, 1), (5 << 20, 1)):
        profile = bytearray(matrix_profile(ADOBE_RGB) + bytes(num_bytes))
        struct.pack_into(">I", profile, 0, len(profile))
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8), (180, 120, 90)).save(buffer, "WEBP", lossless=True, icc_profile=bytes(profile))
        assert tuple(images.load(buffer.getvalue(), 8).pixels[4, 4]) != (180, 120, 90)  # the profile acts all the same
        assert color._kept_transform.cache_info().currsize == kept
