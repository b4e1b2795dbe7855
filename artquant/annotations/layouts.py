"""The layouts of data sets that people bring, and what each of their columns means. See docs/annotations.md for what they publish."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from artquant.annotations.values import numbers, plain, texts
from artquant.config import AnnotationSpec
from artquant.core.schema import ARTWORK_ID, CRITIQUE_PARTS, NUM_RATERS, SCORE, SCORE_STD
from artquant.storage.store import open_store

TEXT_COLUMNS = (*CRITIQUE_PARTS, "comment")
# Our names first: where a table has several, the others stay columns of their own. `id` comes last: beside `image` it is a running number.
ALIASES = {
    ARTWORK_ID: (ARTWORK_ID, "uri", "image", "filename", "file_name", "id"),
    SCORE: (SCORE, "rating", "mos"),
    "sigma": ("sigma", SCORE_STD, "std"),
    NUM_RATERS: (NUM_RATERS,),
    "rater": ("rater", "rater_id", "annotator"),
    "ratings": ("ratings", "scores"),
    "split": ("split",),
    **{text: (text,) for text in TEXT_COLUMNS},
}
_WIDE = re.compile(r"(rater|rating|score)_?\d+")  # rater_1, rater_2, ...: one column per rater
_VAPS_SCORE = {"liking", "liking mean", "liking m", "mean liking", "m liking"}  # however the words are joined: Liking_M, mean.liking
_VAPS_SPREAD = {"liking sd", "liking std", "sd liking", "std liking"}
_VAPS_NUMBER = "picture number"


@dataclass(frozen=True)
class Columns:
    """A table in which the columns that we know (`ALIASES`) have our names, and what is to be done with the scores."""

    table: pa.Table
    wide: tuple[str, ...] = ()  # columns that hold one rater's ratings each
    factor: float = 1.0  # of scores and ratings, to the scale of the spec
    no_picture: pa.Array | None = None  # the name that each row gave to a picture that is missing, else null


def arrange(table: pa.Table, spec: AnnotationSpec) -> Columns:
    """Return the columns of a file in `spec.layout` under our names."""
    if spec.layout == "apdd":
        return _apdd(table)
    if spec.layout == "vaps":
        return _vaps(table, spec.images)
    return _rename(table)


def _rename(table: pa.Table) -> Columns:
    spoken = {name: re.sub(r"[\s-]+", "_", name.strip().lower()) for name in table.column_names}
    taken: dict[str, str] = {}
    for ours, aliases in ALIASES.items():
        candidates = [name for alias in aliases for name in spoken if spoken[name] == alias and name not in taken]
        if candidates:
            exact = [name for name in candidates if name == ours]
            taken[(exact or candidates)[0]] = ours
    wide = tuple(name for name in spoken if name not in taken and _WIDE.fullmatch(spoken[name]))
    return Columns(table.rename_columns([taken.get(name, name) for name in table.column_names]), wide)


def _with_names(table: pa.Table, names: Mapping[str, str]) -> pa.Table:
    """Rename columns; one whose name another column takes gets `_given` appended to its name."""
    taken = set(names.values())
    others = {name: f"{name}_given" if name in taken else name for name in table.column_names}
    return table.rename_columns([names.get(name, others[name]) for name in table.column_names])


def _find(table: pa.Table, names: Iterable[str]) -> str | None:
    """Find the column that is called one of `names`, ignoring case and the marks between words."""
    wanted = set(names)
    return next((name for name in table.column_names if re.sub(r"[\W_]+", " ", name).strip().lower() in wanted), None)


def _apdd(table: pa.Table) -> Columns:
    """Read APDDv2, whose `Artistic Categories` is 'medium*style*subject'.

    `Total aesthetic score` is 0 to 100, `Score` of its split files 0 to 10.
    """
    renamed = {_find(table, ["language comment"]): "comment"}
    factor = 1.0
    if total := _find(table, ["total aesthetic score"]):
        renamed[total], factor = SCORE, 0.1
    table = _with_names(table, {name: ours for name, ours in renamed.items() if name})
    if categories := _find(table, ["artistic categories"]):
        parts = [(value or "").split("*") for value in texts(plain(table[categories])).to_pylist()]
        for position, name in enumerate(("medium", "style", "subject")):
            if name not in table.column_names:
                values = [part[position].strip() or None if len(part) == 3 else None for part in parts]
                table = table.append_column(name, pa.array(values, pa.string()))
    columns = _rename(table)
    return Columns(columns.table, columns.wide, factor)


def _vaps(table: pa.Table, images: str | None) -> Columns:
    """Read VAPS: `Picture_Number` names the picture `<number>.<ext>`, in whatever folder; the score is the mean of liking."""
    score, spread, number = _find(table, _VAPS_SCORE), _find(table, _VAPS_SPREAD), _find(table, [_VAPS_NUMBER])
    table = _with_names(table, {name: ours for name, ours in ((score, SCORE), (spread, "sigma")) if name})
    if number is None:
        return _rename(table)
    cells = plain(table[number])
    names = texts(cells)
    values, _ = numbers(cells)
    whole = [
        f"{value:.0f}" if math.isfinite(value) and value == int(value) else name
        for value, name in zip(values, names.to_pylist(), strict=True)
    ]
    keys, no_picture = [f"{name}.jpg" if name else None for name in whole], None
    if images is not None:
        places = _places(images)
        lost = [name if name and len(places.get(name, ())) != 1 else None for name in whole]
        keys = [places[name][0] if name in places else key for name, key in zip(whole, keys, strict=True)]
        no_picture = pa.array(lost, pa.string())
    table = table.append_column(ARTWORK_ID, pa.array(keys, pa.string())) if ARTWORK_ID not in table.column_names else table
    return Columns(_rename(table).table, (), 1.0, no_picture)


def _places(images: str) -> dict[str, list[str]]:
    """Return picture number -> keys. '0017.jpg' is number 17."""
    places: dict[str, list[str]] = {}
    for info in open_store(images).list():
        stem = info.key.rpartition("/")[2].rpartition(".")[0]
        if stem.isascii() and stem.isdigit():
            places.setdefault(str(int(stem)), []).append(info.key)
    return places


def is_conversation(table: pa.Table) -> bool:
    return "conversations" in table.column_names and pc.count(table["conversations"]).as_py() > 0
