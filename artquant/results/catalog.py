"""What there is tonight: a collection's artworks as tables in the order of their ids, from listings, a manifest or an S3 Inventory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.compute as pc

from artquant.core.errors import UserError
from artquant.core.schema import ARTWORK_ID, ETAG, SIZE_BYTES, URI
from artquant.results.inventories import read_inventory
from artquant.results.listing import KnownRanges, Watch, list_artworks
from artquant.results.manifests import read_manifest
from artquant.results.source import EXCLUDED, Source, catalog_schema, is_excluded
from artquant.results.windows import sorted_stream
from artquant.storage.store import open_store

__all__ = ["EXCLUDED", "Source", "catalog_schema", "check_not_empty", "read_catalog"]


@contextmanager
def read_catalog(source: Source, watch: Watch = iter, known: Callable[[], KnownRanges] = list) -> Iterator[Iterator[pa.Table]]:
    """Return the artworks in the order of their ids, each once. `known`: what was there last time, by which a listing is cut.

    Raises UserError where there are none, or one comes twice.
    """
    tables: Iterator[pa.Table]
    if source.kind == "input":
        tables = (table for uri in source.uris for table in _listed(uri, source, watch, known))
    else:
        tables = read_manifest(source) if source.kind == "manifest" else read_inventory(source)
    with sorted_stream(tables) as ordered:
        yield _checked(ordered, source)


@contextmanager
def listed_catalog(tables: Iterator[pa.Table], source: Source) -> Iterator[Iterator[pa.Table]]:
    """Do as :func:`read_catalog` for artworks that somebody else listed: tables of `catalog_schema(source.carry)` in any order."""
    with sorted_stream(tables) as ordered:
        yield _checked(ordered, source)


def _checked(tables: Iterator[pa.Table], source: Source) -> Iterator[pa.Table]:
    last: str | None = None
    num_twice, first_twice, num, num_excluded = 0, "", 0, 0
    for table in tables:
        ids = table.column(ARTWORK_ID).combine_chunks()
        before = pa.concat_arrays([pa.array([last], pa.string()), ids.slice(0, len(ids) - 1)])
        twice = pc.fill_null(pc.equal(ids, before), False)
        if count := pc.sum(twice).as_py() or 0:
            first_twice = first_twice or ids.filter(twice)[0].as_py()
            num_twice += count
        num, num_excluded = num + len(ids), num_excluded + (pc.sum(table.column(EXCLUDED)).as_py() or 0)
        last = ids[-1].as_py()
        if not num_twice:
            yield table
    if num_twice:
        more = f" and {num_twice - 1:,} more" if num_twice > 1 else ""
        if source.others:
            raise UserError(
                f"{source.name} hold {first_twice!r} twice{more}: an artwork's id is its key below its input, so give what the inputs lie "
                "in as the input, or each an output of its own."
            )
        raise UserError(f"{source.uri} names {first_twice!r} twice{more}: an id stands for one artwork, so give each its own.")
    if num == num_excluded:
        raise _nothing(source, num_excluded)


def check_not_empty(source: Source) -> None:
    """Raise UserError for an input in which there is no artwork: of an address that is wrong all artworks would be gone. The listing goes
    no further than the first."""
    for uri in source.uris:
        num_excluded = 0
        for number, info in enumerate(open_store(uri).list(), 1):
            if not is_excluded(info.key, source.exclude):
                break
            num_excluded = number
        else:
            raise _nothing(Source(source.kind, uri), num_excluded)


def _nothing(source: Source, num_excluded: int) -> UserError:
    left_out = f" but {num_excluded} objects that `exclude` leaves out" if num_excluded else ""
    what = "below" if source.kind == "input" else "in"
    return UserError(f"There is nothing {what} {source.name}{left_out}: give an input that holds pictures.")


def _listed(uri: str, source: Source, watch: Watch, known: Callable[[], KnownRanges]) -> Iterator[pa.Table]:
    """Every object below an input is an artwork: content decides what is a picture, not the name. A key is an id: unique."""
    store = open_store(uri)
    for table in list_artworks(store, known, watch):
        ids = table.column(ARTWORK_ID)
        excluded = [is_excluded(key, source.exclude) for key in ids.to_pylist()] if source.exclude else [False] * len(ids)
        columns = {
            ARTWORK_ID: ids,
            URI: pc.binary_join_element_wise(store.uri_of(""), ids, ""),
            ETAG: table.column(ETAG),
            SIZE_BYTES: table.column(SIZE_BYTES),
            EXCLUDED: pa.array(excluded, pa.bool_()),
        }
        yield pa.table(columns, schema=catalog_schema())
