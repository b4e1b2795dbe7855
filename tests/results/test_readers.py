"""Whoever reads a snapshot, by whatever road, finds the same rows."""

from __future__ import annotations

from typing import Any

import deltalake
import duckdb
import pandas as pd
import polars as pl
import pytest

from artquant.core.errors import UserError
from artquant.results import filesystem, latest_rows, open_snapshot, operations
from artquant.results.readers import export_delta, storage_options
from artquant.storage.store import Store
from tests.results.nights import asked, night, rows_by_glob


@pytest.fixture
def output(store: Store) -> Store:
    """Two nights: eight artworks; then one new, one changed, one gone."""
    source, output = store.child("art"), store.child("out")
    for number in range(8):
        source.put(f"{number}.jpg", b"x" * (number + 1))
    night(output, asked(source), "one")
    source.put("8.jpg", b"new")
    source.put("3.jpg", b"changed")
    source.delete("5.jpg")
    night(output, asked(source), "two")
    return output


def rows(table: Any) -> list[tuple[str, str, str]]:
    columns = [
        table[name].to_pylist() if hasattr(table[name], "to_pylist") else list(table[name]) for name in ("artwork_id", "etag", "run_id")
    ]
    return sorted(zip(*columns, strict=True))


def test_every_road_leads_to_the_same_rows(output: Store) -> None:
    expected = rows_by_glob(output)
    assert len(expected) == 10
    assert rows(open_snapshot(output.uri).to_table()) == expected
    files, root = filesystem(output.uri)
    paths = files.glob(f"{root}/scores/**/*.parquet")
    assert sorted(row for path in paths for row in rows(pd.read_parquet(path, filesystem=files))) == expected
    connection = duckdb.connect()
    protocol = output.uri.partition("://")[0] + "://"
    if protocol != "file://":
        connection.register_filesystem(files)
    query = (
        f"SELECT artwork_id, etag, run_id FROM read_parquet('{protocol}{root}/scores/**/*.parquet', hive_partitioning = true) ORDER BY ALL"
    )
    assert connection.execute(query.replace("file://", "")).fetchall() == expected
    target, number = export_delta(output.uri)
    assert number == 2 and export_delta(output.uri) == (target, 2), "once more changes nothing"
    table = deltalake.DeltaTable(target, storage_options=storage_options(output))
    assert rows(table.to_pyarrow_table()) == expected
    assert rows(pl.scan_delta(target, storage_options=storage_options(output) or None).collect()) == expected
    version = table.version()
    export_delta(output.uri)
    assert deltalake.DeltaTable(target, storage_options=storage_options(output)).version() == version


def test_the_delta_table_follows_a_rollback_and_what_comes_after(output: Store) -> None:
    if output.uri.startswith("az:"):
        pytest.skip("Delta's second commit asks Azure for a listing from a name on (startFrom), which its emulator does not know")
    export_delta(output.uri)
    operations.rollback(output)
    target, _ = export_delta(output.uri)
    assert rows(deltalake.DeltaTable(target, storage_options=storage_options(output)).to_pyarrow_table()) == rows_by_glob(output)
    assert len(rows_by_glob(output)) == 8
    operations.release(output, "two")
    export_delta(output.uri)
    assert rows(deltalake.DeltaTable(target, storage_options=storage_options(output)).to_pyarrow_table()) == rows_by_glob(output)


def test_an_older_snapshot_reads_as_it_was(output: Store) -> None:
    first = rows(open_snapshot(output.uri, as_of=1).to_table())
    assert {run for *_, run in first} == {"one"} and len(first) == 8
    with pytest.raises(UserError, match="has no snapshot 7: artquant snapshots history"):
        open_snapshot(output.uri, as_of=7)


def test_the_latest_row_of_each_artwork_that_is_still_there(output: Store) -> None:
    latest = rows(latest_rows(output.uri))
    assert [name for name, *_ in latest] == [f"{number}.jpg" for number in (0, 1, 2, 3, 4, 6, 7, 8)]
    assert [run for name, _, run in latest if name == "3.jpg"] == ["two"]
    assert [name for name, *_ in rows(latest_rows(output.uri, as_of=1))] == [f"{number}.jpg" for number in range(8)]


def test_an_output_without_a_snapshot_says_so(store: Store) -> None:
    with pytest.raises(UserError, match="has no snapshots yet"):
        open_snapshot(store.child("nothing").uri)
