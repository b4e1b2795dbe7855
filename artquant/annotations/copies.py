"""Copies of a picture that differ in their bytes: saved anew, in another format, scaled, or with other metadata.

A picture is known by a grey thumbnail and by a perceptual hash (64 bits: which of its 64 lowest spatial frequencies are above their
median). Thumbnails decide; in a collection beyond `_MOST_COMPARED`, between pictures whose hashes are near. Crops, mirrorings and other
photographs of one painting are not found: a `group` column is for those.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.fft import dctn

from artquant.core.errors import Reject
from artquant.core.home import home
from artquant.core.memory import ByteBudget
from artquant.images import square
from artquant.storage.store import Store

SIDE, THUMB = 32, 16
MAX_BITS = 12  # of the hash that may differ, before the thumbnails are compared
MIN_CORRELATION = 0.985  # of two copies' thumbnails
FLAT = 3.0  # a thumbnail of less spread (of 255) has no shapes to compare, and so no copies but of its bytes
_BANDS = 4  # a pair is looked at where one of the hash's 16-bit bands is equal
_MOST_COMPARED = 20_000  # pictures: all pairs of so many take some seconds
_BLOCK = 512
_THREADS = 8
_MIN_KEPT = 256  # new ones; fewer are looked at again in a second
_DECODE_BYTES = 1 << 30
_log = logging.getLogger(__name__)


class Signature(NamedTuple):
    """hash: 64 bits; thumbnail (256,) uint8: 16 x 16 in grey."""

    hash: int
    thumbnail: np.ndarray


def signature(data: bytes, budget: ByteBudget | None = None) -> Signature:
    """Return what a picture looks like, whatever file it is in. Raises Reject."""
    pixels = square.load(data, SIDE, budget=budget, simd=False).pixels
    grey = pixels.astype(np.float64) @ (0.299, 0.587, 0.114)
    low = dctn(grey, norm="ortho")[:8, :8].reshape(-1)[1:]
    bits = np.r_[False, low > np.median(low)]
    thumbnail = grey.reshape(THUMB, SIDE // THUMB, THUMB, SIDE // THUMB).mean((1, 3))
    return Signature(int.from_bytes(np.packbits(bits).tobytes(), "big"), thumbnail.round().astype(np.uint8).reshape(-1))


def signatures(store: Store, content: Mapping[str, str]) -> dict[str, Signature]:
    """Return artwork_id -> signature of the artworks of `content` (artwork_id -> digest of the bytes) that can be decoded.

    Those of a collection of some size are kept on this machine by digest, so that it is decoded once.
    """
    path = home() / "looks" / f"{hashlib.sha256(store.uri.encode()).hexdigest()[:20]}.npz"
    known = _kept(path)
    missing = {digest: artwork_id for artwork_id, digest in content.items() if digest not in known}
    if missing:
        budget = ByteBudget(_DECODE_BYTES)

        def look(artwork_id: str) -> Signature | None:
            try:
                return signature(store.fetch(artwork_id).data, budget)
            except Reject:  # a picture that cannot be read has no copies
                return None

        if len(missing) > 1000:
            _log.warning(
                "Looking at %s pictures for copies; annotations.near_copies=false compares their bytes alone.", f"{len(missing):,}"
            )
        with ThreadPoolExecutor(_THREADS) as pool:
            found = dict(zip(missing, pool.map(look, missing.values()), strict=True))
        known |= {digest: look for digest, look in found.items() if look is not None}
        if len(missing) > _MIN_KEPT:
            _keep(path, known)
    return {artwork_id: known[digest] for artwork_id, digest in content.items() if digest in known}


def _kept(path: Path) -> dict[str, Signature]:
    try:
        with np.load(path) as saved:
            columns = saved["digest"].tolist(), saved["hash"].tolist(), list(saved["thumbnail"])
    except (OSError, ValueError, KeyError):  # none yet, or one that a full disk cut off: it is made anew
        return {}
    return {digest: Signature(bits, thumbnail) for digest, bits, thumbnail in zip(*columns, strict=True)}


def _keep(path: Path, known: Mapping[str, Signature]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{id(known)}.npz")
    hashes = np.array([one.hash for one in known.values()], np.uint64)
    thumbnails = np.array([one.thumbnail for one in known.values()], np.uint8).reshape(-1, THUMB * THUMB)
    np.savez(draft, digest=np.array(list(known), str), hash=hashes, thumbnail=thumbnails)
    draft.replace(path)


def clusters(looks: Mapping[str, Signature]) -> dict[str, int]:
    """Return artwork_id -> number of the cluster of copies that it is in; artworks without a copy are left out."""
    names = list(looks)
    hashes = np.array([look.hash for look in looks.values()], np.uint64)
    thumbnails = np.array([look.thumbnail for look in looks.values()], np.uint8).reshape(-1, THUMB * THUMB)
    cluster: dict[int, int] = {}
    members: dict[int, list[int]] = {}
    for one, other in _all_pairs(thumbnails) if len(names) <= _MOST_COMPARED else _near_pairs(hashes, thumbnails):
        low, high = sorted((cluster.setdefault(one, one), cluster.setdefault(other, other)))
        if low == high and one in members.get(low, ()):
            continue
        members[low] = [*members.get(low, [low]), *(members.pop(high, [high]) if high != low else [])]
        cluster |= dict.fromkeys(members[low], low)
    return {names[row]: number for row, number in cluster.items()}


def _all_pairs(thumbnails: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield all pairs of copies among thumbnails (N, 256)."""
    shapes = _shapes(thumbnails)
    for start in range(0, len(shapes), _BLOCK):
        ones, others = np.nonzero(np.triu(shapes[start : start + _BLOCK] @ shapes[start:].T >= MIN_CORRELATION, 1))
        yield from zip((ones + start).tolist(), (others + start).tolist(), strict=True)


def _near_pairs(hashes: np.ndarray, thumbnails: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield pairs of copies whose hashes (N,) are near and have the same bits in one of the bands: nearly all that there are."""
    shapes = _shapes(thumbnails)
    for band in range(_BANDS):
        bits = (hashes >> np.uint64(16 * band)) & np.uint64(0xFFFF)
        order = np.argsort(bits, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(bits[order])) + 1):
            for place in range(len(rows) - 1):
                later = rows[place + 1 :]
                near = later[np.bitwise_count(hashes[later] ^ hashes[rows[place]]) <= MAX_BITS]
                alike = near[shapes[near] @ shapes[rows[place]] >= MIN_CORRELATION]
                yield from ((int(rows[place]), other) for other in alike.tolist())


def _shapes(thumbnails: np.ndarray) -> np.ndarray:
    """Return thumbnails (N, 256) as float32 of mean 0 and length 1, whose products are correlations; zeros where nothing is to be seen."""
    shapes = thumbnails - thumbnails.mean(axis=1, keepdims=True, dtype=np.float32)
    spread = shapes.std(axis=1, keepdims=True)
    return np.where(spread < FLAT, 0, shapes / np.maximum(spread, 1e-6) / np.sqrt(shapes.shape[1])).astype(np.float32)
