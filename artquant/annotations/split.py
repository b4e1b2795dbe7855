"""Which split an artwork belongs to: a pure function of its content, so that what is added later moves nothing."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from artquant.annotations.read import Annotations, read_annotations
from artquant.config import ResolvedAnnotationSpec
from artquant.core.errors import UserError
from artquant.core.scale import Scale, clamp_scores
from artquant.core.schema import ARTWORK_ID, SCORE, RejectClass
from artquant.storage.store import FetchError, ObjectInfo, Store, open_store

Split = Literal["train", "validation", "test"]
_MD5 = re.compile(r"[0-9a-f]{32}")
_THREADS = 32
_BATCH = 8192  # ids whose fetches are queued at once


def split_of(content: str, seed: int, validation_fraction: float, test_fraction: float) -> Split:
    """Return the split of the artwork whose content has the digest `content`. Two names of the same content are in the same split.

    The test split does not depend on `validation_fraction`, and loses nothing when `test_fraction` rises. Raises UserError if the fractions
    leave nothing to train on.
    """
    if min(validation_fraction, test_fraction) < 0 or validation_fraction + test_fraction >= 1:
        raise UserError(
            f"annotations.validation_fraction and annotations.test_fraction ({validation_fraction:g} and {test_fraction:g}) "
            "must be at least 0 and stay below 1 together: lower them."
        )
    fraction = int.from_bytes(hashlib.blake2b(f"{seed}:{content}".encode(), digest_size=8).digest(), "big") / 2**64
    if fraction < test_fraction:
        return "test"
    return "validation" if fraction < test_fraction + validation_fraction else "train"


def content_digests(store: Store, ids: Iterable[str]) -> dict[str, str]:
    """Return artwork id -> MD5 (hex) of its bytes. Ids that are missing in the store are left out; the order is that of `ids`.

    On S3 one listing gives the etags that are plain MD5 sums; all others (parts, encryption, folders) are fetched and hashed. Raises
    UserError if the store cannot be listed, or an artwork that is there cannot be read.
    """
    wanted = list(dict.fromkeys(ids))
    digests: dict[str, str | None]
    if store.uri.startswith("s3://"):
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


@dataclass(frozen=True)
class Splits:
    """Annotations by what they are for; scores lie within the levels. `content`: artwork_id -> digest of its bytes."""

    train: pa.Table
    validation: pa.Table
    test: pa.Table
    content: dict[str, str]
    annotations: Annotations
    num_clamped: int
    num_missing: int  # annotated, but there is no such picture


def split_annotations(spec: ResolvedAnnotationSpec) -> Splits:
    """Read the annotations, clamp their scores and split them by content. Raises UserError.

    The same picture under two names is never in two splits, and old rows stay where they are when new ones are added.
    """
    annotations = read_annotations(spec)
    table = annotations.table
    scores, num_clamped = clamp_scores(table.column(SCORE).to_numpy(zero_copy_only=False), Scale(tuple(spec.level_values)))
    table = table.set_column(table.schema.get_field_index(SCORE), SCORE, pa.array(scores, pa.float64(), from_pandas=True))
    ids = table.column(ARTWORK_ID).to_pylist()
    content, split = assign_splits(spec, ids)
    assigned = pa.array([split.get(artwork_id) for artwork_id in ids], pa.string())
    train, validation, test = (table.filter(pc.equal(assigned, name)) for name in ("train", "validation", "test"))
    return Splits(train, validation, test, content, annotations, num_clamped, len(table) - len(content))


def assign_splits(spec: ResolvedAnnotationSpec, ids: Sequence[str]) -> tuple[dict[str, str], dict[str, Split]]:
    """Return artwork_id -> digest of its bytes, and artwork_id -> split, of the annotated artworks there are. Raises UserError for none."""
    store = open_store(spec.images)
    content = content_digests(store, ids)
    if not content:
        raise UserError(f"None of the {len(ids)} annotated artworks, such as {ids[0]}, is below {store.uri}: correct annotations.images.")
    fractions = spec.validation_fraction, spec.test_fraction
    return content, {artwork_id: split_of(digest, spec.split_seed, *fractions) for artwork_id, digest in content.items()}
