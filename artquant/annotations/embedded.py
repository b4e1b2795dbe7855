"""Pictures inside a table, as Hugging Face data sets hold them: named by their rows, and unpacked into a store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from artquant.annotations.files import read_files
from artquant.annotations.layouts import EXTENSIONS
from artquant.annotations.pictures import keys_of, picture_column
from artquant.annotations.tables import sheet_of
from artquant.config import AnnotationSpec
from artquant.core.errors import UserError
from artquant.storage.store import Store


def unpack_pictures(spec: AnnotationSpec, below: Store) -> Store:
    """Write the pictures that the annotations hold below `pictures/`, once for the same annotations, and return where they lie.

    Raises UserError if the annotations hold none.
    """
    files = read_files(str(spec.uri), EXTENSIONS.get(spec.layout, ()), skips_others=True)
    digest = hashlib.sha256(b"".join(hashlib.sha256(file.data).digest() for file in files)).hexdigest()[:16]
    store, marker = below.child(f"pictures/{digest}"), f"pictures/{digest}.complete"
    if below.exists(marker):
        return store
    num = 0
    with ThreadPoolExecutor(8) as pool:
        for file in files:
            for _ in pool.map(lambda entry: store.put(*entry), pictures_in(sheet_of(file, spec).table, file.name)):
                num += 1
    if not num:
        raise UserError(
            f"annotations.images is needed too, beside annotations.uri and output, as {spec.uri} holds no pictures: "
            "give all three, or none for the sample annotations."
        )
    below.put(marker, str(num).encode())
    return store


def pictures_in(table: pa.Table, file: str) -> Iterator[tuple[str, bytes]]:
    """Yield the key and the bytes of every picture in a table."""
    column = picture_column(table)
    if column is not None:
        for key, cell in zip(keys_of(table, column, file), table[column].to_pylist(), strict=True):
            if key is not None and cell["bytes"]:
                yield key, cell["bytes"]
