"""Tonight's plan: which artworks are due, cut into shards, as one Parquet file of which a row group is a shard."""

import hashlib
import json
import os
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from itertools import chain, islice
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from artquant.core.errors import UserError
from artquant.core.schema import Reason, plan_schema
from artquant.results.layout import RESULT_FOLDERS
from artquant.storage.store import ObjectInfo, Store, open_store

SMALL_SHARD, LARGE_SHARD = 128, 2048
_SMALL_COLLECTION = 100_000  # artworks; a larger one is cut into larger shards, so that the plan's footer stays small
_METADATA_KEY = b"artquant.plan"


@dataclass(frozen=True)
class PlanSummary:
    """What the run must account for. `id_sum` is :func:`id_sum` of all planned artwork ids."""

    num_planned: int
    num_excluded: int
    num_shards: int
    id_sum: int
    reasons: dict[str, int]


def id_sum(artwork_ids: Iterable[str]) -> int:
    """A checksum of a set of ids that does not depend on order or split: the sum of their 64-bit hashes, modulo 2^64."""
    hashes = (int.from_bytes(hashlib.blake2b(i.encode(), digest_size=8).digest(), "little") for i in artwork_ids)
    return sum(hashes) % 2**64


def refuse_overlap(input_uri: str, output_uri: str) -> None:
    """Raises UserError where the next night would list results as artworks: the output is the input or lies in it, or the input lies
    where results are kept. Folders are compared where their links lead."""
    source, target = _parts(input_uri), _parts(output_uri)
    if target[: len(source)] == source:
        raise UserError(
            f"The output {output_uri} lies in the input {input_uri}, so the next run would take the results for artworks: "
            "give them places beside each other."
        )
    if source[: len(target)] == target and source[len(target)] in RESULT_FOLDERS:
        raise UserError(f"The input {input_uri} holds results of the output {output_uri}: give the place of the pictures.")


def _parts(uri: str) -> list[str]:
    uri = open_store(uri).uri
    if uri.startswith("file://"):
        uri = f"file://{os.path.realpath(uri.removeprefix('file://'))}"
    return [part for part in uri.split("/") if part]


def due(
    objects: Iterable[ObjectInfo], uri_of: Callable[[str], str], exclude: Iterable[str], counts: Counter[str]
) -> Iterator[dict[str, Any]]:
    """The plan's rows, in the order of the listing; objects that match a pattern of `exclude` are only counted.

    Every object below the collection's root is an artwork: content decides what is a picture, not the name. A key is an id: unique.
    Raises UserError at the end of a listing in which there was no artwork.
    """
    patterns = tuple(exclude)
    for info in objects:
        if any(fnmatchcase(info.key, pattern) for pattern in patterns):
            counts["excluded"] += 1
            continue
        counts[Reason.NEW] += 1
        yield {
            "artwork_id": info.key,
            "uri": uri_of(info.key),
            "etag": info.etag,
            "size_bytes": info.size_bytes,
            "reason": Reason.NEW.value,
        }
    if not counts[Reason.NEW]:
        excluded = f" but {counts['excluded']} objects that `exclude` leaves out" if counts["excluded"] else ""
        raise UserError(f"There is nothing below {uri_of('')}{excluded}: give an input that holds pictures.")


def write_plan(store: Store, key: str, rows: Iterator[dict[str, Any]], counts: Counter[str]) -> PlanSummary:
    """Streams the rows into the object `key`, shard by shard; memory does not grow with the collection beyond a bounded first part."""
    first = list(islice(rows, _SMALL_COLLECTION))
    shard_rows = SMALL_SHARD if len(first) < _SMALL_COLLECTION else LARGE_SHARD
    everything = chain(first, rows)
    total = num_planned = num_shards = 0
    with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
        with pq.ParquetWriter(file.name, plan_schema(), compression="zstd") as writer:
            while shard := list(islice(everything, shard_rows)):
                writer.write_table(pa.Table.from_pylist(shard, plan_schema()))
                total = (total + id_sum(row["artwork_id"] for row in shard)) % 2**64
                num_planned, num_shards = num_planned + len(shard), num_shards + 1
            reasons = {reason.value: counts[reason] for reason in Reason if counts[reason]}
            summary = PlanSummary(num_planned, counts["excluded"], num_shards, total, reasons)
            writer.add_key_value_metadata({_METADATA_KEY: json.dumps(asdict(summary)).encode()})
        store.put_file(key, file.name)
    return summary


class Plan:
    """A written plan, read shard by shard."""

    def __init__(self, store: Store, key: str):
        self._file = pq.ParquetFile(store.open_input(key), pre_buffer=False)
        self._lock = threading.Lock()

    @property
    def summary(self) -> PlanSummary:
        return PlanSummary(**json.loads(self._file.metadata.metadata[_METADATA_KEY]))

    def shard(self, number: int) -> list[dict[str, Any]]:
        """May be called from several threads."""
        with self._lock:
            return cast(list[dict[str, Any]], self._file.read_row_group(number).to_pylist())
