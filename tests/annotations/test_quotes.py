"""Quotes in a CSV: what is quoted well reads right, and a stray quote never swallows a row."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from artquant.core.errors import UserError
from tests.annotations.conftest import Read, column, refused

CASES = Path(__file__).parents[1] / "cases"
COMMENTS = [
    "two\nlines",
    'she said "wow"\n"and" left',
    "Full, calm\nParis, 1890, oil",
    "a;b\tc\r\nd,e,f\n\nend,",
    '"',
    "plain",
    "\n",
    "x\ry",
]


def sent(rows: list[list[str]], delimiter: str, end: str) -> str:
    sink = io.StringIO(newline="")
    csv.writer(sink, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(rows)
    return sink.getvalue()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 1, 3), (2, 0, 3, 1)])
def test_values_of_several_lines_with_quotes_and_delimiters_read_right(
    read: Read, delimiter: str, end: str, order: tuple[int, ...]
) -> None:
    rows = [["id", "score", "comment", "year"]]
    rows += [[f"{number:02}.jpg", str(number % 10), comment, "1890"] for number, comment in enumerate(COMMENTS * 4)]
    annotations = read(a_csv=sent([[row[place] for place in order] for row in rows], delimiter, end))
    assert annotations.table.num_rows == len(COMMENTS) * 4 and not refused(annotations)
    assert column(annotations, "comment") == [comment.strip() or None for comment in COMMENTS * 4]


def lines(num: int = 20) -> list[str]:
    return ["id,score,comment,year"] + [f"{number}.jpg,{number % 10},fine,1890" for number in range(num)]


def with_cells(column: int, cells: dict[int, str], num: int = 20) -> list[str]:
    """The file whose line `number` (from 1, the header) has another cell."""
    made = [line.split(",") for line in lines(num)]
    for number, cell in cells.items():
        made[number - 1][column] = cell
    return [",".join(line) for line in made]


STRAY = [
    (with_cells(2, {5: '"never'}), "The quote that opens in line 5 of .* is never closed"),
    (with_cells(2, {21: '"never'}), "line 21 of .* is never closed"),
    (with_cells(3, {21: '"'}), "line 21 of .* is never closed"),
    (with_cells(0, {2: '"0.jpg'}), "line 2 of .* is never closed"),
    (with_cells(2, {1: '"comment'}), "line 1 of .* is never closed"),
    (with_cells(0, {1: '"id'}), "line 1 of .* is never closed"),
    (with_cells(2, {1: '"comment', 4: 'x"'}), "line 1 of .* closes in line 4, and what is between them looks like rows"),
    (with_cells(2, {5: '"a', 9: '"b'}), "line 5 of .* closes in the midst of a value"),
    (with_cells(2, {5: '"a', 6: '"b'}), "line 5 of .* closes in the midst of a value"),
    (with_cells(2, {5: '"a', 6: 'b"'}), "line 5 of .* closes in line 6, and what is between them looks like rows"),
    (with_cells(2, {5: '"a', 15: 'b"'}), "line 5 of .* closes in line 15"),
    (with_cells(1, {5: '"5', 7: '6"'}), "line 5 of .* closes in line 7"),
    (with_cells(0, {5: '"x.jpg', 7: 'y.jpg"'}), "line 5 of .* closes in line 7"),
    (with_cells(3, {5: '"1890', 7: '1890"'}), "line 5 of .* closes in line 7"),
    (with_cells(2, {5: '"a', 7: '""', 9: 'b"'}), "line 5 of .* closes in line 9"),
    (with_cells(2, {3: '"two\nlines"', 5: '"a', 9: 'b"'}), "line 6 of .* closes in line 10"),
    (with_cells(2, {5: '"a', 9: '"Full, and calm."'}), "line 5 of .* closes in the midst"),
    (with_cells(2, {5: '"a', 6: 'b",x'}), "line 5 of .* closes in line 6"),
    (["", *with_cells(2, {5: '"never'})], "line 6 of .* is never closed"),
]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("is_ended", [True, False])
@pytest.mark.parametrize(("sent", "sentence"), STRAY, ids=range(len(STRAY)))
def test_a_stray_quote_is_refused_with_its_line(read: Read, sent, sentence: str, delimiter: str, end: str, is_ended: bool) -> None:
    text = "\n".join(sent) + "\n" * is_ended
    with pytest.raises(UserError, match=sentence) as error:
        read(a_csv=text.replace(",", delimiter).replace("\n", end))
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


@pytest.mark.parametrize("cell", ['5" tall', '"nice" he said', ' "nice"', 'a"b"c', '""', '"""quoted"""', 'x"'])
def test_a_quote_that_swallows_nothing_is_let_pass(read: Read, cell: str) -> None:
    annotations = read(a_csv="\n".join(with_cells(2, {5: cell, 21: cell})) + "\n")
    assert annotations.table.num_rows == 20


def test_a_quote_behind_a_blank_opens_nothing_and_its_delimiter_is_a_reject(read: Read) -> None:
    annotations = read(a_csv="\n".join(with_cells(2, {5: ' "Full, calm"'})) + "\n")
    assert [row for _, row, _ in refused(annotations)] == [4] and annotations.num_rows == 20


def test_a_column_name_may_have_two_lines(read: Read) -> None:
    assert column(read(a_csv='id,score,"year\nmade"\na,5,1890\nb,6,1891\n'), "year\nmade") == [1890, 1891]


def test_a_long_text_of_many_lines_is_a_comment(read: Read) -> None:
    text = "A line, of prose.\n" * 20_000
    assert column(read(a_csv=f'id,score,comment\na,5,"{text}"\nb,6,\n'), "comment") == [text.strip(), None]


def test_the_published_case_of_a_quote_that_never_closes_is_refused(read: Read) -> None:
    with pytest.raises(UserError, match="opens in line 501 of .* is never closed"):
        read(a_csv=(CASES / "unclosed_quote.csv").read_bytes())


def test_prose_whose_last_line_would_be_a_row_is_told_by_its_first(read: Read) -> None:
    annotations = read(a_csv='id,comment,score\na,"Full, calm\nParis, 1890",5\nb,,6\n')
    assert column(annotations, "comment") == ["Full, calm\nParis, 1890", None]
