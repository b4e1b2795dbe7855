"""Tables of scores and of ratings: what becomes an artwork, what is refused and how it is said."""

from __future__ import annotations

import io
import json
import math
import statistics

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artquant.annotations import read_annotations
from artquant.annotations.rows import annotation_schema
from artquant.config import AnnotationSpec, LossSpec
from artquant.core.errors import UserError
from artquant.core.scale import Scale
from artquant.core.schema import PROBABILITY_COLUMNS, score_schema
from artquant.storage.store import Store
from artquant.training.lessons import soft_labels
from tests.annotations.conftest import Read, accounts, column, refused, send


def parquet(**columns) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def test_a_single_score_with_its_own_spread_and_texts_is_an_artwork(store: Store) -> None:
    send(store, ratings_csv="artwork_id,score,score_std,emotion,comment,style\nb.jpg,7.5,0.5,calm,,\na/ü.jpg, 3 ,,,nice,baroque\n")
    annotations = read_annotations(AnnotationSpec(uri=store.uri_of("ratings.csv")))
    assert annotations.table.schema.remove(9).equals(annotation_schema())
    assert annotations.table.to_pylist() == [
        {"artwork_id": "a/ü.jpg", "score": 3.0, "sigma": None, "num_raters": None, "perception": None, "cognition": None}
        | {"emotion": None, "comment": "nice", "votes": None, "style": "baroque"},
        {"artwork_id": "b.jpg", "score": 7.5, "sigma": 0.5, "num_raters": None, "perception": None, "cognition": None}
        | {"emotion": "calm", "comment": None, "votes": None, "style": None},
    ]
    assert accounts(annotations) and refused(annotations) == []


def test_all_formats_say_the_same(read: Read, folder: Store) -> None:
    objects = [{"id": "a", "score": 2.5, "ratings": [2, 3], "n": 1}, {"id": "b", "score": None, "ratings": [4.0, None, 6], "n": 2}]
    lines = read(a_jsonl="\n\n".join(map(json.dumps, objects)) + "\n").table
    assert (lines["score"].to_pylist(), lines["n"].to_pylist()) == ([2.5, 5.0], [1, 2])
    assert lines["sigma"].to_pylist() == pytest.approx([math.sqrt(0.5), math.sqrt(2)])
    assert lines["num_raters"].to_pylist() == [2, 2]
    written = parquet(id=["a", "b"], score=[2.5, None], ratings=[[2.0, 3.0], [4.0, None, 6.0]], n=[1, 2])
    for name, content in {
        "list_json": json.dumps(objects),
        "list_jsonl": json.dumps(objects),  # what it is, the content says
        "a_csv": 'id,score,ratings,n\na,2.5,"[2, 3]",1\nb,,"[4.0, null, 6]",2\n',
        "a_tsv": "id\tscore\tratings\tn\na\t2.5\t[2, 3]\t1\nb\t\t[4.0, null, 6]\t2\n",
        "a_parquet": written,
    }.items():
        assert read({"uri": folder.uri_of(name.replace("_", "."))}, **{name: content}).table.equals(lines), name


def test_ratings_in_one_list_or_in_a_column_each_give_mean_spread_and_number(read: Read) -> None:
    wide = read(r_csv='image,ratings\nx,"[6, 8, 10]"\ny,[4]\n')
    assert (column(wide, "score"), column(wide, "sigma"), column(wide, "num_raters")) == ([8.0, 4.0], [2.0, None], [3, 1])
    assert column(read(r_csv="image,Rater 1,rater_2,rater_10\nx,6,8,10\ny,,4,\n"), "sigma") == [2.0, None]


def test_rows_of_several_raters_are_merged(read: Read) -> None:
    scores = {"x": [7, 9.5, 2], "y": [4], "z": [5, 5]}
    rows = [(name, number, score) for number in range(3) for name, some in scores.items() for score in some[number : number + 1]]
    text = "image,rater,score,comment,style,age\n"
    text += "".join(f"{name},r{number},{score},{name}{number},style-{name},{20 + number}\n" for name, number, score in rows)
    annotations = read(long_csv=text)
    assert column(annotations, "score") == pytest.approx([statistics.mean(some) for some in scores.values()])
    assert column(annotations, "sigma") == [pytest.approx(statistics.stdev(scores["x"])), None, 0.0]
    assert column(annotations, "num_raters") == [3, 1, 2]
    assert column(annotations, "comment") == ["x0\nx1\nx2", "y0", "z0\nz1"]
    assert column(annotations, "style") == ["style-x", "style-y", "style-z"]
    assert column(annotations, "age") == [None, 20, None], "what differs between raters is no property of the artwork"
    assert (annotations.num_rows, annotations.num_merged) == (6, 3)


def test_a_score_that_is_given_counts_before_the_mean_of_the_ratings(read: Read) -> None:
    annotations = read(r_csv='image,score,ratings,num_raters\nx,6.5,"[6, 8]",\ny,1,,12\n')
    assert (column(annotations, "score"), column(annotations, "num_raters")) == ([6.5, 1.0], [2, 12])
    assert column(annotations, "sigma") == [pytest.approx(math.sqrt(2)), None]


BAD = [
    ("artwork_id,score\n,5\n", "no artwork is named"),
    ("artwork_id,score\n../a,5\n", "the artwork's name is no key: '../a'"),
    ("artwork_id,score\nhttp://x/a,5\n", "the artwork is an address, and annotations.images does not say below which: 'http://x/a'"),
    ("artwork_id,score\na,\n", "there is no score"),
    ("artwork_id,score\na,good\n", "the score is not a number: 'good'"),
    ("artwork_id;score\na;7,5\n", "the score is not a number: '7,5'"),
    ("artwork_id,score\na,NaN\n", "the score is not a number: 'NaN'"),
    ("artwork_id,score\na,inf\n", "the score is not a number: 'inf'"),
    ("artwork_id,score\na,10.01\n", "the score is outside 0 to 10: '10.01'"),
    ("artwork_id,score\na,-1\n", "the score is outside 0 to 10: '-1'"),
    ('artwork_id,ratings\na,"[5, 11]"\n', "a rating is outside 0 to 10: '[5, 11]'"),
    ('artwork_id,ratings\na,"[5, ""x""]"\n', "a rating is not a number: '[5, \"x\"]'"),
    ('artwork_id,ratings\na,"[5, true]"\n', "a rating is not a number: '[5, true]'"),
    ('artwork_id,ratings\na,"[5],[6"\n', "the ratings are no list: '[5],[6'"),
    ("artwork_id,ratings\na,5\n", "the ratings are no list: '5'"),
    ("artwork_id,ratings\na,[]\n", "there is no score"),
    ("artwork_id,rater_1\na,bad\n", "a rating is not a number"),
    ("artwork_id,score,std\na,5,-1\n", "the standard deviation is none of this scale: '-1'"),
    ("artwork_id,score,std\na,5,x\n", "the standard deviation is none of this scale: 'x'"),
    ("artwork_id,score,num_raters\na,5,1.5\n", "the number of raters is no whole number above zero: '1.5'"),
    ("artwork_id,score,rater\na,5,\n", "no rater is named"),
    ("artwork_id,score,split\na,5,holdout\n", "the split is none of train, validation and test: 'holdout'"),
    ("artwork_id,score\na,5,6\n", "the row has another number of values than the header: 3, not 2"),
    ("artwork_id,score\ngood-2.jpg,5\n", "the artwork is annotated already: row 2 of a.csv"),
]


@pytest.mark.parametrize(("text", "reason"), BAD, ids=[reason for _, reason in BAD])
def test_a_bad_row_is_refused_with_file_row_and_reason_and_the_others_count(read: Read, text: str, reason: str) -> None:
    annotations = read(a_csv="artwork_id,score\ngood-1.jpg,4\ngood-2.jpg,6\n", b_csv="\n" + text)
    assert refused(annotations) == [("b.csv", 1, reason)]
    assert column(annotations, "artwork_id") == ["good-1.jpg", "good-2.jpg"]
    assert annotations.num_rows == 3
    assert list(annotations.reasons.values()) == [1] and reason.startswith(next(iter(annotations.reasons)))


def test_numbers_in_parquet_and_json_are_held_to_the_same(read: Read) -> None:
    annotations = read(
        p_parquet=parquet(id=["a", "b", "c", "d"], score=[1.0, float("nan"), None, 11.0]),
        q_json='[{"id": "e", "score": 5}, {"id": "f", "score": true}, {"id": "g", "score": "6"}, 3, {"id": "h", "score": NaN}]',
        r_jsonl='{"id": "i", "score": 5}\n{"id": \n',
    )
    assert column(annotations, "artwork_id") == ["a", "e", "g", "i"]
    assert refused(annotations) == [
        ("p.parquet", 2, "the score is not a number: nan"),
        ("p.parquet", 3, "there is no score"),
        ("p.parquet", 4, "the score is outside 0 to 10: 11"),
        ("q.json", 2, "the score is not a number: 'true'"),
        ("q.json", 4, "the row is no JSON object"),
        ("q.json", 5, "the score is not a number: 'NaN'"),
        ("r.jsonl", 2, "the row is no JSON object"),
    ]


def test_of_repeated_rows_the_first_counts_and_raters_do_not_join_a_whole_row(read: Read) -> None:
    annotations = read(
        a_csv="id,score\nx,1\ny,2\n",
        b_csv="id,score,rater\nx,9,ann\nz,4,ann\nz,8,bob\nz,6,ann\n",
        c_csv="id,score\nz,3\n",
    )
    assert refused(annotations) == [
        ("b.csv", 1, "the artwork is annotated already: row 1 of a.csv"),
        ("b.csv", 4, "the artwork is annotated already: 'ann' in row 2 of b.csv"),
        ("c.csv", 1, "the artwork is annotated already: row 2 of b.csv"),
    ]
    assert (column(annotations, "score"), column(annotations, "num_raters")) == ([1.0, 2.0, 6.0], [None, None, 2])
    assert annotations.reasons == {"the artwork is annotated already": 3}


@pytest.mark.parametrize(
    ("scale", "kept"),
    [({}, ["a", "b"]), ({"scale_low": 4}, ["b"]), ({"scale_high": 4}, ["a"]), ({"scale_low": -5, "scale_high": 50}, ["a", "b", "c", "d"])],
)
def test_a_score_beyond_the_scale_is_refused(read: Read, scale: dict, kept: list[str]) -> None:
    annotations = read(scale, a_csv="id,score\na,2.5\nb,7\nc,-4\nd,40\na2,2.6\nb2,7.1\n")
    assert [name for name in column(annotations, "artwork_id") if len(name) == 1] == kept


def test_artworks_may_be_named_by_address_below_the_pictures(read: Read, store: Store) -> None:
    images = store.child("pictures")
    text = f"uri,score\n{images.uri_of('a/b c.jpg')},1\n./c.jpg,2\nd.jpg,3\n{store.uri_of('other/x.jpg')},4\n{images.uri}x/y.jpg,5\n"
    annotations = read({"images": images.uri}, u_csv=text)
    assert column(annotations, "artwork_id") == ["a/b c.jpg", "c.jpg", "d.jpg"]
    assert [row for _, row, _ in refused(annotations)] == [4, 5]
    assert set(annotations.reasons) == {f"the artwork does not lie below {images.uri}/"}


def test_a_path_is_an_address_too(read: Read, tmp_path) -> None:
    annotations = read(
        {"images": str(tmp_path)}, u_csv=f"image,score\n{tmp_path}/a.jpg,1\nfile://{tmp_path}/b.jpg,2\nfile:{tmp_path}/c.jpg,3\n"
    )
    assert column(annotations, "artwork_id") == ["a.jpg", "b.jpg", "c.jpg"]


def test_beside_an_image_an_id_is_a_column_of_its_own_and_ids_keep_their_zeros(read: Read) -> None:
    annotations = read(a_csv="id,image,score,lot\n1,007,5,0012\n2,08,6,0013\n")
    assert (column(annotations, "artwork_id"), column(annotations, "id")) == (["007", "08"], [1, 2])
    assert column(annotations, "lot") == ["0012", "0013"]


def test_other_columns_of_several_files_come_together(read: Read) -> None:
    annotations = read(
        a_csv="id,score,year,price\nx,5,1890,1\n",
        b_csv="id,score,price,year\ny,6,2.5,about 1900\n",
        c_jsonl='{"id": "z", "score": 7, "tags": ["a", "b"]}\n',
    )
    assert annotations.table.column_names[9:] == ["year", "price", "tags"]
    assert column(annotations, "year") == ["1890", "about 1900", None]
    assert column(annotations, "price") == [1.0, 2.5, None]
    assert column(annotations, "tags") == [None, None, ["a", "b"]]


def test_a_split_that_is_given_is_spelt_our_way(read: Read) -> None:
    assert column(read(a_csv="id,score,Split\nx,5,Val\ny,6,\nz,7,test\n"), "split") == ["validation", None, "test"]


def test_a_folder_is_read_below_and_what_is_no_table_is_left_alone(store: Store) -> None:
    send(store, ratings_csv="id,score\na,1\n", readme_md="# hello", _SUCCESS_json="{}")
    store.put("more/part.jsonl", b'{"id": "b", "score": 2}\n')
    store.put("a.jpg", b"\xff\xd8")
    for uri in (store.uri, store.uri + "/"):
        assert column(read_annotations(AnnotationSpec(uri=uri)), "artwork_id") == ["a", "b"]


def test_row_numbers_count_records_not_lines(read: Read) -> None:
    annotations = read(a_csv='\ufeffid,score,comment\n\na,1,"two\nlines"\nb,2\nc,3,\nd,oops,"x, y"\n')
    assert [(row, reason.partition(":")[0]) for _, row, reason in refused(annotations)] == [
        (2, "the row has another number of values than the header"),
        (4, "the score is not a number"),
    ]
    assert column(annotations, "comment") == ["two\nlines", None]


UNUSABLE = [
    ({"a_csv": ""}, "a.csv is empty: give a file of annotations."),
    ({"a_csv": "id,score\n"}, "have no rows: give some."),
    ({"a_csv": "id,score\na,5\nb,5\n"}, "are 5 (2 artworks), so there is nothing to learn or to compare: give scores that differ."),
    ({"a_csv": "title,score\na,5\n"}, "has no column that names the artwork, such as artwork_id, uri, image, filename, file_name, "),
    ({"a_csv": "title,score\na,5\n"}, "its columns are title, score; name one with annotations.columns={artwork_id: ..., score: ...}, or"),
    (
        {"a_csv": "id,stars\na,5\n"},
        "has no column of scores, such as score, rating, mos, gt_score, mean_score, ",
    ),
    ({"a_csv": "id,score,id\na,5,b\n"}, "has two columns called 'id': rename one."),
    ({"a_csv": "id,score,comment\na,5,\xe9\n".encode("latin-1")}, "a.csv is no UTF-8 text (byte 21): save it as CSV in UTF-8."),
    (
        {"a_csv": "id,score\na,5\n".encode("utf-16")},
        "a.csv is neither Parquet, CSV nor JSON: save it as one of these (a spreadsheet as CSV in UTF-8).",
    ),
    ({"a_parquet": b"PAR1 broken"}, "a.parquet as Parquet: "),
    ({"a_json": "[1, 2"}, "a.json as JSON: "),
    ({"a_json": "[1, 2]"}, "a.json holds no JSON objects: give a list of them, or one on each line."),
    (
        {"a_json": '[{"image": "a", "gt_score": 5, "conversations": []}]'},
        "a.json holds conversations: set annotations.layout=conversations.",
    ),
    ({"a_jpg": b"\xff\xd8"}, "There are no annotations at "),
    ({"a_csv": "id,score\na,5\nb,x\n"}, "1 of 2 rows of the annotations "),
    (
        {"a_csv": "id,score\na,5\nb,x\n"},
        "first row 2 of a.csv (the score is not a number: 'x'): correct them, or raise annotations.max_rej",
    ),
    ({"a_csv": "id,score\na,y\nb,x\n"}, "cannot be used, first row 1 of a.csv (the score is not a number: 'y'): correct them."),
]


@pytest.mark.parametrize(("files", "sentence"), UNUSABLE)
def test_what_cannot_be_used_at_all_is_said_in_one_sentence(read: Read, files, sentence: str) -> None:
    with pytest.raises(UserError) as error:
        read({"max_rejected_fraction": 0.05}, **files)
    said = str(error.value)
    assert sentence in said and said.endswith(".") and "\n" not in said


def test_a_few_bad_rows_are_let_pass_and_more_are_not(read: Read) -> None:
    rows = "".join(f"{number},{number % 9}\n" for number in range(19))
    assert read({"max_rejected_fraction": 0.05}, a_csv=f"id,score\n{rows}19,x\n").rejects.num_rows == 1
    with pytest.raises(UserError, match="2 of 21 rows"):
        read({"max_rejected_fraction": 0.05}, a_csv=f"id,score\n{rows}19,x\n20,x\n")


def test_annotations_that_are_not_there_are_a_sentence(store: Store) -> None:
    for uri in (store.uri_of("none.csv"), store.uri_of("nowhere/")):
        with pytest.raises(UserError, match="There are no annotations at .*: set annotations.uri"):
            read_annotations(AnnotationSpec(uri=uri))
    with pytest.raises(UserError, match="set annotations.uri"):
        read_annotations(AnnotationSpec())


def test_the_digest_changes_with_what_is_sent_and_how_it_is_read(read: Read) -> None:
    text = "id,score\na,5\nb,6\n"
    first = read(a_csv=text).digest
    assert read(a_csv=text).digest == first
    assert len({first, read(a_csv=text + "c,7\n").digest, read({"scale_high": 9.0}, a_csv=text).digest}) == 3


def test_what_a_model_has_scored_teaches_another(read: Read) -> None:
    shares = dict(zip(PROBABILITY_COLUMNS, (0.1, 0.5, 0.2, 0.15, 0.05), strict=True))
    rows = [
        {"artwork_id": f"{name}.jpg", "score": value, "score_std": 1.2, "critique_status": status, "emotion": "Calm.", **shares}
        for name, value, status in (("a", 7.0, "ok"), ("b", 6.0, "looping"))
    ]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, score_schema()), sink)
    annotations = read(part_parquet=sink.getvalue())
    assert (column(annotations, "score"), column(annotations, "emotion")) == ([7.0, 6.0], ["Calm.", None])
    labels = soft_labels(annotations.table.to_pylist(), Scale(), LossSpec())
    assert labels.tolist() == [pytest.approx(list(shares.values()))] * 2, "the teacher's distribution is the soft label"
    assert column(annotations, "num_raters") == [None, None]
