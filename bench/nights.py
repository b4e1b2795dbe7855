"""What a plan costs: a manifest of so many artworks against a ledger that holds half of them. Prints seconds and the peak of memory.

python -m bench.nights --artworks 1000000 10000000
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from artquant.core.identity import Identity
from artquant.results.catalog import Source
from artquant.results.ledger import SCORED, ledger_schema, scorer_digest
from artquant.results.nights import Asked, draft
from artquant.results.snapshots import following
from artquant.storage.store import open_store

IDENTITY = Identity("null", "none", "none", "none", "float32")
CHUNK = 100_000


def ids(num: int) -> Iterator[list[str]]:
    for start in range(0, num, CHUNK):
        yield [f"museum/{i // 1000:06d}/{i:09d}.jpg" for i in range(start, min(num, start + CHUNK))]


def write_manifest(path: Path, num: int) -> None:
    schema = pa.schema([("id", pa.string()), ("uri", pa.string()), ("etag", pa.string()), ("size", pa.int64())])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for names in ids(num):
            columns = {"id": names, "uri": [f"s3://art/{name}" for name in names], "etag": names, "size": [1] * len(names)}
            writer.write_table(pa.table(columns, schema=schema))


def write_ledger(path: Path, num: int, collection: str) -> None:
    """Write the rows of the first half of the artworks."""
    with pq.ParquetWriter(path, ledger_schema(), compression="zstd") as writer:
        for names in ids(num // 2):
            same = {"part": "score", "scorer": scorer_digest(IDENTITY), "status": SCORED, "collection": collection}
            columns = {name: [value] * len(names) for name, value in same.items()}
            columns |= {"artwork_id": names, "content": names}
            table = pa.table(columns | {"snapshot": pa.array([1] * len(names), pa.int64())})
            writer.write_table(table.select(ledger_schema().names).cast(ledger_schema()))


def measure(folder: Path) -> None:
    """Plan in this process, of which the peak is then known."""
    store, source = open_store(str(folder / "out")), Source("manifest", str(folder / "manifest.parquet"))
    parent = following(None, "run", "first", "first", files=(), ledger=("ledger.parquet",))
    asked = Asked(source=source, identity=IDENTITY, others={})
    before, started, cpu = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic(), time.process_time()
    with tempfile.TemporaryDirectory() as drafts:
        summary = draft(store, parent, asked, Path(drafts)).summary
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{summary.num_planned + summary.num_reused:>11,} artworks, {summary.num_planned:,} due: {time.monotonic() - started:.1f} s, "
        f"{time.process_time() - cpu:.1f} s of CPU, peak {peak / 1024:,.0f} MiB ({before / 1024:,.0f} before)",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artworks", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure)
        return
    for num in options.artworks:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "out").mkdir()
            write_manifest(folder / "manifest.parquet", num)
            write_ledger(folder / "out" / "ledger.parquet", num, Source("manifest", str(folder / "manifest.parquet")).id)
            subprocess.run([sys.executable, "-m", "bench.nights", "--measure", name], check=True)


if __name__ == "__main__":
    main()
