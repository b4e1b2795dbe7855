"""Columns of pictures: Hugging Face's `{bytes, path}`, which are embedded or named by path."""

from __future__ import annotations

import pyarrow as pa

from artquant.annotations.columns import ALIASES
from artquant.annotations.values import plain, texts
from artquant.core.schema import ARTWORK_ID

_KINDS = {b"\xff\xd8": ".jpg", b"\x89P": ".png", b"RI": ".webp", b"GI": ".gif", b"BM": ".bmp", b"II": ".tif", b"MM": ".tif"}


def picture_column(table: pa.Table) -> str | None:
    """Return the column of pictures; None if there is none."""
    for column in table.schema:
        if pa.types.is_struct(column.type) and {one.name for one in column.type} == {"bytes", "path"}:
            return str(column.name)
    return None


def with_picture_names(table: pa.Table, file: str) -> pa.Table:
    """Give a table with a column of pictures their keys in its place, as `artwork_id`."""
    column = picture_column(table)
    if column is None:
        return table
    others = table.drop_columns([column])
    return others if _naming(others) else others.append_column(ARTWORK_ID, pa.array(keys_of(table, column, file), pa.string()))


def keys_of(table: pa.Table, column: str, file: str) -> list[str | None]:
    """Return each picture's key: what the column that names the artworks says, if there is one; else an embedded one's from the table's
    name and its row, another's path. None where there is no picture."""
    stem = file.rpartition(".")[0] or file
    naming = _naming(table.drop_columns([column]))
    names = texts(plain(table[naming])).to_pylist() if naming else [None] * len(table)
    keys: list[str | None] = []
    for row, (cell, name) in enumerate(zip(table[column].to_pylist(), names, strict=True)):
        if cell is None or not (cell["bytes"] or cell["path"]):
            keys.append(None)
        elif naming:
            keys.append(name)
        elif cell["bytes"]:
            keys.append(f"{stem}/{row:06d}{_KINDS.get(cell['bytes'][:2], '')}")
        else:
            keys.append(cell["path"])
    return keys


def _naming(table: pa.Table) -> str | None:
    """Return the column that names the artworks; beside a picture, `name` and `id` are something else."""
    spoken = {name.strip().lower(): name for name in table.column_names}
    return next((spoken[alias] for alias in ALIASES[ARTWORK_ID] if alias in spoken and alias not in ("name", "id")), None)
