"""Stray quotes in a CSV: they swallow the rows up to the next quote, or to the end of the file, and no parser complains."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from artquant.annotations.values import NUMBER
from artquant.core.errors import UserError

_LINE_END = re.compile(r"\r\n|\r|\n")
_BARE = NUMBER.strip("^$")
_KINDS = (
    NUMBER,
    rf"^\s*{_BARE}\s*$",
    r"^\s*\[.*\]\s*$",
)  # prose has blanks after its commas: "Paris, 1890, oil" is not a row of bare numbers
_MOST = 0.9  # of a column's values
_SAMPLE = 10_000  # rows that say what the columns hold
_MEANT = "or, where the text is meant so, send the file as JSON lines or Parquet"

Kinds = dict[int, re.Pattern[str]]  # column -> what nearly all of its values are


@dataclass(frozen=True)
class _Record:
    line: int  # of the file, from 1, where it begins
    text: list[str]  # its lines, with their ends
    cells: list[str]

    def opening(self, column: int) -> int:
        """Return the line in which the quote of a cell opens."""
        return self.line + sum(len(_LINE_END.findall(cell)) for cell in self.cells[:column])


def check_header(uri: str, text: str, delimiter: str) -> None:
    """Raise UserError if a quote in the header swallows rows.

    A quoted name may span several lines if none of them holds a delimiter.
    """
    with _long_fields():
        header = next(_records(text, delimiter))
        _check_closed(uri, header, delimiter)
    for column, cell in enumerate(header.cells):
        if _LINE_END.search(cell) and delimiter in cell:
            raise _swallowed(uri, header, column)


def check_rows(uri: str, data: bytes, delimiter: str, table: pa.Table, num_rows: int) -> None:
    """Compare `num_rows`, which a parser found below the header of `data` (UTF-8), with the lines. Raises UserError.

    A quote that never closes, or that closes in the middle of a value of several lines, is always refused. One that closes properly is
    refused if half of the lines after the first would be rows of this file: as many values, with numbers and lists in the columns that hold
    them.
    """
    if b'"' not in data:
        return
    num_lines = data.count(b"\n") + data.count(b"\r") - data.count(b"\r\n")
    with _long_fields():
        if num_lines == num_rows + 1:  # each line is a record, so only the last can have swallowed its own end
            start = max(data.rfind(b"\n", 0, -2), data.rfind(b"\r", 0, -2)) + 1
            _check_closed(uri, _Record(num_lines, [data[start:].decode()], []), delimiter)
            return
        kinds = _kinds(table.slice(0, _SAMPLE))
        for record in _records(data.decode("utf-8-sig"), delimiter):
            _check_closed(uri, record, delimiter)
            for column, cell in enumerate(record.cells):
                if _LINE_END.search(cell) and _holds_rows(record.cells, column, delimiter, table.num_columns, kinds):
                    raise _swallowed(uri, record, column)


def _records(text: str, delimiter: str) -> Iterator[_Record]:
    """Yield the first record, those of several lines, and the last."""
    lines = io.StringIO(text, newline="").readlines()  # ends are LF, CRLF and CR, and stay as they are
    reader = csv.reader(lines, delimiter=delimiter)
    start, is_first = 0, True
    for cells in reader:
        end = reader.line_num
        if cells and (end - start > 1 or is_first or end == len(lines)):
            yield _Record(start + 1, lines[start:end], cells)
        start, is_first = end, is_first and not cells


def _check_closed(uri: str, record: _Record, delimiter: str) -> None:
    try:
        cells = next(csv.reader(record.text, delimiter=delimiter, strict=True), [])
    except csv.Error as error:
        is_open = "unexpected end" in str(error)
        if not is_open and len(record.text) == 1:
            return  # '"nice" he said' swallows nothing
        cells = record.cells or next(csv.reader(record.text, delimiter=delimiter))
        several = [column for column, cell in enumerate(cells) if _LINE_END.search(cell)]
        column = len(cells) - 1 if is_open else several[0] if several else 0
        line = _Record(record.line, record.text, cells).opening(column)
        if is_open:
            raise UserError(
                f'The quote that opens in line {line} of {uri} is never closed: close it, or take it out ("" is a quote).'
            ) from error
        raise UserError(
            f"The quote that opens in line {line} of {uri} holds line ends and closes in the midst of a value: "
            'take out the stray quote ("" is a quote within quotes).'
        ) from error


def _swallowed(uri: str, record: _Record, column: int) -> UserError:
    first = record.opening(column)
    last = first + len(_LINE_END.findall(record.cells[column]))
    return UserError(
        f"The quote that opens in line {first} of {uri} closes in line {last}, and what is between them looks like rows: "
        f"take out the stray quotes, {_MEANT}."
    )


def _holds_rows(cells: Sequence[str], column: int, delimiter: str, num_columns: int, kinds: Kinds) -> bool:
    first, *between, last = (part.split(delimiter) for part in _LINE_END.split(cells[column]))
    if column + len(first) != num_columns:
        return False
    of_others = {index: kind for index, kind in kinds.items() if index != column}  # where the stray quote stands, anything may be
    if not _fits([*cells[:column], *first], of_others):
        return False
    is_row = [len(row) >= num_columns and _fits(row, kinds, is_known=True) for row in between if row != [""]]
    if last != [""]:
        if len(cells) == num_columns:
            whole = [*last, *cells[column + 1 :]]
            is_row.append(len(whole) == num_columns and _fits(whole, kinds, is_known=True))
        else:  # the row behind is broken as well: only its head can be judged
            is_row.append(len(last) > 1 and _fits(last, kinds, is_known=True))
    return bool(is_row) and sum(is_row) >= len(is_row) / 2


def _fits(row: list[str], kinds: Kinds, is_known: bool = False) -> bool:
    """Tell whether the values are blank or of their columns' kinds; with `is_known`, also that not all of these are blank."""
    cells = [(row[column].strip(), kind.search(row[column])) for column, kind in kinds.items() if column < len(row)]
    return all(is_kind or not text for text, is_kind in cells) and (not is_known or any(text for text, _ in cells))


def _kinds(table: pa.Table) -> Kinds:
    kinds: Kinds = {}
    for column, values in enumerate(table.columns):
        filled = values.filter(pc.invert(pc.match_substring_regex(values, "[\r\n]")))  # drops nulls too
        for kind in _KINDS:
            if len(filled) and pc.mean(pc.match_substring_regex(filled, kind)).as_py() >= _MOST:
                kinds[column] = re.compile(kind)
                break
    return kinds


@contextmanager
def _long_fields() -> Iterator[None]:
    """Lift the csv module's limit on the length of a value for the block; the limit applies to the whole process."""
    limit = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(limit)
