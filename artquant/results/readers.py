"""A snapshot for who reads it: as a pyarrow data set, as its latest row of each artwork, and as a file system for other readers."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pyarrow.fs

from artquant.core.addresses import is_object_store
from artquant.core.errors import UserError
from artquant.core.schema import ARTWORK_ID
from artquant.results import layout
from artquant.results.datafiles import read_table
from artquant.results.ledger import FORGOTTEN, GONE, PART_PRESENCE
from artquant.results.rows import KINDS, SCORES, RowKind
from artquant.results.snapshots import Snapshot, check_format, head, read_snapshot
from artquant.storage.endpoint import bucket_address, is_bucket_in_host
from artquant.storage.store import Store, open_store

APP_ID = "artquant"  # of the transactions in the Delta log: the version is the snapshot's number


def filesystem(uri: str) -> tuple[Any, str]:
    """Return an fsspec file system with the store's endpoint and credentials, and the path of `uri` in it: what DuckDB
    (`register_filesystem`), pandas (`filesystem=`), Polars and Hugging Face data sets read from."""
    store = open_store(uri)
    if store.uri.startswith("s3://"):
        from s3fs import S3FileSystem

        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        is_anonymous = os.environ.get("AWS_SKIP_SIGNATURE", "").lower() in ("1", "true")
        style = {"s3": {"addressing_style": "virtual"}} if is_bucket_in_host() else {}
        return S3FileSystem(endpoint_url=endpoint, anon=is_anonymous, config_kwargs=style), store.uri.removeprefix("s3://")
    if is_object_store(store.uri):
        from obstore.fsspec import FsspecStore

        named = type("ObjectStore", (FsspecStore,), {"protocol": store.uri[:2]})  # fsspec asks the class for it
        is_plain = os.environ.get("AZURE_STORAGE_ENDPOINT", "").startswith("http://")
        return named(store.uri[:2], client_options={"allow_http": is_plain}), store.uri[len("az://") :]
    from fsspec.implementations.local import LocalFileSystem

    return LocalFileSystem(), store.uri.removeprefix("file://")


def snapshot_of(store: Store, as_of: int | None = None) -> Snapshot:
    """Return the last snapshot, or that of a number. Raises UserError where there is none, and OlderProgram."""
    check_format(store)
    found = head(store) if as_of is None else read_snapshot(store, as_of)
    if found is None:
        raise UserError(
            f"{store.uri} has no snapshot{f' {as_of}' if as_of else 's yet'}: artquant snapshots history {store.uri} lists them."
        )
    return found


def kind_of(snapshot: Snapshot) -> RowKind:
    """Return what an output holds: the scores of one job, or the descriptions of another."""
    return next((KINDS[file.kind] for file in (*snapshot.files, *snapshot.removed) if file.kind in KINDS), SCORES)


def open_snapshot(uri: str, as_of: int | None = None) -> pyarrow.dataset.Dataset:
    """Return the score rows of a snapshot, exactly and repeatably: every identity that was ever scored, one row each. A column that was
    carried is null in the rows of runs that did not.

    Raises UserError where there is no such snapshot.
    """
    snapshot = snapshot_of(open_store(uri), as_of)
    kind = kind_of(snapshot)
    files, root = filesystem(uri)
    paths = [f"{root}/{file.data}" for file in snapshot.files if file.kind == kind.name]
    handler = pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(files))
    if not paths:
        return pyarrow.dataset.dataset(kind.schema(snapshot.carried).empty_table())
    return pyarrow.dataset.dataset(paths, schema=kind.schema(snapshot.carried), filesystem=handler, format="parquet")


def latest_rows(uri: str, as_of: int | None = None) -> pa.Table:
    """Return one score row an artwork, the last one scored; none of those that are gone from their collection. It is held in memory."""
    store = open_store(uri)
    snapshot = snapshot_of(store, as_of)
    time = kind_of(snapshot).time
    table = open_snapshot(uri, as_of).to_table().sort_by([(ARTWORK_ID, "ascending"), (time, "ascending")])
    gone: dict[str, bool] = {}
    for key in snapshot.ledger:
        presence = read_table(store, key, columns=[ARTWORK_ID, "status"], filters=[("part", "=", PART_PRESENCE)]).to_pylist()
        gone |= {row[ARTWORK_ID]: row["status"] in (GONE, FORGOTTEN) for row in presence}
    if not table.num_rows:
        return table
    ids = table.column(ARTWORK_ID).combine_chunks()
    following = pa.concat_arrays([ids.slice(1), pa.array([None], pa.string())])
    table = table.filter(pc.fill_null(pc.not_equal(ids, following), True))
    absent = pa.array([name for name, is_gone in gone.items() if is_gone], pa.string())
    return table.filter(pc.invert(pc.is_in(table.column(ARTWORK_ID), absent)))


def export_delta(uri: str) -> tuple[str, int]:
    """Write the last snapshot as a Delta table beside it; return the table's address and the snapshot's number. Files are registered where
    they lie; a snapshot that is exported already changes nothing.

    Raises UserError where deltalake is not installed or there is no snapshot.
    """
    try:
        from deltalake import CommitProperties, DeltaTable, Field, PostCommitHookProperties, Transaction
        from deltalake.schema import PrimitiveType
        from deltalake.transaction import AddAction, RemoveAction
    except ImportError as error:
        raise UserError("The Delta export needs deltalake: pip install deltalake.") from error
    store = open_store(uri)
    snapshot, target, options = snapshot_of(store), store.uri_of(layout.ROOT), storage_options(store)
    kind = kind_of(snapshot)
    if not DeltaTable.is_deltatable(target, storage_options=options):
        DeltaTable.create(target, kind.schema(snapshot.carried).remove_metadata(), storage_options=options)
    table = DeltaTable(target, storage_options=options)
    if lacking := [name for name in snapshot.carried if name not in {field.name for field in table.schema().fields}]:
        table.alter.add_columns([Field(name, PrimitiveType("string")) for name in lacking])
    if (table.transaction_version(APP_ID) or 0) >= snapshot.number:
        return target, snapshot.number
    wanted = {file.data.removeprefix(f"{layout.ROOT}/"): file for file in snapshot.files if file.kind == kind.name}
    present = {str(path) for path in table.get_add_actions(flatten=True)["path"].to_pylist()}
    now = int(time.time() * 1000)
    actions: list[AddAction | RemoveAction] = [
        AddAction(path, file.num_bytes, {}, now, True, json.dumps({"numRecords": file.num_rows}))
        for path, file in wanted.items()
        if path not in present
    ]
    actions += [RemoveAction(path, True, now, False) for path in sorted(present - wanted.keys())]
    table.create_write_transaction(
        actions,
        "append",
        table.schema(),
        commit_properties=CommitProperties(
            custom_metadata={"snapshot": str(snapshot.number), "run": snapshot.run_id},
            app_transactions=[Transaction(APP_ID, snapshot.number)],
        ),
        post_commithook_properties=PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False),
    )
    return target, snapshot.number


def storage_options(store: Store) -> dict[str, str]:
    """Return what delta-rs and Polars are told of the store."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if store.uri.startswith("az://"):
        return {"allow_http": "true"} if os.environ.get("AZURE_STORAGE_ENDPOINT", "").startswith("http://") else {}
    if not endpoint or not store.uri.startswith("s3://"):
        return {}
    address = bucket_address(endpoint, store.uri.removeprefix("s3://").partition("/")[0])
    return {"AWS_ENDPOINT_URL": address, "AWS_ALLOW_HTTP": "true", "conditional_put": "etag"}
