"""The files that annotators send: found, fetched and unpacked."""

from __future__ import annotations

import gzip
import io
import logging
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from artquant.annotations.values import listed, said
from artquant.core.addresses import is_object_store
from artquant.core.errors import UserError
from artquant.core.schema import RejectClass
from artquant.storage.store import FetchError, Store, open_parent, open_store

EXTENSIONS = (".parquet", ".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".arrow", ".xlsx", ".sav")
OTHER_TABLES = (".xls", ".xlsm", ".ods", ".feather", ".orc", ".avro")
OTHER_PACKINGS = (".bz2", ".xz", ".zst", ".lz4", ".br", ".z", ".snappy")
MAX_UNPACKED_BYTES = 2 << 30  # of one packed file: a decompression bomb of 2 MB would fill the memory
_OF_DATASETS = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")  # beside a Hugging Face data set's files
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class File:
    name: str  # below the address that was given
    uri: str
    data: bytes  # unpacked


def read_files(uri: str, more: tuple[str, ...] = (), skips_others: bool = False) -> list[File]:
    """Read the one file at `uri`, or all tables and JSON files below it, in byte order of their names. Raises UserError.

    `more`: further extensions that count. A file without any content, as Spark writes them, is left out if there are others. Tables of
    kinds that are not read are refused, or with `skips_others` left out.
    """
    locations = list(_find(uri, more, skips_others))
    if not locations:
        raise UserError(
            f"There are no annotations at {uri}: set annotations.uri to a file, or to a folder or prefix that holds some "
            f"({', '.join(EXTENSIONS)}, also with .gz)."
        )
    with ThreadPoolExecutor(8) as pool:
        files = list(pool.map(lambda location: _file(*location), locations))
    return [file for file in files if file.data.strip() not in (b"", b"[]")] or files


def _find(uri: str, more: tuple[str, ...], skips_others: bool) -> Iterator[tuple[Store, str]]:
    is_bucket = is_object_store(uri) and "/" not in uri[len("s3://") :]
    if not uri.endswith("/") and not is_bucket:
        store, key = open_parent(uri)
        try:
            if store.exists(key):
                yield store, key
                return
        except FetchError as error:
            raise _unreadable(uri, error) from error
    store = open_store(uri)
    left_out = []
    for key in sorted(info.key for info in store.list()):
        if is_side_file(key):
            name = key.rpartition("/")[2]
            if is_annotation(key) and name not in _OF_DATASETS and not name.startswith(("._", "~$")):
                left_out.append(key)
            continue
        if is_annotation(key, more):
            yield store, key
        elif _is_other_table(key) and not skips_others:
            raise UserError(
                f"{store.uri_of(key)} lies among the annotations and is of a kind that is not read: "
                f"save it as one of {', '.join(EXTENSIONS)} (also with .gz), take it away, or set annotations.skip_other_files=true."
            )
        else:
            left_out.append(key)
    if left_out:
        _log.warning("Left out of the annotations %s, by their names: %s.", uri, listed(left_out))


def is_annotation(key: str, more: tuple[str, ...] = ()) -> bool:
    return key.lower().removesuffix(".gz").endswith((*EXTENSIONS, *more))


def _is_other_table(key: str) -> bool:
    name = key.lower()
    return name.endswith(OTHER_TABLES) or (name.endswith(OTHER_PACKINGS) and is_annotation(name.rpartition(".")[0]))


def is_side_file(key: str) -> bool:
    """Tell whether a program left this file beside the data.

    Such are hidden files and folders, `_SUCCESS`, `_metadata`, `_delta_log/`, checksums, Excel's locks and what describes a data set.
    """
    parts = key.split("/")
    return (
        parts[-1] in _OF_DATASETS
        or any(part.startswith((".", "_")) for part in parts)
        or parts[-1].startswith("~$")
        or key.lower().endswith(".crc")
    )


def _file(store: Store, key: str) -> File:
    uri = store.uri_of(key)
    data = _get(store, key)
    return File(key, uri, _unpacked(uri, data) if data[:2] == b"\x1f\x8b" else data)


def _unpacked(uri: str, data: bytes) -> bytes:
    try:
        with gzip.open(io.BytesIO(data)) as packed:
            unpacked = packed.read(MAX_UNPACKED_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"Cannot unpack {uri}: {said(error)}; pack it again, or send it as it is.") from error
    if len(unpacked) > MAX_UNPACKED_BYTES:
        raise UserError(f"{uri} unpacks to more than {MAX_UNPACKED_BYTES >> 20:,} MiB: send several files.")
    return unpacked


def _get(store: Store, key: str) -> bytes:
    try:
        return store.get(key)
    except FetchError as error:
        raise _unreadable(store.uri_of(key), error) from error


def _unreadable(uri: str, error: FetchError) -> UserError:
    advice = (
        "correct annotations.uri" if error.reject_class is RejectClass.MISSING else "check the address and what you are allowed to read"
    )
    return UserError(f"Cannot read the annotations {uri}: {error.message}; {advice}.")
