"""Rows through the whole job with an engine that costs nothing: a manifest that names one small picture many times.

    python -m bench.scale --rows 20000 100000          and, by hand, some 45 minutes: --rows 1000000

For each size a first night, and a second in which one row in a hundred is new: rows a second, the driver's memory over time, the files.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from artquant.core.identity import Identity
from bench.pipeline import NullEngine

IDENTITY = Identity("null", "none", "none", "none", "none")
CHUNK = 100_000


def write_manifest(path: Path, num: int, uri: str) -> None:
    schema = pa.schema([("id", pa.string()), ("uri", pa.string()), ("etag", pa.string())])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for start in range(0, num, CHUNK):
            names = [f"{i:09d}" for i in range(start, min(num, start + CHUNK))]
            writer.write_table(pa.table({"id": names, "uri": [uri] * len(names), "etag": ["same"] * len(names)}, schema=schema))


class SmallNullEngine(NullEngine):
    """For small pictures: what is measured is not the decoder."""

    image_size = 64


class Memory:
    """The resident memory of this process, MiB, every second of the block."""

    def __enter__(self) -> "Memory":
        self.samples: list[float] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        page = os.sysconf("SC_PAGE_SIZE")
        while not self._done.wait(1.0):
            self.samples.append(int(Path("/proc/self/statm").read_text().split()[1]) * page / 2**20)

    def quarters(self) -> str:
        """Return the highest of each quarter of the time: flat, or not."""
        size = max(1, len(self.samples) // 4)
        peaks = [max(self.samples[i * size : (i + 1) * size or None], default=0.0) for i in range(4)]
        return " ".join(f"{peak:,.0f}" for peak in peaks)


def night(folder: Path, num: int) -> None:
    """One night in this process, and a line about it."""
    from artquant.cli.local_ray import running_ray
    from artquant.config import EngineSpec, ResolvedScoreSpec
    from artquant.engines.open import resolve
    from artquant.engines.recipe import EngineRecipe
    from artquant.pipelines.score import claimed_night, run_score
    from artquant.results.plan import PlanSummary
    from artquant.storage.store import open_store

    engine = EngineSpec(critique=False, batch_size=32, num_cpus=0.25)
    spec = ResolvedScoreSpec(manifest=f"{folder}/manifest.parquet", output=f"{folder}/out", engine=engine)
    recipe = EngineRecipe(SmallNullEngine, IDENTITY, SmallNullEngine.image_size, SmallNullEngine.scale.values, "null", resolve(engine))
    started = time.monotonic()
    with running_ray(), Memory() as memory, claimed_night(spec, IDENTITY) as work:
        assert not isinstance(work, PlanSummary)
        planned = time.monotonic()
        report = run_score(spec, recipe, work)
        seconds = time.monotonic() - planned
    files = [info.size_bytes for info in open_store(spec.output).list("scores")]
    sizes = f"{len(files)} files of {min(files) / 1e6:.2f} to {max(files) / 1e6:.2f} MB"
    print(
        f"{num:>10,} in the manifest, {report.num_planned:>9,} due: plan {planned - started:5.1f} s, run {seconds:7.1f} s, "
        f"{report.num_planned / seconds:6.0f} rows/s (steady {report.images_per_second:.0f}); driver's peak by quarters "
        f"{memory.quarters()} MiB; {sizes}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 100_000])
    parser.add_argument("--night", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.night:
        night(options.folder, options.night)
        return
    from artquant.paintings import jpeg, paint

    for num in options.rows:
        with tempfile.TemporaryDirectory(prefix="artquant-scale-") as name:
            folder = Path(name)
            (folder / "one.jpg").write_bytes(jpeg(paint(0), 64))
            for size in (num, num + num // 100):  # the second night
                write_manifest(folder / "manifest.parquet", size, f"file://{folder}/one.jpg")
                command = [sys.executable, "-m", "bench.scale", "--night", str(size), "--folder", name]
                subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": os.getcwd()})


if __name__ == "__main__":
    main()
