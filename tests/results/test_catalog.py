"""Collections as people have them: manifests in three formats, S3 inventories, and what is refused."""

from __future__ import annotations

import gzip
import io
import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artquant.core.errors import UserError
from artquant.results.catalog import Source, check_not_empty, read_catalog
from artquant.results.plan import refuse_nested
from artquant.results.source import check_carry
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
        (
            [{"id": "1", "uri": "s3://b/1"}, {"id": "2", "uri": ""}, {"id": "", "uri": "s3://b/2"}],
            "has 2 of 3 rows without an id or an address, the first is row 2: write it again, whole",
        ),
    ],
)
@pytest.mark.parametrize("name", ["m.csv", "m.parquet", "m.jsonl"])
def test_what_is_wrong_with_a_manifest_is_said_with_its_first_case(tmp_path: Path, name: str, rows: list[dict], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        rows_of(write(tmp_path / name, rows))


def test_rows_that_lack_an_address_are_counted_over_the_whole_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artquant.results.manifests.WINDOW_ROWS", 2)
    rows = [{"id": f"{i}", "uri": None if i in (4, 7) else f"s3://b/{i}"} for i in range(9)]
    with pytest.raises(UserError, match="has 2 of 9 rows without an id or an address, the first is row 5"):
        rows_of(write(tmp_path / "m.parquet", rows))


@pytest.mark.parametrize("name", ["m.parquet", "m.csv", "m.jsonl", "m.csv.gz"])
def test_a_half_written_manifest_is_refused(tmp_path: Path, name: str) -> None:
    source = write(tmp_path / name, ROWS)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-20])
    with pytest.raises(UserError, match=rf"The manifest .*{name} cannot be read: .*\. Write it again, whole"):
        rows_of(source)


@pytest.mark.parametrize("data", [b"", b"id,uri\n"], ids=["nothing", "a header"])
def test_a_manifest_without_rows_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "m.csv").write_bytes(data)
    with pytest.raises(UserError, match=r"There is nothing in .*m\.csv|The manifest .* cannot be read: Empty CSV file. Write it again"):
        rows_of(Source("manifest", str(tmp_path / "m.csv")))


CARRIED = [{"id": "007", "uri": "s3://b/7", "title": "A, B", "year": "0190", "made": "1985-01-01"}]


@pytest.mark.parametrize("name", ["m.parquet", "m.csv", "m.jsonl"])
def test_columns_are_carried_as_the_texts_that_they_are(tmp_path: Path, name: str) -> None:
    source = write(tmp_path / name, [{**CARRIED[0], "title": "A; B"}])
    (row,) = rows_of(replace(source, carry=("title", "year", "made")))
    assert (row["artwork_id"], row["title"], row["year"], row["made"]) == ("007", "A; B", "0190", "1985-01-01")


def test_a_column_that_is_not_there_or_is_no_text_is_refused_with_those_that_are(tmp_path: Path) -> None:
    source = write(tmp_path / "m.jsonl", [{"id": "1", "uri": "s3://b/1", "tags": ["a"]}])
    with pytest.raises(UserError, match=r"carry=title is no column of .*m\.jsonl: it has id, uri, tags"):
        rows_of(replace(source, carry=("title",)))
    with pytest.raises(UserError, match=r"carry=tags holds list<item: string> in .*: texts, numbers and dates are carried"):
        rows_of(replace(source, carry=("tags",)))


@pytest.mark.parametrize(
    ("carry", "has_manifest", "sentence"),
    [
        (("title",), False, "carry=title names columns of a manifest, and there is none"),
        (("title", "Score"), True, "carry=Score cannot travel: the results have a column score"),
        (("run_date",), True, "carry=run_date cannot travel: the results have a column run_date"),
        (("title", "Title"), True, "carry=title,Title would be one column to some readers"),
    ],
)
def test_columns_that_cannot_travel_are_refused(carry: tuple[str, ...], has_manifest: bool, sentence: str) -> None:
    check_carry(("title",), has_manifest=True)
    with pytest.raises(UserError, match=sentence):
        check_carry(carry, has_manifest)


def test_several_inputs_are_one_catalog_and_their_ids_stay_unique(store: Store) -> None:
    here, there = store.child("here"), store.child("there")
    for place, keys in ((here, "ace"), (there, "bd")):
        for key in keys:
            place.put(f"{key}.jpg", key.encode())
    source = Source("input", here.uri, others=(there.uri,))
    rows = rows_of(source)
    assert [(row["artwork_id"], row["uri"]) for row in rows] == [
        (f"{key}.jpg", (there if key in "bd" else here).uri_of(f"{key}.jpg")) for key in "abcde"
    ]
    there.put("a.jpg", b"another")
    there.put("e.jpg", b"another")
    with pytest.raises(UserError, match=r"here, .*there hold 'a\.jpg' twice and 1 more: an artwork's id is its key below its input"):
        rows_of(source)


def test_an_input_of_several_that_is_empty_is_named(tmp_path: Path) -> None:
    open_store(str(tmp_path / "here")).put("a.jpg", b"a")
    (tmp_path / "there").mkdir()
    with pytest.raises(UserError, match=r"There is nothing below .*there: give an input"):
        check_not_empty(Source("input", str(tmp_path / "here"), others=(str(tmp_path / "there"),)))


@pytest.mark.parametrize(("inputs", "is_refused"), [(("/art", "/art/old"), True), (("/art", "/art"), True), (("/art", "/art2"), False)])
def test_an_input_that_lies_in_another_is_refused(inputs: tuple[str, ...], is_refused: bool) -> None:
    with pytest.raises(UserError, match="lies in the input") if is_refused else nullcontext():
        refuse_nested(inputs)


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


def test_a_half_written_inventory_is_refused(s3_folder: Store) -> None:
    bucket, _, prefix = s3_folder.uri.removeprefix("s3://").partition("/")
    s3_folder.put("data.csv.gz", gzip.compress(b'"b","k","1","e"\n' * 999)[:-20])
    document = {"sourceBucket": "b", "destinationBucket": bucket, "fileFormat": "CSV", "fileSchema": "Bucket, Key, Size, ETag"}
    s3_folder.put("manifest.json", json.dumps(document | {"files": [{"key": f"{prefix}/data.csv.gz"}]}).encode())
    with pytest.raises(UserError, match=r"data\.csv\.gz of the inventory .*manifest\.json cannot be read: .*\. Take a whole one"):
        rows_of(Source("inventory", s3_folder.uri_of("manifest.json")))


def test_what_is_no_inventory_is_refused(tmp_path: Path) -> None:
    open_store(str(tmp_path)).put("manifest.json", b"{}")
    with pytest.raises(UserError, match="is no manifest.json of an S3 Inventory"):
        rows_of(Source("inventory", str(tmp_path / "manifest.json")))
