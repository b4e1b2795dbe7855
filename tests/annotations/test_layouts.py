"""The published data sets' own columns, on made-up rows."""

from __future__ import annotations

import pytest

from artquant.core.errors import UserError
from artquant.storage.store import Store
from tests.annotations.conftest import Read, column, refused

APDD = """filename,Artistic Categories,Total aesthetic score,Theme and logic,Creativity,Mood,Language Comment
0a.png,traditional Chinese painting*freehand*mountains and water,61.5,6.1,,6.7,"Full, and calm."
1b.jpg,oil painting*romanticism*landscapes,100,9.2,8.6,6.4,
2c.jpg,oil painting*romanticism*landscapes,100.5,9.2,8.6,6.4,
3d.jpg,sketching,8,1.2,,,
"""


def test_apdd_totals_are_brought_to_ten_and_categories_taken_apart(read: Read) -> None:
    annotations = read({"layout": "apdd"}, apdd_csv=APDD)
    assert column(annotations, "artwork_id") == ["0a.png", "1b.jpg", "3d.jpg"]
    assert column(annotations, "score") == pytest.approx([6.15, 10, 0.8])
    assert column(annotations, "comment") == ["Full, and calm.", None, None]
    assert column(annotations, "medium") == ["traditional Chinese painting", "oil painting", None]
    assert column(annotations, "style") == ["freehand", "romanticism", None]
    assert column(annotations, "subject") == ["mountains and water", "landscapes", None]
    assert column(annotations, "Creativity") == [None, 8.6, None]
    assert column(annotations, "emotion") == [None] * 3, "Mood is a number there, and no text"
    assert refused(annotations) == [("apdd.csv", 3, "the score is outside 0 to 10: '100.5'")]


def test_apdd_split_files_are_on_ten_already_and_need_not_be_utf_8(read: Read) -> None:
    text = "filename,Artistic Categories,Score,Language Comment\na.png,oil painting*x*y,6.9,\nb.png,oil painting*x*y,3,Caf\xe9\n"
    annotations = read({"layout": "apdd"}, train_csv=text.encode("latin-1"))
    assert (column(annotations, "score"), column(annotations, "comment")) == ([6.9, 3.0], [None, "Café"])


def test_baid_files_are_read_together(read: Read) -> None:
    annotations = read(
        {"layout": "baid"}, train_set_csv="image,score\n12.jpg,4.034603\n9.jpg,10.0\n", test_set_csv="image,score\n7.jpg,3.6\n"
    )
    assert column(annotations, "artwork_id") == ["12.jpg", "7.jpg", "9.jpg"]
    assert column(annotations, "score") == [4.034603, 3.6, 10.0]


VAPS = """Picture_Number;Category;Liking_M;Liking_SD;Valence_M;Style
1;1;4.2;1.1;3.5;Baroque
17.0;2;6.5;.8;5;Baroque
404;2;3;1;5;x
5;2;3;1;5;x
"""


def test_vaps_pictures_are_found_by_number_in_their_folders(read: Read, store: Store) -> None:
    for key in ("1 Scenes/1.jpg", "2 Portraits/0017.png", "2 Portraits/5.jpg", "5 Toward Abstraction/5.jpg", "readme.txt"):
        store.put(key, b"x")
    annotations = read({"layout": "vaps", "images": store.uri, "scale_low": 1, "scale_high": 7}, vaps_csv=VAPS)
    assert column(annotations, "artwork_id") == ["1 Scenes/1.jpg", "2 Portraits/0017.png"]
    assert (column(annotations, "score"), column(annotations, "sigma")) == ([4.2, 6.5], [1.1, 0.8])
    assert column(annotations, "Valence_M") == [3.5, 5.0]
    assert refused(annotations) == [
        ("vaps.csv", 3, "not just one picture has this number: '404'"),
        ("vaps.csv", 4, "not just one picture has this number: '5'"),
    ]


def test_a_column_that_stands_where_ours_comes_keeps_its_values_under_another_name(read: Read) -> None:
    text = "filename,score,Total aesthetic score\na.png,1,70\nb.png,2,80\n"
    annotations = read({"layout": "apdd"}, a_csv=text)
    assert (column(annotations, "score"), column(annotations, "score_given")) == ([7.0, 8.0], [1, 2])


def test_vaps_without_pictures_names_them_by_number(read: Read) -> None:
    annotations = read({"layout": "vaps"}, vaps_csv=VAPS.replace("Liking_M", "Mean Liking"))
    assert column(annotations, "artwork_id") == ["1.jpg", "17.jpg", "404.jpg", "5.jpg"]


def test_a_file_of_another_layout_is_a_sentence(read: Read) -> None:
    with pytest.raises(UserError, match=r"\(layout vaps\) has no column of scores.*its columns are Picture_Number, Valence; name one"):
        read({"layout": "vaps"}, a_csv="Picture_Number,Valence\n1,2\n")
