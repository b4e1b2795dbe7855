"""Results that an older program left become the first snapshot: readers go on to find them where they lie, and a copy is their home."""

from __future__ import annotations

import json
import secrets
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from artquant.core.errors import UserError
from artquant.core.identity import Identity
from artquant.core.schema import ARTWORK_ID, CRITIQUE_STATUS, ETAG, REJECT_CLASS, CritiqueStatus
from artquant.results import layout
from artquant.results.ledger import PART_CRITIQUE, PART_SCORE, SCORED, ledger_schema, scorer_digest
from artquant.results.snapshots import DataFile, Superseded, commit, following
from artquant.storage.store import FetchError, Store


def adopt(store: Store) -> bool:
    """Whether there were published runs to adopt. What no manifest names is not adopted."""
    keys = [info.key for info in store.list("runs") if info.key.endswith("/manifest.json")]
    manifests = sorted((json.loads(store.get(key)) for key in keys), key=lambda manifest: str(manifest["published_at"]))
    if not manifests:
        return False
    files: list[DataFile] = []
    tables: list[pa.Table] = []
    scorers: dict[str, Mapping[str, Any]] = {}
    work = f"adopted-{secrets.token_hex(4)}"
    for manifest in manifests:
        identity = Identity(**manifest["identity"])
        digest = scorer_digest(identity)
        scorers[digest] = manifest["identity"]
        for file in manifest["files"]:
            tables.append(_ledger_of(store, file["key"], file["kind"], digest))
            home = layout.data_key(work, file["kind"], len(files))
            store.put(home, store.get(file["key"]))  # a later snapshot may empty the name in the view
            files.append(DataFile(file["kind"], home, file["key"], file["num_rows"], file["num_bytes"], manifest["run_id"]))
    ledger = pa.concat_tables([ledger_schema().empty_table(), *tables]).sort_by(ARTWORK_ID)
    key = layout.data_key(work, "ledger", 0)
    with tempfile.NamedTemporaryFile(suffix=".parquet") as target:
        pq.write_table(ledger, target.name, compression="zstd", row_group_size=50_000)
        store.put_file(key, target.name)
    last = manifests[-1]["run_id"]
    with suppress(Superseded):  # another command adopted them
        commit(store, following(None, "adopted", last, work, files=tuple(files), ledger=(key,), scorers=scorers))
    return True


def _ledger_of(store: Store, key: str, kind: str, scorer: str) -> pa.Table:
    try:
        source = pq.ParquetFile(store.open_input(key), pre_buffer=False)
        wanted = [name for name in (ARTWORK_ID, ETAG, REJECT_CLASS, CRITIQUE_STATUS) if name in source.schema_arrow.names]
        table = source.read(wanted)
    except FetchError as error:
        raise UserError(f"{store.uri_of(key)}, which an earlier run published, cannot be read: {error.message}.") from error
    num = table.num_rows

    def same(value: str) -> pa.Array:
        return pa.array([value] * num, pa.string())

    status = table.column(REJECT_CLASS) if kind == "rejects" else same(SCORED)
    part = same(PART_SCORE)
    if CRITIQUE_STATUS in wanted:
        has_texts = pc.not_equal(pc.fill_null(table.column(CRITIQUE_STATUS), CritiqueStatus.NOT_REQUESTED), CritiqueStatus.NOT_REQUESTED)
        part = pc.if_else(has_texts, PART_CRITIQUE, PART_SCORE)
    columns = [
        table.column(ARTWORK_ID),
        part,
        table.column(ETAG),
        same(scorer),
        status,
        same(""),
        pa.array([1] * num, pa.int64()),
    ]
    return pa.table(columns, schema=ledger_schema())
