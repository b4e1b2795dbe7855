"""What there is tonight: a collection's artworks as tables in the order of their ids, from a listing, a manifest or an S3 Inventory."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from artquant.core.errors import UserError
from artquant.core.schema import ARTWORK_ID, ETAG, SIZE_BYTES, URI
from artquant.results.windows import WINDOW_ROWS, sorted_stream
from artquant.storage.store import ObjectInfo, open_parent, open_store

EXCLUDED, KEY = "excluded", "key"  # columns of a catalog: left out by a pattern; what the store is asked for
_IDS = (ARTWORK_ID, "id", "image_id", "key", "name")
_URIS = (URI, "url", "path", "location", "image")
_ETAGS, _SIZES = (ETAG, "e_tag", "md5"), (SIZE_BYTES, "size")


@dataclass(frozen=True)
class Source:
    """One collection: `kind` is input, manifest or inventory. `base`: the store whose keys the catalog's `key` column holds; None where
    each artwork has an address of its own."""

    kind: str
    uri: str
    exclude: tuple[str, ...] = ()
    carry: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The same for the same place, whatever is excluded from it tonight."""
        return hashlib.blake2b(f"{self.kind} {self.uri}".encode(), digest_size=6).hexdigest()


def catalog_schema(carry: Sequence[str] = ()) -> pa.Schema:
    return pa.schema(
        [(ARTWORK_ID, pa.string()), (URI, pa.string()), (ETAG, pa.string()), (SIZE_BYTES, pa.int64()), (EXCLUDED, pa.bool_())]
        + [(name, pa.string()) for name in carry]
    )


@contextmanager
def read_catalog(source: Source, watch: Callable[[Iterator[ObjectInfo]], Iterator[ObjectInfo]] = iter) -> Iterator[Iterator[pa.Table]]:
    """Return the artworks in the order of their ids, each once. Raises UserError where there are none, or one comes twice."""
    readers = {"input": _listed, "manifest": _manifest, "inventory": _inventory}
    tables = _listed(source, watch) if source.kind == "input" else readers[source.kind](source)
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
        raise UserError(f"{source.uri} names {first_twice!r} twice{more}: an id stands for one artwork, so give each its own.")
    if num == num_excluded:
        raise _nothing(source, num_excluded)


def check_not_empty(source: Source) -> None:
    """Raise UserError for an input in which there is no artwork; the listing goes no further than the first."""
    num_excluded = 0
    for info in open_store(source.uri).list():
        if not _is_excluded(info.key, source.exclude):
            return
        num_excluded += 1
    raise _nothing(source, num_excluded)


def _nothing(source: Source, num_excluded: int) -> UserError:
    left_out = f" but {num_excluded} objects that `exclude` leaves out" if num_excluded else ""
    what = "below" if source.kind == "input" else "in"
    return UserError(f"There is nothing {what} {source.uri}{left_out}: give an input that holds pictures.")


def _listed(source: Source, watch: Callable[[Iterator[ObjectInfo]], Iterator[ObjectInfo]] = iter) -> Iterator[pa.Table]:
    """Every object below the root is an artwork: content decides what is a picture, not the name. A key is an id: unique."""
    store = open_store(source.uri)
    objects = watch(store.list())
    while batch := list(islice(objects, WINDOW_ROWS)):
        keys = [info.key for info in batch]
        columns = {
            ARTWORK_ID: keys,
            URI: [store.uri_of(key) for key in keys],
            ETAG: [info.etag for info in batch],
            SIZE_BYTES: [info.size_bytes for info in batch],
            EXCLUDED: [_is_excluded(key, source.exclude) for key in keys],
        }
        yield pa.table(columns, schema=catalog_schema())


def _is_excluded(key: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in patterns)


def _manifest(source: Source) -> Iterator[pa.Table]:
    """Read a row an artwork: an id and an address, an etag and a size where it has them, and the columns to carry."""
    store, name = open_parent(source.uri)
    with tempfile.TemporaryDirectory(prefix="artquant-manifest-") as folder:
        path = Path(folder) / "manifest"
        with store.open_input(name) as stream, path.open("wb") as file:
            shutil.copyfileobj(stream, file, 16 << 20)
        try:
            for table in _tables_of(path, name):
                yield _as_catalog(table, source)
        except (pa.ArrowException, ValueError, OSError) as error:
            raise UserError(
                f"The manifest {source.uri} cannot be read: {' '.join(str(error).split())[:200].rstrip('.')}. Write it again, whole."
            ) from error


def _tables_of(path: Path, name: str) -> Iterator[pa.Table]:
    with path.open("rb") as file:
        beginning = file.read(4)
    if beginning == b"PAR1":
        for batch in pq.ParquetFile(path).iter_batches(WINDOW_ROWS):
            yield pa.Table.from_batches([batch])
        return
    if beginning[:2] == b"\x1f\x8b":
        unpacked = path.with_suffix(".unpacked")
        with gzip.open(path) as packed, unpacked.open("wb") as file:
            shutil.copyfileobj(packed, file, 16 << 20)
        path, beginning = unpacked, unpacked.open("rb").read(4)
    if beginning.lstrip()[:1] == b"{":
        yield pyarrow.json.read_json(path, pyarrow.json.ReadOptions(block_size=8 << 20))
        return
    options = pyarrow.csv.ConvertOptions(column_types={name: pa.string() for name in (*_IDS, *_URIS, *_ETAGS)}, strings_can_be_null=False)
    delimiter = "\t" if name.removesuffix(".gz").endswith((".tsv", ".tab")) else ","
    with pyarrow.csv.open_csv(path, parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter), convert_options=options) as reader:
        for batch in reader:
            yield pa.Table.from_batches([batch])


def _as_catalog(table: pa.Table, source: Source) -> pa.Table:
    names = {name.strip().lower(): name for name in table.column_names}

    def column(candidates: Sequence[str], kind: pa.DataType) -> pa.ChunkedArray | None:
        name = next((names[candidate] for candidate in candidates if candidate in names), None)
        return table.column(name).cast(kind) if name is not None else None

    uris, ids = column(_URIS, pa.string()), column(_IDS, pa.string())
    if uris is None:
        raise UserError(f"The manifest {source.uri} has no column {' or '.join(_URIS)}: it has {', '.join(table.column_names)}.")
    ids = ids if ids is not None else uris
    for what, values in (("id", ids), ("address", uris)):
        bad = pc.sum(pc.or_kleene(pc.is_null(values), pc.equal(pc.fill_null(values, ""), ""))).as_py() or 0
        if bad:
            raise UserError(f"The manifest {source.uri} has {bad:,} rows without an {what}: write it again, whole.")
    if unknown := [name for name in source.carry if name not in table.column_names]:
        raise UserError(f"carry={unknown[0]} is no column of {source.uri}: it has {', '.join(table.column_names)}.")
    etags, sizes = column(_ETAGS, pa.string()), column(_SIZES, pa.int64())
    excluded = [_is_excluded(name, source.exclude) for name in ids.to_pylist()] if source.exclude else [False] * len(ids)
    columns: dict[str, Any] = {
        ARTWORK_ID: ids,
        URI: uris,
        ETAG: pc.fill_null(etags, "") if etags is not None else pa.array([""] * len(ids)),
        SIZE_BYTES: sizes if sizes is not None else pa.nulls(len(ids), pa.int64()),
        EXCLUDED: pa.array(excluded, pa.bool_()),
    }
    columns |= {name: table.column(name).cast(pa.string()) for name in source.carry}
    return pa.table(columns, schema=catalog_schema(source.carry))


def _inventory(source: Source) -> Iterator[pa.Table]:
    """Read an S3 Inventory by its manifest.json: files of CSV (gzip) or Parquet with Bucket, Key, Size and ETag."""
    store, name = open_parent(source.uri)
    try:
        document = json.loads(store.get(name))
        kind, files = document["fileFormat"].lower(), [file["key"] for file in document["files"]]
        fields = [part.strip().lower() for part in document["fileSchema"].split(",")] if kind == "csv" else []
        bucket, home = document["sourceBucket"], document["destinationBucket"].removeprefix("arn:aws:s3:::")
    except (ValueError, KeyError, AttributeError) as error:
        raise UserError(f"{source.uri} is no manifest.json of an S3 Inventory: {error}.") from error
    for key in files:
        place, part = open_parent(f"s3://{home}/{key}")
        with tempfile.NamedTemporaryFile(suffix=Path(part).suffix) as file:
            with place.open_input(part) as stream:
                shutil.copyfileobj(stream, file, 16 << 20)
            file.flush()
            for table in _inventory_tables(Path(file.name), kind, fields):
                yield _inventory_rows(table, bucket, source)


def _inventory_tables(path: Path, kind: str, fields: Sequence[str]) -> Iterator[pa.Table]:
    if kind == "parquet":
        for batch in pq.ParquetFile(path).iter_batches(WINDOW_ROWS):
            yield pa.Table.from_batches([batch])
    elif kind == "csv":
        options = pyarrow.csv.ReadOptions(column_names=list(fields))
        types = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(fields, pa.string()))
        with gzip.open(path) as packed, pyarrow.csv.open_csv(packed, options, convert_options=types) as reader:
            for batch in reader:
                yield pa.Table.from_batches([batch])
    else:
        raise UserError(f"An inventory in {kind} is not read: let S3 write it as CSV or Parquet.")


def _inventory_rows(table: pa.Table, bucket: str, source: Source) -> pa.Table:
    table = table.rename_columns([name.lower().replace("_", "") for name in table.column_names])
    for name, wanted in (("islatest", "true"), ("isdeletemarker", "false")):
        if name in table.column_names:
            table = table.filter(pc.equal(pc.utf8_lower(table.column(name).cast(pa.string())), wanted))
    keys = table.column("key").to_pylist()
    if "size" in table.column_names and pa.types.is_string(table.schema.field("size").type):
        keys = [unquote_plus(key) for key in keys]  # CSV inventories encode them
    etag = table.column("etag").cast(pa.string()) if "etag" in table.column_names else pa.array([""] * len(keys))
    size = table.column("size").cast(pa.int64()) if "size" in table.column_names else pa.nulls(len(keys), pa.int64())
    columns = {
        ARTWORK_ID: keys,
        URI: [f"s3://{bucket}/{key}" for key in keys],
        ETAG: pc.fill_null(etag, ""),
        SIZE_BYTES: size,
        EXCLUDED: [_is_excluded(key, source.exclude) for key in keys],
    }
    return pa.table(columns, schema=catalog_schema())
