"""Which pictures are read, how fast and in how much memory: docs/pictures.md, beside what libvips makes of the same files.

    python -m bench.pictures             # both tables
    python -m bench.pictures --layouts   # judge every layout, write that table, and list what is wrong
    python -m bench.pictures --costs     # measure speed and memory, write that table

Every case has its right pixels (`bench.picture_cases`). libvips is asked if `pip install pyvips-binary` was run; the project does without.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image

from artquant.core.errors import Reject
from artquant.core.schema import RejectClass
from artquant.images.square import load
from bench import picture_kinds
from bench.picture_cases import Case, encoded, png_cases, scene, tiff_cases, tiff_page_cases
from bench.picture_writers import tiff

OUT = Path(__file__).resolve().parent.parent / "docs" / "pictures.md"
VERDICTS = ("right", "unsupported", "misnamed", "wrong")
_COARSE = re.compile(r", (8|16) bit, (together|planes apart)$")
_NUM_RUNS = 2


def all_cases() -> Iterator[Case]:
    kinds = (picture_kinds.jpeg_cases, picture_kinds.webp_gif_bmp_cases, picture_kinds.avif_cases, picture_kinds.other_kinds)
    return chain(*(kind() for kind in kinds), png_cases(), tiff_page_cases(), tiff_cases())


def judge(case: Case, *, fast: bool = False) -> tuple[str, str]:
    """Return what the reader made of a case, and how: right, unsupported (a fine picture, said so), misnamed (refused as what it is not)
    or wrong (other pixels than its own)."""
    try:
        picture = load(case.data, max(case.right.shape[:2]) if isinstance(case.right, np.ndarray) else 64, fast=fast)
    except Reject as reject:
        if reject.reject_class is case.right:
            return "right", ""
        is_honest = isinstance(case.right, np.ndarray) and reject.reject_class is RejectClass.UNSUPPORTED
        return "unsupported" if is_honest else "misnamed", f"{reject.reject_class}: {reject.message}"
    top, left = ((len(picture.pixels) - length) // 2 for length in (picture.height, picture.width))
    return _compare(case, picture.pixels[top : top + picture.height, left : left + picture.width])


def judge_vips(case: Case) -> tuple[str, str]:
    """Do as `judge` for libvips, asked for upright 8-bit sRGB over white. A refusal counts as unsupported: it names no reasons."""
    import pyvips

    try:
        image = pyvips.Image.new_from_buffer(case.data, "", fail_on="warning").autorot()
        space = "srgb"
        image = image.icc_transform(space) if image.get_typeof("icc-profile-data") else image.colourspace(space)
        image = image.flatten(background=255) if image.hasalpha() else image
        pixels = image[:3].cast("uchar").numpy()
    except pyvips.Error as error:
        return "unsupported" if isinstance(case.right, np.ndarray) else "right", str(error)
    return _compare(case, pixels)


def _compare(case: Case, pixels: np.ndarray) -> tuple[str, str]:
    if not isinstance(case.right, np.ndarray):
        return "wrong", f"loads, and should be {case.right}"
    if pixels.shape != case.right.shape:
        return "wrong", f"{pixels.shape}, and should be {case.right.shape}"
    difference = np.abs(pixels.astype(int) - case.right)
    error = difference.mean() if case.is_lossy else difference.max()
    return "right" if error <= case.tolerance else "wrong", f"off by {difference.max():.0f}, on average by {difference.mean():.2f}"


def layout_table(judges: dict[str, Callable[[Case], tuple[str, str]]]) -> tuple[str, Counter[str]]:
    """Return the table of what became of each group, and the product's counts."""
    counts: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: {name: Counter() for name in judges})
    totals: dict[str, Counter[str]] = {name: Counter() for name in judges}
    why: dict[str, Counter[str]] = defaultdict(Counter)
    for case in all_cases():
        group = _COARSE.sub(r", \2", case.group) if "unspecified" not in case.group and "mask" not in case.group else case.group
        for name, judging in judges.items():
            verdict, detail = judging(case)
            counts[group][name][verdict] += 1
            totals[name][verdict] += 1
            if name == "here" and verdict != "right":
                why[group][detail] += 1
                if verdict != "unsupported":
                    print(f"{verdict}: {case.group}, {case.name}: {detail}", file=sys.stderr)
    titles = [f"{verdict} {name}" for name in judges for verdict in (VERDICTS if name == "here" else VERDICTS[:2] + VERDICTS[3:])]
    lines = [f"| layout | files | {' | '.join(titles)} | why |", "|---" * (len(titles) + 3) + "|"]
    for group, of_judges in [*counts.items(), ("**all**", totals)]:
        cells = [str(of_judges[title.split(" ", 1)[1]][title.split(" ", 1)[0]] or "") for title in titles]
        reason = (why[group].most_common(1) or [("", 0)])[0][0].replace("SyntaxError: ", "")
        lines.append(f"| {group} | {sum(of_judges['here'].values())} | {' | '.join(cells)} | {reason} |")
    return "\n".join(lines), totals["here"]


def large_files() -> dict[str, bytes]:
    """Pictures of camera size, with detail: 12 megapixels as JPEG, 6 as the others."""
    noise = np.random.default_rng(0).integers(0, 60, (2000, 3000, 3), dtype=np.uint8)
    pixels = scene(3000, 2000) // 2 + noise.reshape(1000, 2, 1500, 2, 3).mean(axis=(1, 3)).astype(np.uint8).repeat(2, 0).repeat(2, 1)
    image = Image.fromarray(pixels)
    large = image.resize((4000, 3000))
    deep = pixels.astype(np.int64) * 257
    return {
        "JPEG, 12 megapixels": encoded("JPEG", large, quality=85),
        "PNG, 6 megapixels": encoded("PNG", image, compress_level=6),
        "WebP, 6 megapixels": encoded("WEBP", image, quality=85, method=2),
        "AVIF, 6 megapixels": encoded("AVIF", image, quality=80, speed=9),
        "TIFF, LZW, 6 megapixels": encoded("TIFF", image, compression="tiff_lzw"),
        "TIFF, 16 bit, planes apart, 6 megapixels": tiff(deep, 2, 16, planar=True, rows_per_strip=64),
    }


def _made_here(data: bytes) -> None:
    load(data, 448)


def _made_by_vips(data: bytes) -> None:
    import pyvips

    pyvips.Image.thumbnail_buffer(data, 448, height=448, size="down", export_profile="srgb").write_to_memory()


def _made_by_pillow_alone(data: bytes) -> None:
    import io

    Image.open(io.BytesIO(data)).convert("RGB").resize((448, 448))


WAYS = {"here": _made_here, "libvips": _made_by_vips, "Pillow alone": _made_by_pillow_alone}


def measure(way: str, path: str) -> None:
    """Print the CPU milliseconds and the peak MiB of one decode in this process, or why there is none."""
    data = Path(path).read_bytes()
    small = encoded("JPEG", Image.new("RGB", (640, 640)))
    WAYS[way](small)  # libraries loaded
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    before = _status_kib("VmRSS")
    times = []
    try:
        for _ in range(_NUM_RUNS):
            started = time.process_time()
            WAYS[way](data)
            times.append(time.process_time() - started)
    except Reject as reject:
        print(json.dumps({"why": str(reject.reject_class)}))
        return
    except Exception as error:  # libvips' errors have a class of their own, which need not be there
        print(json.dumps({"why": f"refused ({type(error).__name__})"}))
        return
    print(json.dumps({"ms": 1000 * min(times), "mib": (_status_kib("VmHWM") - before) / 1024}))


def _status_kib(name: str) -> int:
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))


def cost_table(ways: list[str]) -> str:
    lines = [f"| file | {' | '.join(ways)} |", "|---" * (len(ways) + 1) + "|"]
    with tempfile.TemporaryDirectory() as folder:
        for name, data in large_files().items():
            path = Path(folder) / "picture"
            path.write_bytes(data)
            cells = []
            for way in ways:
                command = [sys.executable, "-m", "bench.pictures", "--measure", way, str(path)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                found = json.loads(done.stdout.splitlines()[-1])
                cells.append(found.get("why") or f"{found['ms']:.0f} ms, {found['mib']:.0f} MiB")
            lines.append(f"| {name} | {' | '.join(cells)} |")
            print(lines[-1], file=sys.stderr, flush=True)
    return "\n".join(lines)


def replace_table(text: str, name: str, table: str) -> str:
    """Put a table between its two marks."""
    start, end = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
    before, _, rest = text.partition(start)
    return f"{before}{start}{table}{end}{rest.partition(end)[2]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layouts", action="store_true", help="this table only")
    parser.add_argument("--costs", action="store_true", help="this table only")
    parser.add_argument("--measure", nargs=2, metavar=("WAY", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(*options.measure)
        return
    judges: dict[str, Callable[[Case], tuple[str, str]]] = {"here": judge}
    try:
        import pyvips

        judges[f"libvips {pyvips.version(0)}.{pyvips.version(1)}"] = judge_vips
    except ImportError:
        print("pyvips is not installed: libvips is left out", file=sys.stderr)
    if options.layouts or not options.costs:
        table, totals = layout_table(judges)
        print(dict(totals))
        OUT.write_text(replace_table(OUT.read_text(), "layouts", table))
        if totals["wrong"]:
            sys.exit("Some pictures are read wrong; they are listed above.")
    if options.costs or not options.layouts:
        ways = [way for way in WAYS if way != "libvips" or len(judges) > 1]
        OUT.write_text(replace_table(OUT.read_text(), "costs", cost_table(ways)))


if __name__ == "__main__":
    main()
