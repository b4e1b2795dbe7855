"""The sample annotations: generated paintings, what eight raters said of them, and descriptions, in the embedded store."""

import io
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from artquant.cli.home import say
from artquant.config import AnnotationSpec
from artquant.storage import Store

GALLERY = "gallery"


def fill_annotations(bucket: Store, given: AnnotationSpec, num: int) -> AnnotationSpec:
    """`given`, with the addresses of the sample. Paints `num` artworks below `gallery/` and writes their annotations, once; those that are
    there from a smaller number are kept.

    The same paintings come for the same number, and none of them is of the sample collection or of the exam.
    """
    key = f"annotations/sample-{num}.parquet"
    if not bucket.exists(key):
        _paint(bucket, num)
        bucket.put(key, _table(num))
    return given.model_copy(update={"uri": bucket.uri_of(key), "images": bucket.uri_of(GALLERY)})


def _paint(bucket: Store, num: int) -> None:
    from artquant.paintings.exam import picture
    from artquant.paintings.seeds import ANNOTATED

    gallery = bucket.child(GALLERY)
    there = {info.key for info in gallery.list()}
    missing = [seed for seed in ANNOTATED[:num] if _key(seed) not in there]
    started = said = time.monotonic()
    say(f"Painting {len(missing):,} artworks to learn from")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        for number, (seed, data) in enumerate(zip(missing, pool.map(picture, missing, chunksize=16), strict=True), 1):
            gallery.put(_key(seed), data)
            if time.monotonic() - said > 5:
                said = time.monotonic()
                left = (said - started) / number * (len(missing) - number)
                say(f"  {number:,} of {len(missing):,}, {number / (said - started):.0f}/s, about {left:.0f} s left")


def _table(num: int) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from artquant.paintings.seeds import ANNOTATED

    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(_rows(ANNOTATED[:num]))), buffer, compression="zstd")
    return buffer.getvalue()


def _rows(seeds: range) -> Iterator[dict[str, Any]]:
    from artquant.paintings import attributes_of, paint
    from artquant.paintings.latents import QUALITIES
    from artquant.schema import CRITIQUE_PARTS

    for seed in seeds:
        painting = paint(seed)
        yield {
            "artwork_id": _key(seed),
            "ratings": list(painting.ratings),
            **{part: getattr(painting, part) for part in CRITIQUE_PARTS},
            **attributes_of(painting.latents),
            **{name: getattr(painting.latents, name) for name in QUALITIES},
        }


def _key(seed: int) -> str:
    return f"{seed}.jpg"
