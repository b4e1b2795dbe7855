"""A manifest (Parquet, CSV or JSON lines) as tables of `catalog_schema()`, in whatever order it has."""

from __future__ import annotations

import gzip
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from artquant.core.errors import UserError
from artquant.core.schema import ARTWORK_ID, ETAG, SIZE_BYTES, URI
from artquant.results.source import EXCLUDED, Source, catalog_schema, is_excluded
from artquant.results.windows import WINDOW_ROWS
from artquant.storage.store import open_parent

_IDS = (ARTWORK_ID, "id", "image_id", "key", "name")
_URIS = (URI, "url", "path", "location", "image")
_ETAGS, _SIZES = (ETAG, "e_tag", "md5"), (SIZE_BYTES, "size")
_BLOCK = 8 << 20


class _Columns(NamedTuple):
    """What the manifest calls them; None for what it does not have."""

    id: str
    uri: str
    etag: str | None
    size: str | None
    carry: tuple[str, ...]

    @property
    def texts(self) -> list[str]:
        return list(dict.fromkeys((self.id, self.uri, *([self.etag] if self.etag else []), *self.carry)))

    @property
    def all(self) -> list[str]:
        return [*self.texts, *([self.size] if self.size else [])]


def read_manifest(source: Source) -> Iterator[pa.Table]:
    """Read a row an artwork: an id and an address, an etag and a size where it has them, and the columns to carry.

    Raises UserError for a file that is not whole, lacks a column, or has rows without an id or an address.
    """
    store, name = open_parent(source.uri)
    num_rows = num_lacking = first_lacking = 0
    with tempfile.TemporaryDirectory(prefix="artquant-manifest-") as folder:
        path = Path(folder) / "manifest"
        with store.open_input(name) as stream, path.open("wb") as file:
            shutil.copyfileobj(stream, file, 16 << 20)
        try:
            for table, columns in _tables_of(path, name, source):
                ids, uris = (pc.fill_null(table.column(name).cast(pa.string()), "") for name in (columns.id, columns.uri))
                is_lacking = pc.or_(pc.equal(ids, ""), pc.equal(uris, ""))
                if num := pc.sum(is_lacking).as_py() or 0:
                    first_lacking = first_lacking or num_rows + 1 + is_lacking.to_pylist().index(True)
                    num_lacking += num
                num_rows += table.num_rows
                if not num_lacking:
                    yield _as_catalog(table, columns, source)
        except (pa.ArrowException, ValueError, OSError, EOFError, zlib.error) as error:
            why = " ".join(str(error).split())[:200].rstrip(".")
            raise UserError(f"The manifest {source.uri} cannot be read: {why}. Write it again, whole.") from error
    if num_lacking:
        raise UserError(
            f"The manifest {source.uri} has {num_lacking:,} of {num_rows:,} rows without an id or an address, the first is row "
            f"{first_lacking:,}: write it again, whole."
        )


def _tables_of(path: Path, name: str, source: Source) -> Iterator[tuple[pa.Table, _Columns]]:
    """Only the columns that are needed are read, a block at a time."""
    beginning = _beginning(path)
    if beginning == b"PAR1":
        file = pq.ParquetFile(path)
        columns = _columns_of(file.schema_arrow, source)
        for batch in file.iter_batches(WINDOW_ROWS, columns=columns.all):
            yield pa.Table.from_batches([batch]), columns
        return
    if beginning[:2] == b"\x1f\x8b":
        unpacked = path.with_suffix(".unpacked")
        with gzip.open(path) as packed, unpacked.open("wb") as target:
            shutil.copyfileobj(packed, target, 16 << 20)
        path, beginning = unpacked, _beginning(unpacked)
    if beginning.lstrip()[:1] == b"{":
        yield from _json_lines(path, source)
        return
    parse = pyarrow.csv.ParseOptions(delimiter="\t" if name.removesuffix(".gz").endswith((".tsv", ".tab")) else ",")
    with pyarrow.csv.open_csv(path, parse_options=parse) as reader:
        columns = _columns_of(reader.schema, source)
    # Texts as they stand: 007 is no number.
    texts = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(columns.texts, pa.string()), include_columns=columns.all, strings_can_be_null=False
    )
    with pyarrow.csv.open_csv(path, parse_options=parse, convert_options=texts) as reader:
        for batch in reader:
            yield pa.Table.from_batches([batch]), columns


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4)


def _json_lines(path: Path, source: Source) -> Iterator[tuple[pa.Table, _Columns]]:
    options = pyarrow.json.ReadOptions(block_size=_BLOCK)
    with pyarrow.json.open_json(path, options) as reader:
        seen = reader.schema
    columns = _columns_of(seen, source)
    # What looks like a date stays text, and what is null in the first block may be text later.
    numbers = {field.name for field in seen if pa.types.is_integer(field.type) or pa.types.is_floating(field.type)}
    texts = [(name, pa.string()) for name in columns.texts if name not in numbers]
    sizes = [(columns.size, pa.int64())] if columns.size else []
    kinds = pyarrow.json.ParseOptions(explicit_schema=pa.schema([*texts, *sizes]))
    with pyarrow.json.open_json(path, options, kinds) as reader:
        for batch in reader:
            yield pa.Table.from_batches([batch]).select(columns.all), columns


def _columns_of(schema: pa.Schema, source: Source) -> _Columns:
    """Raise UserError where there is no address, or no column that is to be carried."""
    there = {name.strip().lower(): name for name in schema.names}
    ids, uris, etags, sizes = (
        next((there[name] for name in candidates if name in there), None) for candidates in (_IDS, _URIS, _ETAGS, _SIZES)
    )
    if uris is None:
        raise UserError(f"The manifest {source.uri} has no column {' or '.join(_URIS)}: it has {', '.join(schema.names)}.")
    if unknown := [name for name in source.carry if name not in schema.names]:
        raise UserError(f"carry={unknown[0]} is no column of {source.uri}: it has {', '.join(schema.names)}.")
    for name in source.carry:
        if pa.types.is_nested(kind := schema.field(name).type) or pa.types.is_binary(kind):
            raise UserError(f"carry={name} holds {kind} in {source.uri}: texts, numbers and dates are carried, so write it as one of them.")
    return _Columns(ids or uris, uris, etags, sizes, source.carry)


def _as_catalog(table: pa.Table, columns: _Columns, source: Source) -> pa.Table:
    num = table.num_rows
    ids = table.column(columns.id).cast(pa.string())
    excluded: Sequence[bool] = [is_excluded(name, source.exclude) for name in ids.to_pylist()] if source.exclude else [False] * num
    made = {
        ARTWORK_ID: ids,
        URI: table.column(columns.uri).cast(pa.string()),
        ETAG: pc.fill_null(table.column(columns.etag).cast(pa.string()), "") if columns.etag else pa.array([""] * num, pa.string()),
        SIZE_BYTES: table.column(columns.size).cast(pa.int64()) if columns.size else pa.nulls(num, pa.int64()),
        EXCLUDED: pa.array(excluded, pa.bool_()),
    }
    made |= {name: table.column(name).cast(pa.string()) for name in source.carry}
    return pa.table(made, schema=catalog_schema(source.carry))
