"""Collections as people have them: manifests in three formats, S3 inventories, and what is refused."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artquant.core.errors import UserError
from artquant.results.catalog import Source, read_catalog
from artquant.results.windows import sorted_stream
from artquant.storage.store import Store, open_store

ROWS = [{"id": f"{i}", "uri": f"s3://museum/{i}.jpg", "etag": f"e{i}", "size": i, "title": f"No. {i}"} for i in (3, 1, 2)]


def rows_of(source: Source) -> list[dict]:
    with read_catalog(source) as tables:
        return [row for table in tables for row in table.to_pylist()]


def write(path: Path, rows: list[dict]) -> Source:
    text = ",".join(rows[0]) + "\n" + "".join(",".join(str(value) for value in row.values()) + "\n" for row in rows)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return Source("manifest", str(path))


@pytest.mark.parametrize("name", ["m.parquet", "m.csv", "m.jsonl", "m.csv.gz"])
def test_a_manifest_is_read_in_the_order_of_its_ids(tmp_path: Path, name: str) -> None:
    rows = rows_of(write(tmp_path / name, ROWS))
    assert [(row["artwork_id"], row["uri"], row["etag"], row["size_bytes"]) for row in rows] == [
        (f"{i}", f"s3://museum/{i}.jpg", f"e{i}", i) for i in (1, 2, 3)
    ]


def test_an_address_alone_is_the_id_too(tmp_path: Path) -> None:
    (row,) = rows_of(write(tmp_path / "m.csv", [{"uri": "/art/a b.jpg"}]))
    assert (row["artwork_id"], row["uri"], row["etag"], row["size_bytes"]) == ("/art/a b.jpg", "/art/a b.jpg", "", None)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([*ROWS, ROWS[0], ROWS[1]], "names '1' twice and 1 more: an id stands for one artwork"),
        ([{"id": "1", "title": "x"}], "has no column uri or url or path or location or image: it has id, title"),
        ([{"id": "1", "uri": ""}, {"id": "2", "uri": "s3://b/2"}], "has 1 rows without an address: write it again, whole"),
    ],
)
def test_what_is_wrong_with_a_manifest_is_said_with_its_first_case(tmp_path: Path, rows: list[dict], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        rows_of(write(tmp_path / "m.csv", rows))


def test_a_half_written_manifest_is_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "m.parquet", ROWS)
    (tmp_path / "m.parquet").write_bytes((tmp_path / "m.parquet").read_bytes()[:-20])
    with pytest.raises(UserError, match=r"The manifest .*m\.parquet cannot be read: .*\. Write it again, whole"):
        rows_of(source)


def test_rows_come_sorted_whatever_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artquant.results.windows.RUN_ROWS", 10)
    monkeypatch.setattr("artquant.results.windows.WINDOW_ROWS", 4)
    ids = [f"{(i * 37) % 101:03d}" for i in range(101)]
    tables = (pa.table({"artwork_id": ids[start : start + 7], "at": list(range(start, min(start + 7, 101)))}) for start in range(0, 101, 7))
    with sorted_stream(tables) as ordered:
        rows = pa.concat_tables(list(ordered)).to_pylist()
    assert [row["artwork_id"] for row in rows] == sorted(ids)
    assert all(ids[row["at"]] == row["artwork_id"] for row in rows)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_an_s3_inventory_is_read_from_its_manifest(s3_folder: Store, kind: str) -> None:
    bucket, _, prefix = s3_folder.uri.removeprefix("s3://").partition("/")
    entries = [("art/a b.jpg", "7", "e1", "true"), ("art/c.jpg", "9", "e2", "true"), ("art/c.jpg", "8", "old", "false")]
    if kind == "csv":
        lines = [f'"{bucket}","{key.replace(" ", "%20")}","{size}","{etag}","{latest}"' for key, size, etag, latest in entries]
        data, schema = gzip.compress("\n".join(lines).encode()), "Bucket, Key, Size, ETag, IsLatest"
    else:
        columns = dict(zip(("key", "size", "e_tag", "is_latest"), map(list, zip(*entries, strict=True)), strict=True))
        columns = {
            **columns,
            "size": [int(size) for size in columns["size"]],
            "is_latest": [text == "true" for text in columns["is_latest"]],
        }
        sink = io.BytesIO()
        pq.write_table(pa.table(columns), sink)
        data, schema = sink.getvalue(), "message s3.inventory {}"
    s3_folder.put(f"inventory/data/1.{kind}", data)
    document = {"sourceBucket": bucket, "destinationBucket": f"arn:aws:s3:::{bucket}", "fileFormat": kind.upper(), "fileSchema": schema}
    document["files"] = [{"key": f"{prefix}/inventory/data/1.{kind}", "size": len(data)}]
    s3_folder.put("inventory/manifest.json", json.dumps(document).encode())
    rows = rows_of(Source("inventory", s3_folder.uri_of("inventory/manifest.json")))
    assert [(row["artwork_id"], row["uri"], row["etag"], row["size_bytes"]) for row in rows] == [
        ("art/a b.jpg", f"s3://{bucket}/art/a b.jpg", "e1", 7),
        ("art/c.jpg", f"s3://{bucket}/art/c.jpg", "e2", 9),
    ]


def test_what_is_no_inventory_is_refused(tmp_path: Path) -> None:
    open_store(str(tmp_path)).put("manifest.json", b"{}")
    with pytest.raises(UserError, match="is no manifest.json of an S3 Inventory"):
        rows_of(Source("inventory", str(tmp_path / "manifest.json")))
