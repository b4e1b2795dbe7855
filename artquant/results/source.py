"""A collection as it is asked for, and the columns in which its artworks are listed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import pyarrow as pa
import pyarrow.compute as pc

from artquant.core.errors import UserError
from artquant.core.schema import ARTWORK_ID, ETAG, SIZE_BYTES, URI, plan_schema, reject_schema, score_schema

EXCLUDED = "excluded"  # a column of a catalog: left out by a pattern
_PARTITIONS = ("model", "run_date")  # columns that readers take from the names of folders


@dataclass(frozen=True)
class Source:
    """Where the artworks are: `kind` is input, manifest or inventory; `others`: further inputs of the same run. Each input is a collection
    of its own, and an artwork's id is its key below its input, whatever else is listed with it."""

    kind: str
    uri: str
    exclude: tuple[str, ...] = ()
    carry: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def uris(self) -> tuple[str, ...]:
        return (self.uri, *self.others)

    @property
    def id(self) -> str:
        """The first collection's; see `collections`."""
        return _id_of(self.kind, self.uri)

    @property
    def collections(self) -> dict[str, str]:
        """Id -> address. The same id for the same place, whatever is excluded from it or listed beside it tonight."""
        return {_id_of(self.kind, uri): uri for uri in self.uris}

    @property
    def name(self) -> str:
        return ", ".join(self.uris)


def _id_of(kind: str, uri: str) -> str:
    return hashlib.blake2b(f"{kind} {uri}".encode(), digest_size=6).hexdigest()


def collection_of(source: Source, uris: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    """Return the id of the collection that each artwork is listed in; no input lies in another."""
    found = pa.array([source.id] * len(uris), pa.string())
    for collection, uri in source.collections.items():
        if collection != source.id:
            found = pc.if_else(pc.starts_with(uris, f"{uri.rstrip('/')}/"), collection, found)
    return found


def catalog_schema(carry: Sequence[str] = ()) -> pa.Schema:
    return pa.schema(
        [(ARTWORK_ID, pa.string()), (URI, pa.string()), (ETAG, pa.string()), (SIZE_BYTES, pa.int64()), (EXCLUDED, pa.bool_())]
        + [(name, pa.string()) for name in carry]
    )


def is_excluded(key: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in patterns)


def check_carry(carry: Sequence[str], has_manifest: bool) -> None:
    """Raise UserError for columns that cannot travel: there is no manifest, or the scores have one of that name. Some readers take `Title`
    and `title` for one."""
    if carry and not has_manifest:
        raise UserError(f"carry={','.join(carry)} names columns of a manifest, and there is none: give manifest=, or leave carry out.")
    names = (*score_schema().names, *reject_schema().names, *plan_schema().names, *_PARTITIONS)
    taken = {name.lower(): name for name in names}
    seen: dict[str, str] = {}
    for name in carry:
        if name.lower() in taken:
            raise UserError(f"carry={name} cannot travel: the results have a column {taken[name.lower()]}; rename it in the manifest.")
        if name.lower() in seen:
            raise UserError(f"carry={seen[name.lower()]},{name} would be one column to some readers: rename one of them in the manifest.")
        seen[name.lower()] = name
