"""An S3 Inventory as tables of `catalog_schema()`, in whatever order it has."""

from __future__ import annotations

import gzip
import json
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote_plus

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from artquant.core.errors import UserError
from artquant.core.schema import ARTWORK_ID, ETAG, SIZE_BYTES, URI
from artquant.results.source import EXCLUDED, Source, catalog_schema, is_excluded
from artquant.results.windows import WINDOW_ROWS
from artquant.storage.store import open_parent


def read_inventory(source: Source) -> Iterator[pa.Table]:
    """Read an S3 Inventory by its manifest.json: files of CSV (gzip) or Parquet with Bucket, Key, Size and ETag. Raises UserError."""
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
            try:
                for table in _tables_of(Path(file.name), kind, fields):
                    yield _as_catalog(table, bucket, source)
            except (pa.ArrowException, ValueError, OSError, EOFError, zlib.error, KeyError) as error:
                why = " ".join(str(error).split())[:200].rstrip(".")
                raise UserError(f"s3://{home}/{key} of the inventory {source.uri} cannot be read: {why}. Take a whole one.") from error


def _tables_of(path: Path, kind: str, fields: Sequence[str]) -> Iterator[pa.Table]:
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


def _as_catalog(table: pa.Table, bucket: str, source: Source) -> pa.Table:
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
        EXCLUDED: [is_excluded(key, source.exclude) for key in keys],
    }
    return pa.table(columns, schema=catalog_schema())
