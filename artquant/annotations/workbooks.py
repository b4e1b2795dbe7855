"""Tables of other programs: spreadsheets (.xlsx), SPSS (.sav) and Arrow streams, as columns."""

from __future__ import annotations

import io
import tempfile
import warnings
import zipfile
from typing import Any

import numpy as np
import pyarrow as pa

from artquant.annotations.files import File
from artquant.annotations.values import as_array, said
from artquant.core.errors import UserError

MAX_SHEET_BYTES = 1 << 30  # unpacked: a workbook is a zip file


def is_workbook(file: File) -> bool:
    """Tell whether the file is a table of one of these kinds, by its first bytes."""
    return file.data[:4] in (b"$FL2", b"$FL3") or file.data[:6] == b"ARROW1" or _is_stream(file) or _is_sheet(file)


def read_workbook(file: File) -> pa.Table:
    """Read the first sheet of a workbook, whose first row that is not blank names the columns, or the table of the other kinds.

    Raises UserError if the file is broken.
    """
    kind, read = (
        ("SPSS file", _sav)
        if file.data[:4] in (b"$FL2", b"$FL3")
        else ("spreadsheet", _xlsx)
        if _is_sheet(file)
        else ("Arrow file", _arrow)
    )
    try:
        return read(file.data)
    except Exception as error:  # the readers raise what their parsers happen to
        raise UserError(f"Cannot read {file.uri} as {kind}: {said(error)}; save it as CSV in UTF-8.") from error


def _is_sheet(file: File) -> bool:
    return file.data[:2] == b"PK" and b"xl/" in file.data[-65_536:]


def _is_stream(file: File) -> bool:
    return file.name.lower().endswith(".arrow") and file.data[:4] == b"\xff\xff\xff\xff"


def _xlsx(data: bytes) -> pa.Table:
    import openpyxl

    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        if sum(info.file_size for info in packed.infolist()) > MAX_SHEET_BYTES:
            raise ValueError(f"it unpacks to more than {MAX_SHEET_BYTES >> 20} MiB")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of styles and extensions that it does not know
        book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
    rows = [row for row in book.worksheets[0].iter_rows(values_only=True) if any(cell is not None for cell in row)]
    book.close()
    header = list(rows[0]) if rows else []
    while header and header[-1] is None:
        header.pop()
    names = [str(name).strip() if name is not None else f"column_{number}" for number, name in enumerate(header, 1)]
    return pa.table([_column([row[place] if place < len(row) else None for row in rows[1:]]) for place in range(len(names))], names)


def _column(values: list[Any]) -> pa.Array:
    """Return a column of one type; of mixed ones the texts, and whole numbers as such: 17, which a spreadsheet holds as 17.0."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) > 1 and not kinds <= {int, float}:
        return as_array([None if value is None else str(value) for value in values])
    return as_array(values)


def _sav(data: bytes) -> pa.Table:
    import pyreadstat

    with tempfile.NamedTemporaryFile(suffix=".sav") as file:
        file.write(data)
        file.flush()
        columns, _ = pyreadstat.read_sav(file.name, output_format="dict")
    return pa.table({name: _of_spss(values) for name, values in columns.items()})


def _of_spss(values: Any) -> pa.Array:
    values = np.asarray(values)
    if values.dtype.kind == "f":
        return pa.array(values, mask=np.isnan(values))
    return as_array([None if value is None or value != value else value for value in values.tolist()])


def _arrow(data: bytes) -> pa.Table:
    reader = pa.ipc.open_file if data[:6] == b"ARROW1" else pa.ipc.open_stream
    table = reader(pa.BufferReader(data)).read_all()
    table.validate(full=True)
    return table
