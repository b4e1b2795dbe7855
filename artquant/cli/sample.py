"""What a job works on if no input is given: generated paintings in the embedded store, with the ratings of eight raters."""

import io
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import Any

from artquant.cli.terminal import say
from artquant.core.schema import ARTWORK_ID
from artquant.progress.display import watch
from artquant.storage.store import Store

GALLERY = "gallery"
SAMPLE_SIZE = 60
SAMPLE_VERSION = b"2"  # of the pictures
TEXTS_VERSION = 2


def fill_sample(bucket: Store) -> None:
    """Paint the sample collection below `sample/`, once: paintings by subject, and three damaged files as every collection has them."""
    version = "sample-version"
    if bucket.exists(version) and bucket.get(version) == SAMPLE_VERSION:
        return
    from artquant.paintings import jpeg, paint
    from artquant.paintings.seeds import SAMPLE

    started = time.monotonic()
    say(f"Painting the sample collection: {SAMPLE_SIZE} pictures and three damaged files")
    sample = bucket.child("sample")

    def put(seed: int) -> bytes:
        painting = paint(seed)
        data = jpeg(painting, long_side=640, quality=90)
        sample.put(f"{painting.latents.subject}/{seed:05d}.jpg", data)
        return data

    with ThreadPoolExecutor(2) as pool:
        pictures = list(pool.map(put, SAMPLE[:SAMPLE_SIZE]))
    sample.put("damaged/empty.jpg", b"")
    sample.put("damaged/half-a-painting.jpg", pictures[0][: len(pictures[0]) // 2])
    sample.put("damaged/page-not-found.jpg", b"<!doctype html><title>404</title><h1>Not found</h1>")
    bucket.put(version, SAMPLE_VERSION)
    say(f"Painted in {time.monotonic() - started:.0f} s")


def fill_annotations(bucket: Store, num: int) -> tuple[str, str]:
    """Paint `num` artworks below `gallery/` and write their annotations, once. Returns the addresses of the annotations and the pictures.

    Pictures from an earlier, smaller number are kept. The same number gives the same paintings, and none of them belongs to the sample
    collection or to the exam.
    """
    key = f"annotations/sample-{num}-v{TEXTS_VERSION}.parquet"
    if not bucket.exists(key):
        _paint(bucket, num)
        bucket.put(key, _table(num))
    return bucket.uri_of(key), bucket.uri_of(GALLERY)


def _paint(bucket: Store, num: int) -> None:
    from artquant.paintings.exam import picture
    from artquant.paintings.seeds import ANNOTATED

    gallery = bucket.child(GALLERY)
    existing = {info.key for info in gallery.list()}
    missing = [seed for seed in ANNOTATED[:num] if _key(seed) not in existing]
    say(f"Painting {len(missing):,} artworks to learn from")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        pictures = watch(pool.map(picture, missing, chunksize=16), "painted", len(missing))
        for seed, data in zip(missing, pictures, strict=True):
            gallery.put(_key(seed), data)


def _table(num: int) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from artquant.paintings.seeds import ANNOTATED

    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(_rows(ANNOTATED[:num]))), buffer, compression="zstd")
    return buffer.getvalue()


def _rows(seeds: range) -> Iterator[dict[str, Any]]:
    from artquant.core.schema import CRITIQUE_PARTS
    from artquant.paintings import attributes_of, paint
    from artquant.paintings.latents import QUALITIES

    for seed in seeds:
        painting = paint(seed)
        yield {
            ARTWORK_ID: _key(seed),
            "ratings": list(painting.ratings),
            **{part: getattr(painting, part) for part in CRITIQUE_PARTS},
            **attributes_of(painting.latents),
            **{name: getattr(painting.latents, name) for name in QUALITIES},
        }


def _key(seed: int) -> str:
    return f"{seed}.jpg"
