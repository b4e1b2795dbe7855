"""The published data sets' files, made up after their headers: each reads as it is downloaded, with its votes and its split."""

from __future__ import annotations

import io
import json
import logging
import math
import tempfile
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from artquant.annotations import read_annotations
from artquant.annotations.names import split_named
from artquant.config import AnnotationSpec
from artquant.core.errors import UserError
from artquant.storage.store import Store
from tests.annotations.conftest import Read, accounts, column, refused, send


def workbook(*rows: tuple[Any, ...]) -> bytes:
    book, sink = openpyxl.Workbook(), io.BytesIO()
    for row in rows:
        book.active.append(row)  # type: ignore[union-attr]
    book.save(sink)
    return sink.getvalue()


def sav(**columns: list[Any]) -> bytes:
    import pandas
    import pyreadstat

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.sav"
        pyreadstat.write_sav(pandas.DataFrame(columns), str(path))
        return path.read_bytes()


def votes(annotations: Any) -> list[dict[float, float] | None]:
    return [some and {vote["value"]: vote["count"] for vote in some} for some in column(annotations, "votes")]


def test_the_repository_of_apdd_reads_with_its_splits_and_its_chinese_comments(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    header = "filename,Artistic Categories,Total aesthetic score,Language Comment\n"
    rows = {"a": (61.5, "很好"), "b": (70, "Full, and calm."), "c": (8, "")}
    store.put("APDDv2-10023.csv", (header + "".join(f'{n}.png,oil*x*y,{s},"{c}"\n' for n, (s, c) in rows.items())).encode("gbk"))
    for split, names in {"train": "a", "valid": "b", "test": "c"}.items():
        store.put(f"csvfiles/{split}.csv", ("filename,Score\n" + "".join(f"{n}.png,{rows[n][0] / 10}\n" for n in names)).encode())
    store.put("filesource.csv", b"source,link\nx,y\n")
    with caplog.at_level(logging.WARNING):
        annotations = read_annotations(AnnotationSpec(uri=store.uri, layout="apdd"))
    assert accounts(annotations) and (annotations.num_rows, annotations.num_merged, refused(annotations)) == (6, 3, [])
    assert column(annotations, "score") == pytest.approx([6.15, 7, 0.8])
    assert column(annotations, "comment") == ["很好", "Full, and calm.", None]
    assert column(annotations, "file_split") == ["train", "validation", "test"]
    assert "filesource.csv" in caplog.records[-1].getMessage()


def test_koniq_in_both_its_files_gives_mean_spread_and_votes_on_1_to_5(read: Read) -> None:
    shares = "image_name,c1,c2,c3,c4,c5,c_total,MOS,SD,set\na.jpg,0,0.1,0.4,0.5,0,105,70.2,12,training\nb.jpg,.5,.5,0,0,0,100,12,9,test\n"
    annotations = read({"layout": "koniq"}, koniq10k_distributions_sets_csv=shares)
    assert column(annotations, "score") == pytest.approx([3.4, 1.5])
    assert column(annotations, "sigma") == pytest.approx([math.sqrt(0.1 * 1.96 + 0.4 * 0.16 + 0.5 * 0.36), 0.5])
    assert (column(annotations, "split"), column(annotations, "MOS_given")) == (["train", "test"], [70.2, 12.0])
    assert votes(annotations) == [{2.0: 0.1, 3.0: 0.4, 4.0: 0.5}, {1.0: 0.5, 2.0: 0.5}]
    counts = '"image_name","c1","c2","c3","c4","c5","c_total","MOS","SD","MOS_zscore"\n"c.jpg",0,0,25,73,7,105,3.83,.5,70\n'
    annotations = read({"layout": "koniq"}, koniq10k_distributions_sets_csv=shares, koniq10k_scores_and_distributions_csv=counts)
    assert (column(annotations, "score")[2], column(annotations, "num_raters")) == (pytest.approx(402 / 105), [None, None, 105])
    spec = AnnotationSpec(layout="koniq")
    assert (spec.scale_low, spec.scale_high, spec.level_values) == (1, 5, (5, 4, 3, 2, 1))


AVA = "1 953619 0 1 5 17 38 36 15 6 5 1 1 22 1396\n2 953958 10 7 15 26 26 21 10 8 1 2 15 21 1396\n"


def test_ava_reads_without_a_header_and_as_tanet_publishes_it(read: Read, store: Store, folder: Store) -> None:
    store.put("images/953619.jpg", b"x")
    store.put("more/7.jpg", b"x")
    annotations = read({"layout": "ava"}, AVA_txt=AVA)
    assert column(annotations, "artwork_id") == ["953619.jpg", "953958.jpg"]
    assert column(annotations, "num_raters") == [124, 126]
    mean = sum(r * n for r, n in zip(range(1, 11), [0, 1, 5, 17, 38, 36, 15, 6, 5, 1], strict=True)) / 124
    assert column(annotations, "score")[0] == pytest.approx(mean)
    named = "image_id,score2,score3,score4,score5,score6,score7,score8,score9,score10,score11,tags\n"
    folder.delete("AVA.txt")
    rows = "953619,0,1,5,17,38,36,15,6,5,1,x\n7,1,0,0,0,0,0,0,0,0,1,\n5,1,0,0,0,0,0,0,0,0,1,\n"
    more = read({"layout": "ava", "images": store.uri}, test_csv=named + rows)
    assert column(more, "artwork_id") == ["images/953619.jpg", "more/7.jpg"] and column(more, "score") == pytest.approx([mean, 5.5])
    assert refused(more) == [("test.csv", 3, "not just one picture has this number: '5'")]


def test_spaq_reads_from_its_workbook(read: Read) -> None:
    sheet = workbook(("Image name", "MOS", "Brightness"), ("00001.jpg", 54.57, 40), ("00002.jpg", 87, 41.5), (None, None, None))
    annotations = read({"layout": "spaq"}, MOS_xlsx=sheet)
    assert (column(annotations, "artwork_id"), column(annotations, "score")) == (["00001.jpg", "00002.jpg"], [54.57, 87.0])
    assert column(annotations, "Brightness") == [40.0, 41.5]


def test_para_reads_means_and_single_raters_and_finds_pictures_in_their_sessions(read: Read, folder: Store, store: Store) -> None:
    for session in (1, 2):
        store.put(f"imgs/session{session}/iaa_pub{session}_.jpg", b"x")
    means = "sessionId,imageName,aestheticScore_mean,aestheticScore_std\nsession1,iaa_pub1_.jpg,3.2,.5\nsession2,iaa_pub2_.jpg,4,.6\n"
    annotations = read({"layout": "para", "images": store.uri}, **{"PARA-GiaaTrain_csv": means})
    assert column(annotations, "artwork_id") == ["imgs/session1/iaa_pub1_.jpg", "imgs/session2/iaa_pub2_.jpg"]
    assert (column(annotations, "sigma"), column(annotations, "file_split")) == ([0.5, 0.6], ["train", "train"])
    folder.delete("PARA-GiaaTrain.csv")
    single = "sessionId,imageName,userId,aestheticScore\ns1,a.jpg,u1,3\ns1,a.jpg,u2,4.5\ns1,b.jpg,u1,2\n"
    annotations = read({"layout": "para"}, **{"PARA-Images_csv": single})
    assert (column(annotations, "artwork_id"), column(annotations, "score")) == (["s1/a.jpg", "s1/b.jpg"], [3.75, 2.0])
    assert votes(annotations) == [{3.0: 1.0, 4.5: 1.0}, {2.0: 1.0}]


def test_eva_parts_its_values_by_equal_signs(read: Read) -> None:
    text = "image_id=user_id=score=difficulty\n953619=7=6=1\n953619=8=8=2\n953620=7=5=1\n"
    annotations = read({"layout": "eva"}, votes_filtered_csv=text)
    assert column(annotations, "artwork_id") == ["953619.jpg", "953620.jpg"]
    assert (column(annotations, "score"), votes(annotations)) == ([7.0, 5.0], [{6.0: 1.0, 8.0: 1.0}, {5.0: 1.0}])


def test_aadb_is_names_and_scores_in_files_by_split(read: Read) -> None:
    files = {"imgListTrainRegression_score_txt": "farm1_a.jpg 0.5\n", "imgListTestNewRegression_score_txt": "farm1_b.jpg 0.75\n"}
    annotations = read({"layout": "aadb"}, **files)
    assert (column(annotations, "artwork_id"), column(annotations, "score")) == (["farm1_a.jpg", "farm1_b.jpg"], [0.5, 0.75])
    assert column(annotations, "file_split") == ["train", "test"]


def test_tad66k_and_baid_keep_the_splits_that_their_files_name(read: Read) -> None:
    annotations = read({"layout": "tad66k"}, **{"merge/train_csv": "image,score\na.jpg,6.4\n", "merge/test_csv": "image,score\nb.jpg,3\n"})
    assert (column(annotations, "file_split"), column(annotations, "score")) == (["train", "test"], [6.4, 3.0])
    files = {"train_set_csv": "image,score\n1.jpg,4\n", "val_set_csv": "image,score\n2.jpg,5\n", "test_set_csv": "image,score\n3.jpg,6\n"}
    annotations = read({"layout": "baid"}, image_list_csv="image_link,image_name\nhttp://x,1.jpg\n", **files)
    assert [split for split in column(annotations, "file_split")] == ["train", "validation", "test", "train", "test"]


def test_vaps_joins_its_spss_ratings_and_its_workbook_by_number(read: Read) -> None:
    ratings = sav(Picture_Number=[1.0, 2.0, 4.0], Liking_M=[4.5, 3.25, 6.0], Liking_SD=[1.0, 1.5, 0.5])
    pictures = workbook(("Picture_Number", "Painter", "Style"), (2, "B", "baroque"), (1, "A", "cubism"), (3, "C", "x"))
    annotations = read({"layout": "vaps"}, VAPS_ValidationData_sav=ratings, VAPS_Information_xlsx=pictures)
    assert column(annotations, "artwork_id") == ["1.jpg", "2.jpg", "4.jpg"]
    assert (column(annotations, "score"), column(annotations, "Style")) == ([4.5, 3.25, 6.0], ["cubism", "baroque", None])
    assert column(annotations, "sigma") == [1.0, 1.5, 0.5]


@pytest.mark.parametrize("name", ["VAPS.sav", "a.xlsx"])
def test_a_broken_workbook_is_a_sentence(store: Store, name: str) -> None:
    data = sav(Picture_Number=[1.0], Liking_M=[4.5]) if name.endswith("sav") else workbook(("id", "score"), ("a", 1))
    store.put(name, data[:150] if name.endswith("sav") else data[:200] + data[260:])
    with pytest.raises(UserError, match="Cannot read .* as (SPSS file|spreadsheet): .*; save it as CSV"):
        read_annotations(AnnotationSpec(uri=store.uri, layout="vaps"))


def exchange(**entry: Any) -> dict[str, Any]:
    turns = [{"from": "human", "value": "How good?<|image|>"}, {"from": "gpt", "value": "The quality is good."}]
    return {"conversations": turns, **entry}


def test_the_published_training_json_of_artquant_q_align_and_deqa_reads(read: Read, folder: Store) -> None:
    levels = {"level_probs": [0.1, 0.6, 0.2, 0.1, 0]}
    entries = [
        exchange(id="a.png->68.7", image="a.png", gt_score=6.87, **levels),  # ArtQuant's notebook: no task_type
        exchange(id="b.jpg->8.25", image="b.jpg"),  # Q-Align: the score stands in the id
        {"id": "c", "image": "c.jpg", "gt_score": 3.5, **levels},  # DeQA's test files: no conversations
    ]
    annotations = read({"layout": "conversations"}, score_json=json.dumps(entries))
    assert (column(annotations, "score"), refused(annotations)) == ([6.87, 8.25, 3.5], [])
    folder.delete("score.json")
    annotations = read(test_json=json.dumps([{"id": "c", "image": "c.jpg", "gt_score": 3.5}, {"id": "d", "image": "d.jpg", "gt_score": 4}]))
    assert column(annotations, "score") == [3.5, 4.0]


def test_columns_may_be_named_whatever_they_are(read: Read) -> None:
    text = "Werk,Urteil,rating,Maler\na.jpg,7,1,Anna\nb.jpg,8,2,Bob\n"
    spec = {"columns": {"artwork_id": "Werk", "score": "Urteil", "group": "Maler"}}
    annotations = read(spec, a_csv=text)
    assert (column(annotations, "score"), column(annotations, "rating"), column(annotations, "group")) == (
        [7.0, 8.0],
        [1, 2],
        ["Anna", "Bob"],
    )
    with pytest.raises(UserError, match="has no column 'Maler', which annotations.columns names: it has id, score"):
        read(spec | {"columns": {"group": "Maler"}}, a_csv="id,score\na,1\nb,2\n")


HISTOGRAMS = [
    'id,votes\na,"[1, 0, 3]"\nb,"[0, 2, 0]"\n',
    'id,votes\na,"{""0"": 1, ""10"": 3}"\nb,"{""5"": 2}"\n',
    "id,votes_0,votes_5,votes_10\na,1,0,3\nb,,2,\n",
]


@pytest.mark.parametrize("text", HISTOGRAMS)
def test_a_histogram_of_votes_gives_mean_spread_and_number(read: Read, text: str) -> None:
    annotations = read(a_csv=text)
    assert (column(annotations, "score"), column(annotations, "num_raters")) == ([7.5, 5.0], [4, 2])
    assert column(annotations, "sigma") == pytest.approx([5.0, 0.0])
    assert votes(annotations) == [{0.0: 1.0, 10.0: 3.0}, {5.0: 2.0}]


@pytest.mark.parametrize("cell", ['"[1, -2]"', '"[1, ""x""]"', '"{""a"": 1}"', '"{""5"": -1}"', "7"])
def test_a_bad_histogram_is_refused(read: Read, cell: str) -> None:
    annotations = read(a_csv='id,votes\na,"[1, 2]"\nb,"[2, 1]"\n', b_csv=f"id,votes\nx,{cell}\n")
    assert [(file, row) for file, row, _ in refused(annotations)] == [("b.csv", 1)]


def test_files_that_are_no_annotations_are_left_out_on_request(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    send(store, r_csv="id,score\na,1\nb,2\n", links_csv="link\nhttp://x\n", old_ods="x")
    store.delete("old.ods")
    with pytest.raises(UserError, match=r"links.csv .*to leave out files like it, set annotations.skip_other_files=true\."):
        read_annotations(AnnotationSpec(uri=store.uri))
    store.put("old.ods", b"x")
    with caplog.at_level(logging.WARNING):
        annotations = read_annotations(AnnotationSpec(uri=store.uri, skip_other_files=True))
    assert column(annotations, "artwork_id") == ["a", "b"]
    assert "old.ods" in caplog.records[0].getMessage() and "links.csv" in caplog.records[1].getMessage()


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train.csv", "train"),
        ("test_set.csv", "test"),
        ("PARA-GiaaTest.csv", "test"),
        ("imgListValidationRegression_score.txt", "validation"),
        ("split=train/part-0.parquet", "train"),
        ("data/test-00000-of-00001.parquet", "test"),
        ("unmerge/test/animal.csv", "test"),
        ("ratings.csv", None),
        ("latest.csv", None),
        ("train_and_test.csv", None),
    ],
)
def test_a_files_name_or_its_folders_says_the_split(name: str, split: str | None) -> None:
    assert split_named(name) == split
