"""Many nights' small files become few: the same rows, in one snapshot more."""

from __future__ import annotations

import secrets
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from artquant.core.errors import AnotherRun, RunFailed
from artquant.results import layout
from artquant.results.build import merged_ledger
from artquant.results.claims import has_shards, is_ended, is_gone, last_intent
from artquant.results.datafiles import DataFiles
from artquant.results.operations import commit_or_lose, published_head
from artquant.results.snapshots import DataFile, Snapshot, following, with_files
from artquant.results.windows import sorted_stream
from artquant.storage.store import Store

_HELD_ROWS, _READ_ROWS = 32_768, 8_192  # rows with their texts that are held, and read at a time


def compact(store: Store, max_rows: int) -> Snapshot | None:
    """Merge files of up to half of `max_rows` rows into files of `max_rows`, in the order of artwork_id, and the ledger into one file; None
    where there are no two such files of one model. Rows stay as they are. A merged file lies in the partition of its newest night.

    Raises AnotherRun where a run is at work or was broken off: it would be lost.
    """
    last = published_head(store)
    groups = small_files(last.files, max_rows)
    if not groups:
        return None
    _refuse_beside_a_run(store, last)
    number, work = last.number + 1, f"compact-{secrets.token_hex(4)}"
    merged: list[DataFile] = []
    with tempfile.TemporaryDirectory(prefix="artquant-compact-") as name:
        for folder, group in groups.items():
            merged += _merged(store, group, folder, max_rows, work, number, len(merged), Path(name) / "rows")
    gone = {file for group in groups.values() for file in group}
    if sum(file.num_rows for file in gone) != sum(file.num_rows for file in merged):
        raise RunFailed("Compacting does not add up: the merged files have other rows than the small ones. Nothing was published.")
    files, removed = with_files(last, (*(file for file in last.files if file not in gone), *merged), number)
    ledger = (merged_ledger(store, last.ledger, work),)
    return commit_or_lose(store, following(last, "compact", last.run_id, work, files=files, removed=removed, ledger=ledger))


def small_files(files: Sequence[DataFile], max_rows: int) -> dict[str, list[DataFile]]:
    """Return the files that are to be merged, by the folder of what they become: the partition of the newest of them."""
    groups: dict[tuple[str, ...], list[DataFile]] = defaultdict(list)
    for file in files:
        if file.num_rows <= max_rows // 2:
            groups[tuple(part for part in file.view.split("/")[:-1] if not part.startswith("run_date="))].append(file)
    return {"/".join((*parts, *_newest_day(group))): group for parts, group in groups.items() if len(group) > 1}


def _newest_day(group: Sequence[DataFile]) -> list[str]:
    """Return the last partition by date, if there is any."""
    return sorted(part for file in group for part in file.view.split("/") if part.startswith("run_date="))[-1:]


def _merged(
    store: Store, group: Sequence[DataFile], folder: str, max_rows: int, work: str, snapshot: int, first: int, path: Path
) -> list[DataFile]:
    """Write the rows of a group of files into files of `max_rows`, in memory that does not grow with them."""
    sources = [pq.ParquetFile(store.open_input(file.data), pre_buffer=False).schema_arrow for file in group]
    schema = pa.unify_schemas(sources)
    runs = {file.run_id for file in group}
    files = DataFiles(
        store,
        work,
        group[0].kind,
        schema,
        max_rows=max_rows,
        run_id=runs.pop() if len(runs) == 1 else work,
        view_of=lambda number: f"{folder}/part-{work}-{number:05d}.s{snapshot}.parquet",
        path=path,
        first=first,
    )
    with sorted_stream(_rows(store, group, schema), _HELD_ROWS) as tables:
        for table in tables:
            files.add(table)
    files.close()
    return files.files


def _rows(store: Store, group: Sequence[DataFile], schema: pa.Schema) -> Iterator[pa.Table]:
    """Return the files' rows with all columns of `schema`, null where a file has not one of them."""
    empty = schema.empty_table()
    for file in group:
        with closing(pq.ParquetFile(store.open_input(file.data), pre_buffer=False)) as source:
            for batch in source.iter_batches(_READ_ROWS):
                yield pa.concat_tables([empty, pa.Table.from_batches([batch])], promote_options="default")


def _refuse_beside_a_run(store: Store, last: Snapshot) -> None:
    intent = last_intent(store, last.number + 1)
    if intent is None or is_ended(store, intent):
        return
    if not store.exists(layout.left_key(intent.number, intent.epoch)) and not is_gone(intent):
        raise AnotherRun(
            f"The run {intent.run_id} on {intent.host} (process {intent.pid}) is at work on {store.uri}, and its work would be lost: "
            "compact when it has ended."
        )
    if has_shards(store, intent):
        raise AnotherRun(
            f"The run {intent.run_id} in {store.uri} was broken off, and its work would be lost: run it again as it was, or give it up "
            f"with artquant snapshots abandon {store.uri}."
        )
