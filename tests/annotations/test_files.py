"""Files as they come: packed, empty, among others, and broken in ways that their formats' libraries do not expect."""

from __future__ import annotations

import gzip
import json
import logging
import random

import pyarrow as pa
import pytest

from artquant.annotations import files, read_annotations
from artquant.annotations.values import load_json
from artquant.config import AnnotationSpec
from artquant.core.errors import UserError
from artquant.storage.store import Store
from tests.annotations.conftest import Read, accounts, column, refused
from tests.annotations.test_quotes import CASES
from tests.annotations.test_tables import parquet

CSV = "id,score,comment\na,1,x\nb,2,\n"
TSV = CSV.replace(",", "\t")
LINES = '{"id": "a", "score": 1, "comment": "x"}\n{"id": "b", "score": 2}\n'


def sent_to(store: Store, contents: dict[str, str | bytes]) -> AnnotationSpec:
    for name, content in contents.items():
        store.put(name, content.encode() if isinstance(content, str) else content)
    return AnnotationSpec(uri=store.uri, max_rejected_fraction=1)


@pytest.mark.parametrize(("name", "text"), [("r.csv", CSV), ("r.TSV", TSV), ("r.jsonl", LINES), ("r.ndjson", LINES)])
def test_packed_files_read_alone_and_in_a_folder(store: Store, name: str, text: str) -> None:
    packed = gzip.compress(text.encode()[:20]) + gzip.compress(text.encode()[20:])  # several members are one file
    spec = sent_to(store, {f"{name}.gz": packed, "s.csv": "id,score\nc,3\n"})
    assert column(read_annotations(spec), "artwork_id") == ["a", "b", "c"]
    assert column(read_annotations(AnnotationSpec(uri=store.uri_of(f"{name}.gz"))), "comment") == ["x", None]


@pytest.mark.parametrize(
    "harm", [lambda data: data[:-9], lambda data: data[:12] + b"\xff" * 9 + data[21:], lambda data: data[:-8] + bytes(8)]
)
def test_a_broken_packing_is_a_sentence(store: Store, harm) -> None:
    with pytest.raises(UserError, match=r"Cannot unpack .*r\.csv\.gz: .*; pack it again"):
        read_annotations(sent_to(store, {"r.csv.gz": harm(gzip.compress(CSV.encode() * 50))}))


def test_a_bomb_is_not_unpacked(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_UNPACKED_BYTES", 1 << 20)
    spec = sent_to(store, {"r.csv.gz": gzip.compress(b"\n" * ((1 << 20) + 1))})
    with pytest.raises(UserError, match=r"r\.csv\.gz unpacks to more than 1 MiB: send several files"):
        read_annotations(spec)


def test_side_files_and_empty_parts_are_no_annotations(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    spec = sent_to(
        store,
        {
            "part-0.csv": CSV,
            "part-1.csv": "",
            "part-2.csv.gz": gzip.compress(b""),
            "part-3.json": "[]\n",
            "_SUCCESS": "",
            "~$r.csv": "\x00lock",
        }
        | {".part-0.csv.crc": "crc", "part-0.csv.crc": "crc", "_metadata": "PAR1", ".hidden/x.png": "", "._part-0.csv": "\x00mac"},
    )
    assert column(read_annotations(spec), "artwork_id") == ["a", "b"] and not caplog.records


def test_other_files_are_named_or_refused_and_never_left_out_in_silence(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    spec = sent_to(store, {"r.csv": CSV, "_old/r.csv": CSV} | {f"{number:02}.jpg": "x" for number in range(40)})
    with caplog.at_level(logging.WARNING):
        assert read_annotations(spec).num_rows == 2
    (record,) = caplog.records
    assert "00.jpg, 01.jpg" in record.getMessage() and "and 31 more" in record.getMessage()
    for name in ("r.ods", "r.csv.bz2", "more/r.parquet.zst"):
        store.put(name, b"x")
        with pytest.raises(UserError, match=f"{name} lies among the annotations and is of a kind that is not read"):
            read_annotations(spec)
        store.delete(name)


def test_line_ends_of_old_macs_are_read(read: Read) -> None:
    assert column(read(a_csv=(CASES / "cr_only.csv").read_bytes()), "score") == [7.0, 8.0]


def test_half_of_a_character_becomes_a_replacement(read: Read) -> None:
    assert column(read(a_jsonl=(CASES / "lone_surrogate.jsonl").read_bytes()), "comment") == ["cut \ufffd", None]
    text = r'[{"id": "a\udfff", "score": 1, "t\ud83d": "\ud83d\ude00", "b": "\\ud83d"}, {"id": "b", "score": 2}]'
    row = read(a_jsonl=text, b_csv='id,ratings\nz,"[""\\ud83d"", 5]"\n')
    assert column(row, "artwork_id") == ["a\ufffd", "b"] and len(refused(row)) == 1
    assert (column(row, "t\ufffd"), column(row, "b")) == (["\U0001f600", None], ["\\ud83d", None])
    assert load_json(r'"\ud83d\ud83d\ude00\uD83Dx"') == "\ufffd\U0001f600\ufffdx"


def test_no_ratings_in_a_list_of_fixed_size_are_no_score(read: Read) -> None:
    annotations = read(a_parquet=(CASES / "fixed_size_null.parquet").read_bytes())
    assert {reason for *_, reason in refused(annotations)} == {"there is no score"} and annotations.table.num_rows
    for kind in (pa.list_(pa.float64(), 2), pa.list_(pa.float64()), pa.large_list(pa.float64())):
        lists = pa.array([[1, 3], None, [None, 8], None, [4, 4]], kind)
        annotations = read(a_parquet=parquet(id=list("abcde"), ratings=lists))
        assert (column(annotations, "score"), [row for _, row, _ in refused(annotations)]) == ([2.0, 8.0, 4.0], [2, 4])


@pytest.mark.parametrize("layout", ["table", "conversations"])
def test_what_is_nested_deeply_is_a_reject_or_a_sentence(read: Read, layout: str) -> None:
    deep = '{"id": "x", "conversations": ' * 3_000 + "1" + "}" * 3_000
    good = '{"id": "a", "image": "a", "task_type": "score", "gt_score": 5, "conversations": []}\n' if layout == "conversations" else LINES
    more = good.replace('"a"', '"c"').replace(": 5", ": 6")
    annotations = read({"layout": layout}, a_jsonl=good + more.splitlines()[0] + "\n" + deep)
    assert [reason for *_, reason in refused(annotations)][-1] == "the row is no JSON object"
    with pytest.raises(UserError, match="as JSON: it is nested too deeply; correct it"):
        read({"layout": layout}, a_jsonl=f"[{deep}]")


def test_sentences_stay_short_whatever_the_columns(read: Read) -> None:
    for names in ([f"img{number}.jpg" for number in range(5_000)], ["x" * 10_000], ["two\nlines"]):
        with pytest.raises(UserError, match="has no column that names the artwork") as error:
            read(a_json=json.dumps(dict.fromkeys(names, 7)))
        assert len(str(error.value)) < 600 and "\n" not in str(error.value)
    with pytest.raises(UserError, match="two columns called") as error:
        read(a_json="[]", b_csv=f"id,score,{'y' * 9_000},{'y' * 9_000}\n")
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("image", [[["a"]] * 2, [b"\xff\xd8\x00"] * 2])
def test_pictures_in_the_place_of_names_are_a_sentence(read: Read, image) -> None:
    with pytest.raises(
        UserError, match=r"Column 2 \(image\) of .* holds pictures or other compound values .*: give a column artwork_id"
    ) as error:
        read(a_parquet=parquet(score=[1, 2], image=image))
    assert "xff" not in str(error.value)
    assert column(read(a_parquet=parquet(score=[1, 2], image=image, artwork_id=["a", "b"])), "artwork_id") == ["a", "b"]


def test_texts_that_are_no_utf_8_are_found_in_parquet(read: Read) -> None:
    bad = pa.array([b"fine", b"\xff\xfe"]).view(pa.string())
    with pytest.raises(UserError, match=r"Cannot read .*a\.parquet as Parquet: "):
        read(a_parquet=parquet(id=["a", "b"], score=[1, 2], comment=bad))


def test_whatever_a_library_raises_is_a_sentence_that_names_the_file(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("such\nand such")

    monkeypatch.setattr("artquant.annotations.tables.arrange", fail)
    with pytest.raises(
        UserError, match=r"Cannot read the annotations .*a\.csv \(ZeroDivisionError: such and such\): correct them\."
    ) as error:
        read(a_csv=CSV)
    assert isinstance(error.value.__cause__, ZeroDivisionError)


def test_mutated_files_are_rows_and_rejects_or_a_sentence(folder: Store) -> None:
    draw = random.Random(5)
    ours = [{"id": f"{n}.jpg", "score": n, "ratings": [n, None], "comment": "é, \n" * (n % 2), "tags": {"a": [n]}} for n in range(9)]
    csv_text = "id,score,ratings,comment\n" + "".join(f'{n}.jpg,{n},"[{n}, null]","two\nlines, ""{n}"""\n' for n in range(9))
    packed = gzip.compress(csv_text.encode())
    columns = parquet(**{name: [row[name] for row in ours] for name in ours[0]})
    lines = "\n".join(map(json.dumps, ours))
    seeds = {
        "a.csv": csv_text.encode(),
        "a.jsonl": lines.encode(),
        "a.json": json.dumps(ours).encode(),
        "a.parquet": columns,
        "a.csv.gz": packed,
    }
    marks = [b'"', b",", b"\n", b"\r", b"\x00", b"\\ud83d", b"[", b"{", b"\xff", b"1e999", b"", b"null"]
    num_read = 0
    for name, seed in seeds.items():
        for _ in range(60):
            data = bytearray(seed)
            for _ in range(draw.randint(1, 3)):
                at = draw.randrange(len(data))
                data[at : at + draw.randint(0, 4)] = draw.choice(marks)
            spec = sent_to(folder, {name: bytes(data)})
            try:
                annotations = read_annotations(spec)
            except UserError as error:
                assert len(str(error)) < 900 and "\n" not in str(error), (name, bytes(data))
            else:
                assert accounts(annotations), (name, bytes(data))
                num_read += 1
        folder.delete(name)
    assert num_read > 30
