"""Which split an artwork belongs to: a pure function of its content, so that what is added later moves nothing."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Literal

from artquant.errors import UserError
from artquant.schema import RejectClass
from artquant.storage import FetchError, ObjectInfo, Store

Split = Literal["train", "validation", "test"]
_MD5 = re.compile(r"[0-9a-f]{32}")
_THREADS = 32
_BATCH = 8192  # ids whose fetches are queued at once


def split_of(content: str, seed: int, validation_fraction: float, test_fraction: float) -> Split:
    """The split of the artwork whose content has the digest `content`. Two names of one content are in one split.

    The test split does not depend on `validation_fraction`, and loses nothing when `test_fraction` rises.
    Raises UserError where the fractions leave nothing to train on.
    """
    if min(validation_fraction, test_fraction) < 0 or validation_fraction + test_fraction >= 1:
        raise UserError(
            f"annotations.validation_fraction and annotations.test_fraction ({validation_fraction:g} and {test_fraction:g}) "
            "must be at least 0 and stay below 1 together: lower them."
        )
    place = int.from_bytes(hashlib.blake2b(f"{seed}:{content}".encode(), digest_size=8).digest(), "big") / 2**64
    if place < test_fraction:
        return "test"
    return "validation" if place < test_fraction + validation_fraction else "train"


def content_digests(store: Store, ids: Iterable[str]) -> dict[str, str]:
    """artwork id -> MD5 (hex) of its bytes. Ids that are missing in the store are left out; the order is that of `ids`.

    On S3 one listing gives the etags that are plain MD5 sums; all others (parts, encryption, folders) are fetched and hashed.
    Raises UserError where the store cannot be listed, or an artwork that is there cannot be read.
    """
    wanted = list(dict.fromkeys(ids))
    known: dict[str, str | None]
    if store.uri.startswith("s3://"):
        known = _listed(store, set(wanted))
        wanted = [artwork_id for artwork_id in wanted if artwork_id in known]
    else:
        known = {}
    unknown = iter([artwork_id for artwork_id in wanted if not known.get(artwork_id)])
    with ThreadPoolExecutor(_THREADS) as pool:
        while batch := list(islice(unknown, _BATCH)):
            known.update(zip(batch, pool.map(lambda artwork_id: _hash(store, artwork_id), batch), strict=True))
    return {artwork_id: digest for artwork_id in wanted if (digest := known[artwork_id])}


def _listed(store: Store, wanted: set[str]) -> dict[str, str | None]:
    """What the listing says: id -> MD5, or None where the etag is none."""
    found = {info.key: info for info in store.list() if info.key in wanted}
    is_md5 = _trusts_etags(store, (info for info in found.values() if _MD5.fullmatch(info.etag)))
    return {key: info.etag if is_md5 and _MD5.fullmatch(info.etag) else None for key, info in found.items()}


def _trusts_etags(store: Store, candidates: Iterator[ObjectInfo]) -> bool:
    """Whether the smallest object's etag is its MD5: under KMS encryption etags look like one and are none."""
    smallest = min(candidates, key=lambda info: info.size_bytes, default=None)
    return smallest is not None and _hash(store, smallest.key) == smallest.etag


def _hash(store: Store, key: str) -> str | None:
    try:
        return hashlib.md5(store.fetch(key).data, usedforsecurity=False).hexdigest()
    except FetchError as error:
        if error.reject_class in (RejectClass.MISSING, RejectClass.UNSUPPORTED):
            return None
        raise UserError(
            f"Cannot read the artwork {store.uri_of(key)}: {error.message}; check annotations.images and what you are allowed to read."
        ) from error
