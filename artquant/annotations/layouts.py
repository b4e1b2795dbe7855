"""The layouts of data sets that people bring, and what each of their columns means. See docs/annotations.md for what they publish."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from artquant.annotations.columns import Columns, as_said, find, rename, with_names
from artquant.annotations.files import File
from artquant.annotations.values import NUMBER, numbers, plain, texts
from artquant.config import AnnotationSpec
from artquant.core.schema import ARTWORK_ID, CRITIQUE_PARTS, CRITIQUE_STATUS, PROBABILITY_COLUMNS, SCORE, CritiqueStatus
from artquant.storage.store import open_store

DELIMITERS = {"eva": "="}  # beside those of every CSV
ENCODINGS = {"apdd": ("gb18030", "latin-1")}  # beside UTF-8
EXTENSIONS = {"ava": (".txt",), "aadb": (".txt",)}  # of files that count in a folder
COMPANIONS = ("apdd", "baid", "tad66k", "koniq", "ava", "para", "eva", "vaps")  # their folders hold tables that are no annotations
_AVA = ("index", "image_id", *(f"votes_{rating}" for rating in range(1, 11)), "tag_1", "tag_2", "challenge")
VAPS_SCORE = {"liking", "liking mean", "liking m", "mean liking", "m liking"}  # however the words are joined: Liking_M, mean.liking
_VAPS_SPREAD = {"liking sd", "liking std", "sd liking", "std liking"}
VAPS_NUMBER = ("picture number", "file number")


def arrange(table: pa.Table, spec: AnnotationSpec, uri: str) -> Columns:
    """Return the columns of a file in `spec.layout` under our names. Raises UserError for a column of `spec.columns` that is not there."""
    table, ours = as_said(table, spec.columns, uri), _ARRANGE.get(spec.layout)
    columns = ours(table, spec.images) if ours else rename(table)
    return _taught(columns, spec.level_values) if set(PROBABILITY_COLUMNS) <= set(columns.table.column_names) else columns


def _taught(columns: Columns, level_values: Sequence[float]) -> Columns:
    """Read what a model has scored: its probabilities are shares of votes for the levels, and only texts that are whole are learnt."""
    table = columns.table
    if CRITIQUE_STATUS in table.column_names:
        is_whole = pc.equal(texts(plain(table[CRITIQUE_STATUS])), CritiqueStatus.OK.value)
        for part in CRITIQUE_PARTS:
            if part in table.column_names:
                kept = pc.if_else(pc.fill_null(is_whole, False), texts(plain(table[part])), None)
                table = table.set_column(table.column_names.index(part), part, kept)
    return replace(columns, table=table, votes={**columns.votes, **dict(zip(PROBABILITY_COLUMNS, level_values, strict=True))})


def with_header(file: File, layout: str) -> File:
    """Return a file of AVA or AADB, published without a header and parted by blanks, as a CSV with one; any other file as it is."""
    first = file.data.lstrip().split(b"\n", 1)[0].decode("utf-8", "replace").split()
    if layout == "ava" and len(first) > 2 and all(re.fullmatch(NUMBER, cell) for cell in first):
        names: tuple[str, ...] = (*_AVA, *(f"column_{number}" for number in range(len(_AVA), len(first))))[: len(first)]
    elif layout == "aadb" and len(first) == 2 and re.fullmatch(NUMBER, first[1]):
        names = (ARTWORK_ID, SCORE)
    else:
        return file
    lines = [",".join(names).encode(), *(b",".join(line.split()) for line in file.data.splitlines())]
    return replace(file, data=b"\n".join(lines) + b"\n")


def _apdd(table: pa.Table, _: str | None) -> Columns:
    """Read APDDv2, whose `Artistic Categories` is 'medium*style*subject'.

    `Total aesthetic score` is 0 to 100, `Score` of its split files 0 to 10.
    """
    renamed = {find(table, ["language comment"]): "comment"}
    factor = 1.0
    if total := find(table, ["total aesthetic score"]):
        renamed[total], factor = SCORE, 0.1
    table = with_names(table, {name: ours for name, ours in renamed.items() if name})
    if categories := find(table, ["artistic categories"]):
        parts = [(value or "").split("*") for value in texts(plain(table[categories])).to_pylist()]
        for position, name in enumerate(("medium", "style", "subject")):
            if name not in table.column_names:
                values = [part[position].strip() or None if len(part) == 3 else None for part in parts]
                table = table.append_column(name, pa.array(values, pa.string()))
    return replace(rename(table), factor=factor)


def _vaps(table: pa.Table, images: str | None) -> Columns:
    """Read VAPS: `Picture_Number` names the picture `<number>.<ext>`, in whatever folder; the score is the mean of liking."""
    score, spread, number = find(table, VAPS_SCORE), find(table, _VAPS_SPREAD), find(table, VAPS_NUMBER)
    table = with_names(table, {name: ours for name, ours in ((score, SCORE), (spread, "sigma")) if name})
    return _named_by_stem(table, number, images)


def _koniq(table: pa.Table, _: str | None) -> Columns:
    """Read KonIQ-10k: c1 to c5 are the votes, or their shares, for 1 to 5. Its MOS is 1 to 5 in one file and 0 to 100 in the other."""
    votes = {name: float(rating) for rating in range(1, 6) if (name := find(table, [f"c{rating}"]))}
    others = {name: f"{name}_given" for name in ("MOS", "SD") if votes and name in table.column_names}
    columns = rename(table.rename_columns([others.get(name, name) for name in table.column_names]))
    return replace(columns, votes=votes)


def _ava(table: pa.Table, images: str | None) -> Columns:
    """Read AVA: votes for 1 to 10, under the file's own names or TANet's: score2 is the count of ones, as the file's third column is."""
    counts = {name: float(number - 1) for number in range(2, 12) if (name := find(table, [f"score{number}"]))}
    columns = _named_by_stem(table, find(table, ["image id"]), images)
    return replace(columns, wide=(), votes={**columns.votes, **counts})


def _para(table: pa.Table, images: str | None) -> Columns:
    """Read PARA, whose pictures lie in a folder for each session."""
    session, name = find(table, ["sessionid", "session id"]), find(table, ["imagename", "image name"])
    if not (session and name):
        return rename(table)
    keys = pc.binary_join_element_wise(texts(plain(table[session])), texts(plain(table[name])), "/")
    return _with_keys(table, keys, texts(plain(table[name])).to_pylist(), images, lambda key: key.rpartition("/")[2])


def _eva(table: pa.Table, images: str | None) -> Columns:
    return _named_by_stem(table, find(table, ["image id"]), images)


_ARRANGE: dict[str, Callable[[pa.Table, str | None], Columns]] = {
    "apdd": _apdd,
    "vaps": _vaps,
    "koniq": _koniq,
    "ava": _ava,
    "para": _para,
    "eva": _eva,
}


def _named_by_stem(table: pa.Table, column: str | None, images: str | None) -> Columns:
    """Name each row's picture: `<value of column>.<ext>`, in whatever folder of `images`; without images `<value>.jpg`."""
    if column is None:
        return rename(table)
    cells = plain(table[column])
    values, _ = numbers(cells)
    stems = [
        f"{value:.0f}" if math.isfinite(value) and value == int(value) else name.rpartition(".")[0] or name if name else None
        for value, name in zip(values, texts(cells).to_pylist(), strict=True)
    ]
    return _with_keys(table, pa.array([f"{stem}.jpg" if stem else None for stem in stems], pa.string()), stems, images, _stem)


def _with_keys(table: pa.Table, keys: pa.Array, names: list[str | None], images: str | None, name_of: Callable[[str], str]) -> Columns:
    """Add artwork ids: the one key below `images` that has a row's name; `keys` where there are no images to look at."""
    no_picture = None
    if images is not None:
        places: dict[str, list[str]] = {}
        for info in open_store(images).list():
            places.setdefault(name_of(info.key), []).append(info.key)
        no_picture = pa.array([name if name and len(places.get(name, ())) != 1 else None for name in names], pa.string())
        keys = pa.array(
            [places[name][0] if name in places else key for name, key in zip(names, keys.to_pylist(), strict=True)], pa.string()
        )
    if ARTWORK_ID not in table.column_names:
        table = table.append_column(ARTWORK_ID, keys)
    return replace(rename(table), no_picture=no_picture)


def _stem(key: str) -> str:
    """Return a picture's name without its ending; '0017.jpg' is number 17."""
    stem = key.rpartition("/")[2].rpartition(".")[0]
    return str(int(stem)) if stem.isascii() and stem.isdigit() else stem


def is_conversation(table: pa.Table) -> bool:
    return "conversations" in table.column_names and pc.count(table["conversations"]).as_py() > 0
