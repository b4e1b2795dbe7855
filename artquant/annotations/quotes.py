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
from artquant.errors import UserError

_LINE_END = re.compile(r"\r\n|\r|\n")
_BARE = NUMBER.strip("^$")
_KINDS = (
    NUMBER,
    rf"^\s*{_BARE}\s*$",
    r"^\s*\[.*\]\s*$",
)  # prose has blanks behind its commas: "Paris, 1890, oil" is no row of bare numbers
_MOST = 0.9  # of a column's values
_MEANT = "or, where the text is meant so, send the file as JSON lines or Parquet"

Kinds = dict[int, re.Pattern[str]]  # column -> what nearly all of its values are


@dataclass(frozen=True)
class _Record:
    line: int  # of the file, from 1, where it begins
    text: list[str]  # its lines, with their ends
    cells: list[str]

    def opening(self, column: int) -> int:
        """The line in which the quote of a cell opens."""
        return self.line + sum(len(_LINE_END.findall(cell)) for cell in self.cells[:column])


def check_header(uri: str, text: str, delimiter: str) -> None:
    """Raises UserError where a quote of the header swallows rows. A name of two lines is one where no line holds a delimiter."""
    with _long_fields():
        header = next(_records(text, delimiter))
        _check_closed(uri, header, delimiter)
    for column, cell in enumerate(header.cells):
        if _LINE_END.search(cell) and delimiter in cell:
            raise _swallowed(uri, header, column)


def check_rows(uri: str, data: bytes, delimiter: str, table: pa.Table, num_rows: int) -> None:
    """Holds `num_rows`, which a parser found below the header of `data` (UTF-8), against the lines. Raises UserError.

    A quote that never closes, or that closes in the midst of a value of several lines, is refused for certain; one that closes well is if
    half of the lines behind the first would be rows of this file: as many values, and numbers and lists in the columns that hold them.
    """
    if b'"' not in data:
        return
    num_lines = data.count(b"\n") + data.count(b"\r") - data.count(b"\r\n")
    with _long_fields():
        if num_lines == num_rows + 1:  # each line is a record, so only the last can have swallowed its own end
            start = max(data.rfind(b"\n", 0, -2), data.rfind(b"\r", 0, -2)) + 1
            _check_closed(uri, _Record(num_lines, [data[start:].decode()], []), delimiter)
            return
        kinds, last = _kinds(table), None
        for record in _records(data.decode("utf-8-sig"), delimiter):
            last = record
            if len(record.text) > 1 and record.cells:
                _check_closed(uri, record, delimiter)
                for column, cell in enumerate(record.cells):
                    if _LINE_END.search(cell) and _holds_rows(record.cells, column, delimiter, table.num_columns, kinds):
                        raise _swallowed(uri, record, column)
        if last is not None:
            _check_closed(uri, last, delimiter)


def _records(text: str, delimiter: str) -> Iterator[_Record]:
    held: list[str] = []

    def lines() -> Iterator[str]:
        for line in io.StringIO(text, newline=""):  # ends are LF, CRLF and CR, and stay as they are
            held.append(line)
            yield line

    reader = csv.reader(lines(), delimiter=delimiter)
    for cells in reader:
        if cells:
            yield _Record(reader.line_num - len(held) + 1, held.copy(), cells)
        held.clear()


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
    before, behind = list(cells[:column]), list(cells[column + 1 :])
    if not _is_row(before + first, num_columns, kinds, quoted=column):
        return False
    others = [row for row in between if row != [""]] + [last + behind] * (last != [""])
    is_row = [_is_row(row, num_columns, kinds) for row in others]
    return bool(is_row) and sum(is_row) >= len(is_row) / 2


def _is_row(cells: list[str], num_columns: int, kinds: Kinds, quoted: int = -1) -> bool:
    """`quoted`: the column in which the stray quote stands says nothing about the first line."""
    known = [(cells[column], kind) for column, kind in kinds.items() if column < len(cells) and column != quoted]
    is_fitting = len(cells) == num_columns and all(not cell.strip() or kind.search(cell) for cell, kind in known)
    return is_fitting and (quoted >= 0 or any(cell.strip() for cell, _ in known))


def _kinds(table: pa.Table) -> Kinds:
    found: Kinds = {}
    for column, values in enumerate(table.columns):
        filled = values.filter(pc.invert(pc.match_substring_regex(values, "[\r\n]")))  # drops nulls too
        for kind in _KINDS:
            if len(filled) and pc.mean(pc.match_substring_regex(filled, kind)).as_py() >= _MOST:
                found[column] = re.compile(kind)
                break
    return found


@contextmanager
def _long_fields() -> Iterator[None]:
    """The csv module's limit on the length of a value is one for the whole process."""
    limit = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(limit)
