"""What the columns of a table are called, and which of them we know."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from artquant.core.errors import UserError
from artquant.core.schema import ARTWORK_ID, GROUP, NUM_RATERS, SCORE, SCORE_STD, SPLIT, TEXT_PARTS, VOTES

# Our names first: where a table has several, the others stay columns of their own. `id` comes last: beside `image` it is a running number.
ALIASES = {
    ARTWORK_ID: (
        *(ARTWORK_ID, "uri", "image", "filename", "file_name", "image_name", "imagename", "image_path", "img_path", "image_id"),
        *("img", "path", "file", "picture", "file_number", "name", "id"),
    ),
    SCORE: (SCORE, "rating", "mos", "gt_score", "mean_score", "aestheticscore_mean", "aestheticscore"),
    "sigma": ("sigma", SCORE_STD, "std", "sd", "mos_std", "aestheticscore_std"),
    NUM_RATERS: (NUM_RATERS,),
    "rater": ("rater", "rater_id", "annotator", "user_id", "userid"),
    "ratings": ("ratings", "scores"),
    VOTES: (VOTES,),
    SPLIT: (SPLIT, "set"),
    GROUP: (GROUP,),
    **{text: (text,) for text in TEXT_PARTS},
}
_WIDE = re.compile(r"(rater|rating|score)_?\d+")  # rater_1, rater_2, ...: one column per rater
_VOTES = re.compile(r"votes_(\d+(?:\.\d+)?)")  # votes_1, votes_2.5, ...: how many gave this rating


@dataclass(frozen=True)
class Columns:
    """A table in which the columns that we know (`ALIASES`) have our names, and what is to be done with the scores."""

    table: pa.Table
    wide: tuple[str, ...] = ()  # columns that hold one rater's ratings each
    votes: Mapping[str, float] = field(default_factory=dict)  # columns that count votes -> for which rating
    factor: float = 1.0  # of scores and ratings, to the scale of the spec
    no_picture: pa.Array | None = None  # the name that each row gave to a picture that is missing, else null


def rename(table: pa.Table) -> Columns:
    """Give the columns that `ALIASES` knows our names."""
    spoken = {name: re.sub(r"[\s-]+", "_", name.strip().lower()) for name in table.column_names}
    taken: dict[str, str] = {}
    for ours, aliases in ALIASES.items():
        candidates = [name for alias in aliases for name in spoken if spoken[name] == alias and name not in taken]
        if candidates:
            exact = [name for name in candidates if name == ours]
            taken[(exact or candidates)[0]] = ours
    wide = tuple(name for name in spoken if name not in taken and _WIDE.fullmatch(spoken[name]))
    votes = {name: float(match[1]) for name in spoken if name not in taken and (match := _VOTES.fullmatch(spoken[name]))}
    return Columns(table.rename_columns([taken.get(name, name) for name in table.column_names]), wide, votes)


def as_said(table: pa.Table, columns: Mapping[str, str], uri: str) -> pa.Table:
    """Rename as `annotations.columns` says (our name -> theirs). Raises UserError for a column that is not there."""
    if missing := [name for name in columns.values() if name not in table.column_names]:
        raise UserError(
            f"{uri} has no column {missing[0]!r}, which annotations.columns names: it has {', '.join(table.column_names[:20])}."
        )
    return with_names(table, {theirs: ours for ours, theirs in columns.items()})


def with_names(table: pa.Table, names: Mapping[str, str]) -> pa.Table:
    """Rename columns; one whose name another column takes gets `_given` appended to its name."""
    taken = {ours for theirs, ours in names.items() if theirs != ours}
    others = {name: f"{name}_given" if name in taken else name for name in table.column_names}
    return table.rename_columns([names.get(name, others[name]) for name in table.column_names])


def find(table: pa.Table, names: Iterable[str]) -> str | None:
    """Find the column that is called one of `names`, ignoring case and the marks between words."""
    wanted = set(names)
    return next((name for name in table.column_names if re.sub(r"[\W_]+", " ", name).strip().lower() in wanted), None)
