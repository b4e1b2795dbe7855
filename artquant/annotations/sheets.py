"""A file cut into rows, according to its content. Only what cannot be parsed is refused here."""

from __future__ import annotations

import contextlib
import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from artquant.annotations.files import File
from artquant.annotations.quotes import check_header, check_rows
from artquant.annotations.values import as_array, load_json, said, shown
from artquant.annotations.workbooks import is_workbook, read_workbook
from artquant.core.errors import UserError

_DELIMITERS = ",;\t|"
_HEADER_BYTES = 65536
_BLOCK_BYTES = 1 << 30  # a row must fit into a block


@dataclass(frozen=True)
class Sheet:
    """The rows of one file. Row numbers count from 1: the first below a CSV's header, the first object of a JSON file; blank lines do not
    count. What could not be parsed is in `broken`: row -> reason."""

    file: File
    table: pa.Table  # columns under the names that they have in the file; those of a CSV are all strings
    rows: np.ndarray  # (N,) int64, the row numbers of `table`
    broken: dict[int, str]
    is_typed: bool  # False for a CSV


def is_json(file: File) -> bool:
    return not file.name.lower().removesuffix(".gz").endswith((".csv", ".tsv", ".txt")) and file.data[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")[
        :1
    ] in (
        b"[",
        b"{",
    )


def parse(file: File, encodings: Sequence[str] = (), more_delimiters: str = "") -> Sheet:
    """Parse a Parquet, CSV, JSON, xlsx, sav or Arrow file as rows; its content tells which it is. Raises UserError if it is none of them.

    `encodings` are tried, in this order, for a CSV that is no UTF-8; `more_delimiters` may part its values beside the usual ones.
    """
    if file.data[:4] == b"PAR1":
        return _parse_parquet(file)
    if is_json(file):
        return _parse_json(file)
    if is_workbook(file):
        table = read_workbook(file)
        _check_names(file, table.column_names)
        return Sheet(file, table, np.arange(1, len(table) + 1), {}, True)
    if b"\x00" in file.data[:4096] or file.data[:2] in (b"PK", b"\x1f\x8b"):
        raise UserError(f"{file.uri} is neither Parquet, CSV nor JSON: save it as one of these (a spreadsheet as CSV in UTF-8).")
    return _parse_csv(file, encodings, _DELIMITERS + more_delimiters)


def _parse_parquet(file: File) -> Sheet:
    try:
        table = pq.read_table(pa.BufferReader(file.data))
        table.validate(full=True)  # texts that are not UTF-8, and lists whose ends lie outside
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"Cannot read {file.uri} as Parquet: {said(error)}; write it again.") from error
    _check_names(file, table.column_names)
    return Sheet(file, table, np.arange(1, len(table) + 1), {}, True)


def _parse_csv(file: File, encodings: Sequence[str], delimiters: str) -> Sheet:
    data = _utf_8(file, encodings)
    header = data.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n")[:_HEADER_BYTES].decode("utf-8", "ignore")
    if not header.strip():
        raise UserError(f"{file.uri} is empty: give a file of annotations.")
    delimiter = max(delimiters, key=lambda mark: len(_names(header, mark)))
    check_header(file.uri, header, delimiter)
    names = _names(header, delimiter)
    stripped = [name.strip() or f"column_{number}" for number, name in enumerate(names, 1)]
    _check_names(file, stripped)
    broken: dict[int, str] = {}

    def skip(row: Any) -> str:
        broken[row.number - 1] = f"the row has another number of values than the header: {row.actual_columns}, not {row.expected_columns}"
        return "skip"

    try:
        table = pa_csv.read_csv(
            pa.BufferReader(data),
            pa_csv.ReadOptions(use_threads=False, block_size=min(len(data) + 1, _BLOCK_BYTES)),  # threads would lose the row numbers
            pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=skip),
            pa_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]),
        )
    except pa.ArrowInvalid as error:
        raise UserError(f"Cannot read {file.uri} as CSV: {said(error)}; correct it.") from error
    check_rows(file.uri, data, delimiter, table, len(table) + len(broken))
    rows = np.setdiff1d(np.arange(1, len(table) + len(broken) + 1), np.fromiter(broken, np.int64, len(broken)))
    return Sheet(file, table.rename_columns(stripped), rows, broken, False)


def _utf_8(file: File, encodings: Sequence[str]) -> bytes:
    """Return the text as UTF-8 with a line end behind it, read by the first encoding that fits it. Raises UserError if none does."""
    data = file.data if file.data.endswith((b"\n", b"\r")) else file.data + b"\n"
    try:
        data.decode("utf-8")
        return data
    except UnicodeDecodeError as error:
        for encoding in encodings:
            with contextlib.suppress(UnicodeDecodeError):
                return data.decode(encoding).encode()
        raise UserError(f"{file.uri} is no UTF-8 text (byte {error.start}): save it as CSV in UTF-8.") from error


def _names(header: str, delimiter: str) -> list[str]:
    return next(csv.reader(io.StringIO(header, newline=""), delimiter=delimiter))


def _parse_json(file: File) -> Sheet:
    objects, rows, broken = parse_objects(file)
    names = dict.fromkeys(name for entry in objects for name in entry)
    columns = {name: as_array([entry.get(name) for entry in objects]) for name in names}
    return Sheet(file, pa.table(columns), rows, broken, True)


def parse_objects(file: File) -> tuple[list[dict[str, Any]], np.ndarray, dict[int, str]]:
    """Parse the objects of a JSON list or of JSON lines. Raises UserError.

    Returns the objects, their row numbers (N,) int64, and row -> reason for every entry that is not an object.
    """
    try:
        text = file.data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{file.uri} is no UTF-8 text (byte {error.start}): save it as JSON in UTF-8.") from error
    entries: list[Any] = []
    if text.lstrip()[:1] == "[":
        try:
            entries = load_json(text)
        except ValueError as error:
            raise UserError(f"Cannot read {file.uri} as JSON: {said(error)}; correct it.") from error
    else:
        for line in filter(str.strip, text.split("\n")):
            try:
                entries.append(load_json(line))
            except ValueError:
                entries.append(None)
    broken = {row: "the row is no JSON object" for row, entry in enumerate(entries, 1) if not isinstance(entry, dict)}
    if entries and len(broken) == len(entries):
        raise UserError(f"{file.uri} holds no JSON objects: give a list of them, or one on each line.")
    rows = np.array([row for row in range(1, len(entries) + 1) if row not in broken], np.int64)
    return [entries[row - 1] for row in rows], rows, broken


def _check_names(file: File, names: list[str]) -> None:
    if twice := [name for name, num in Counter(names).items() if num > 1]:
        raise UserError(f"{file.uri} has two columns called {shown(twice[0])}: rename one.")
