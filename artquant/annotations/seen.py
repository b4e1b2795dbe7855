"""What a model has seen: the artworks that it, and the models that it was made from, were trained and validated on.

It lies beside the weights and is kept as exact lists, 16 bytes an artwork: the first half of the MD5 of its bytes, and the perceptual hash
of its picture, by which one that was saved anew is known again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from artquant.annotations.copies import Signature
from artquant.annotations.split import Splits
from artquant.core.errors import UserError
from artquant.core.identity import SEEN
from artquant.core.schema import ARTWORK_ID

MAX_BITS = 3  # of 64 in which the hash of the same picture may differ
_BANDS = 4  # of 16 bits: one of them is equal where MAX_BITS differ


@dataclass(frozen=True)
class Seen:
    """`digests` (N,), `hashes` (M,) uint64, sorted, each once."""

    digests: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))
    hashes: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))

    @classmethod
    def of(cls, contents: Iterable[str], looks: Iterable[Signature]) -> Seen:
        """Make the list of artworks from the MD5s (hex) of their bytes and from what they look like."""
        digests = np.array([_short(content) for content in contents], np.uint64)
        return cls(np.unique(digests), np.unique(np.array([look.hash for look in looks], np.uint64)))

    def __or__(self, other: Seen) -> Seen:
        return Seen(np.union1d(self.digests, other.digests), np.union1d(self.hashes, other.hashes))

    def __len__(self) -> int:
        return len(self.digests)

    def among(self, content: Mapping[str, str], looks: Mapping[str, Signature]) -> set[str]:
        """Return the artworks of `content` (artwork_id -> MD5) that were seen, as the same bytes or as the same picture."""
        ids = list(content)
        found = {ids[row] for row in np.flatnonzero(np.isin(np.array([_short(content[name]) for name in ids], np.uint64), self.digests))}
        rest = [name for name in ids if name not in found and name in looks]
        hashes = np.array([looks[name].hash for name in rest], np.uint64)
        near = np.zeros(len(rest), bool)
        for band in range(_BANDS if len(self.hashes) else 0):
            ours, theirs = (((some >> np.uint64(16 * band)) & np.uint64(0xFFFF)) for some in (self.hashes, hashes))
            order = np.argsort(ours, kind="stable")
            starts, ends = (np.searchsorted(ours[order], theirs, side=side) for side in ("left", "right"))
            for row in np.flatnonzero((ends > starts) & ~near):
                near[row] = (np.bitwise_count(self.hashes[order[starts[row] : ends[row]]] ^ hashes[row]) <= MAX_BITS).any()
        return found | {rest[row] for row in np.flatnonzero(near)}

    def to_bytes(self) -> bytes:
        from safetensors.numpy import save

        return save({"digests": self.digests, "hashes": self.hashes})


def read_seen(*folders: str | Path) -> Seen:
    """Read what the model in these folders (an adapter's and its base's) has seen; nothing where they do not say it."""
    from safetensors.numpy import load_file

    seen = Seen()
    for path in {Path(folder) / SEEN for folder in folders}:
        if path.is_file():
            seen |= Seen(**load_file(path))
    return seen


def without_seen(splits: Splits, seen: Seen, by: str) -> tuple[Splits, int]:
    """Take from the test split what was seen; also return how many that are. Raises UserError if nothing is left to judge on."""
    ids = splits.test[ARTWORK_ID].to_pylist()
    known = seen.among({name: splits.content[name] for name in ids}, splits.signatures)
    if ids and len(known) == len(ids):
        raise UserError(
            f"All {len(ids):,} held-out artworks were trained or validated on by {by}, so nothing is left to judge on: "
            "give annotations of other artworks, or the split that was held out from it (annotations.split, split_seed, test_fraction)."
        )
    left = pc.invert(pc.is_in(splits.test[ARTWORK_ID], pa.array(sorted(known), pa.string())))
    return replace(splits, test=splits.test.filter(left)), len(known)


def _short(md5: str) -> int:
    return int(md5[:16], 16)
