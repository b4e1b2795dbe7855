"""Small JPEGs of artworks for the pages, fetched once more from the collection."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from artquant.config import FetchSpec
from artquant.core.errors import Reject
from artquant.core.memory import decode_budget
from artquant.images import square as images
from artquant.records.run import THUMBNAIL_SIZE, Artwork, Findings
from artquant.storage.address import locate
from artquant.storage.store import Store

_THUMBNAIL_SECONDS = 5.0  # a page is not worth a longer wait


def with_thumbnails(findings: Findings, make: Callable[[Artwork], bytes | None]) -> Findings:
    """Return the findings with a JPEG for each artwork of the gallery; `make` is asked once for each, from several threads."""
    works = {work.artwork_id: work for group in findings.gallery.values() for work in group}
    with ThreadPoolExecutor(4) as pool:
        made = dict(zip(works, pool.map(make, works.values()), strict=True))
    gallery = {group: [replace(work, thumbnail=made[work.artwork_id]) for work in kept] for group, kept in findings.gallery.items()}
    return replace(findings, gallery=gallery)


def picture_of(fetch: FetchSpec, work: Artwork) -> bytes | None:
    return thumbnail_of(*locate(work.uri), fetch=fetch)


def thumbnail_of(source: Store, key: str, *, fetch: FetchSpec) -> bytes | None:
    """Return a small JPEG of an artwork, fetched once more: engines may look at smaller images than people. None where it is gone."""
    try:
        data = source.fetch(key, attempts=1, patience_seconds=0, timeout_seconds=min(_THUMBNAIL_SECONDS, fetch.timeout_seconds)).data
        budget = decode_budget(fetch.decode_memory_mb)
        picture = images.load(data, THUMBNAIL_SIZE, max_pixels=fetch.max_pixels, budget=budget, simd=False)  # without torch
        return images.thumbnail(picture, THUMBNAIL_SIZE)
    except Reject:
        return None
