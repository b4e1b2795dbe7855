"""What an artwork is, whatever it is called: the MD5 of its bytes, from a listing where the store has it there."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from artquant.core.addresses import is_object_store
from artquant.core.errors import UserError
from artquant.core.schema import RejectClass
from artquant.storage.store import FetchError, ObjectInfo, Store

_MD5 = re.compile(r"[0-9a-f]{32}")
_THREADS = 32
_BATCH = 8192  # ids whose fetches are queued at once


def content_digests(store: Store, ids: Iterable[str]) -> dict[str, str]:
    """Return artwork id -> MD5 (hex) of its bytes. Ids that are missing in the store are left out; the order is that of `ids`.

    On S3 one listing gives the etags that are plain MD5 sums; all others (parts, encryption, folders) are fetched and hashed. Raises
    UserError if the store cannot be listed, or an artwork that is there cannot be read.
    """
    wanted = list(dict.fromkeys(ids))
    digests: dict[str, str | None]
    if is_object_store(store.uri):
        digests = _listed(store, set(wanted))
        wanted = [artwork_id for artwork_id in wanted if artwork_id in digests]
    else:
        digests = {}
    unknown = iter([artwork_id for artwork_id in wanted if not digests.get(artwork_id)])
    with ThreadPoolExecutor(_THREADS) as pool:
        while batch := list(islice(unknown, _BATCH)):
            digests.update(zip(batch, pool.map(lambda artwork_id: _hash(store, artwork_id), batch), strict=True))
    return {artwork_id: digest for artwork_id in wanted if (digest := digests[artwork_id])}


def _listed(store: Store, wanted: set[str]) -> dict[str, str | None]:
    """Read the MD5s from the listing: id -> MD5, or None if the etag is not an MD5."""
    listed = {info.key: info for info in store.list() if info.key in wanted}
    is_md5 = _trusts_etags(store, (info for info in listed.values() if _MD5.fullmatch(info.etag)))
    return {key: info.etag if is_md5 and _MD5.fullmatch(info.etag) else None for key, info in listed.items()}


def _trusts_etags(store: Store, candidates: Iterator[ObjectInfo]) -> bool:
    """Tell whether the smallest object's etag is its MD5: under KMS encryption etags look like one but are not."""
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
