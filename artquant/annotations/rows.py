"""Rows of annotations before they become artworks: joined from several files, rid of duplicates, merged where several are one artwork."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from artquant.annotations.values import is_kept, shown, texts
from artquant.annotations.votes import VOTE, Votes
from artquant.core.schema import ARTWORK_ID, FILE_SPLIT, NUM_RATERS, SCORE, SPLIT, TEXT_PARTS, VOTES


def annotation_schema() -> pa.Schema:
    """Return the columns that every table of annotations has; those of the input follow under their own names."""
    return pa.schema(
        [
            (ARTWORK_ID, pa.string()),  # a key below the pictures' root
            (SCORE, pa.float64()),  # on the spec's scale; the mean of the raters where there are several
            ("sigma", pa.float64()),  # the raters' own standard deviation (n - 1), null where it is not known
            (NUM_RATERS, pa.int64()),
            *[(name, pa.string()) for name in TEXT_PARTS],
            (VOTES, pa.list_(VOTE)),  # the single ratings, null where only their mean is known
        ]
    )


def blank(num_rows: int, **columns: pa.Array) -> pa.Table:
    """Return a table of `annotation_schema()` with the given columns; all others are null."""
    schema = annotation_schema()
    columns = {one.name: columns.get(one.name, pa.nulls(num_rows, one.type)).cast(one.type) for one in schema}
    return pa.table(columns, schema)


@dataclass(frozen=True)
class Rows:
    """N rows of one or several files. `table` has the columns of `annotation_schema()` first.

    `part` (N,) string: which part of an artwork's annotation a row is (a rater, or a text of a conversation); null where it is all of it.
    `file` and `row` (N,) int64: where it came from; `reasons` (N,) object: what is wrong with it, or None.
    """

    files: list[str]
    table: pa.Table
    part: pa.Array
    file: np.ndarray
    row: np.ndarray
    reasons: np.ndarray
    broken: list[dict[int, str]]  # of each file: rows that could not be parsed
    repeats: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))  # (R, 2) int64: a row that only says a row's score again

    @property
    def num_rows(self) -> int:
        return len(self.row) + sum(map(len, self.broken))

    def place(self, index: int) -> str:
        return f"row {self.row[index]} of {self.files[self.file[index]]}"

    def rejects(self) -> pa.Table:
        """file str, row int64, reason str, by file and row."""
        refused = [(int(self.file[i]), int(self.row[i]), self.reasons[i]) for i in np.flatnonzero(~is_kept(self.reasons))]
        refused += [(number, row, reason) for number, broken in enumerate(self.broken) for row, reason in broken.items()]
        refused.sort()
        columns = [[self.files[number] for number, _, _ in refused], [row for _, row, _ in refused], [reason for _, _, reason in refused]]
        return pa.table(columns, pa.schema([("file", pa.string()), ("row", pa.int64()), ("reason", pa.string())]))


def join(rows: list[Rows]) -> Rows:
    """Join the rows of several files in order. Columns of the same name that differ in type become decimals, or else texts."""
    types: dict[str, list[pa.DataType]] = {}
    for one in rows:
        for known in one.table.schema:
            types.setdefault(known.name, []).append(known.type)
    wanted = {name: _common(kinds) for name, kinds in types.items()}
    tables = [
        pa.table(
            {
                name: _as(one.table[name], kind) if name in one.table.column_names else pa.nulls(len(one.table), kind)
                for name, kind in wanted.items()
            }
        )
        for one in rows
    ]
    return Rows(
        [name for one in rows for name in one.files],
        pa.concat_tables(tables).combine_chunks(),
        pa.concat_arrays([one.part for one in rows]),
        np.concatenate([np.full(len(one.row), number) for number, one in enumerate(rows)]),
        np.concatenate([one.row for one in rows]),
        np.concatenate([one.reasons for one in rows]),
        [broken for one in rows for broken in one.broken],
    )


def _common(kinds: list[pa.DataType]) -> pa.DataType:
    some = {kind for kind in kinds if not pa.types.is_null(kind)} or {pa.string()}
    if len(some) == 1:
        return some.pop()
    return pa.float64() if all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in some) else pa.string()


def _as(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray | pa.Array:
    if column.type == kind:
        return column
    return texts(column.combine_chunks()) if kind == pa.string() else column.cast(kind, safe=False)


def refuse_repeated(rows: Rows, same: float = 0.0) -> Rows:
    """Keep the first of several rows with the same artwork and part, and refuse the others.

    A whole row whose score is another file's within `same` is no second opinion, as where a data set repeats its main table in files by
    split: it comes into `repeats`. An artwork whose first row is the whole annotation takes no parts, and conversely.
    """
    kept_rows = np.flatnonzero(is_kept(rows.reasons))
    if not len(kept_rows):
        return rows
    artwork = _codes(rows.table[ARTWORK_ID].take(pa.array(kept_rows)))
    part = _codes(rows.part.take(pa.array(kept_rows)))
    _, first, group = np.unique(artwork, return_index=True, return_inverse=True)
    is_whole = part < 0
    is_other_kind = is_whole != is_whole[first[group]]
    key = artwork * (part.max() + 2) + part + 1
    _, first_of_key, same_key = np.unique(key, return_index=True, return_inverse=True)
    is_repeated = first_of_key[same_key] != np.arange(len(kept_rows))
    names = rows.part.take(pa.array(kept_rows))
    score, earlier_rows = rows.table[SCORE].to_numpy(), kept_rows[first_of_key[same_key]]
    agrees = (np.abs(score[kept_rows] - score[earlier_rows]) <= same) & (rows.file[kept_rows] != rows.file[earlier_rows])
    agrees &= is_repeated & is_whole & ~is_other_kind
    for i in np.flatnonzero((is_other_kind | is_repeated) & ~agrees):
        earlier = kept_rows[(first[group] if is_other_kind[i] else first_of_key[same_key])[i]]
        by = "" if part[i] < 0 or is_other_kind[i] else f"{shown(names[int(i)].as_py())} in "
        rows.reasons[kept_rows[i]] = f"the artwork is annotated already: {by}{rows.place(earlier)}"
    return replace(rows, repeats=np.stack([kept_rows[agrees], earlier_rows[agrees]], axis=1))


def with_one_score(rows: Rows) -> Rows:
    """Return the rows with one score per artwork: that of the part `score`, or else the first. Refuses those of artworks without any."""
    score = rows.table[SCORE].to_pylist()
    scored: dict[str, int] = {}
    names, parts = rows.table[ARTWORK_ID].to_pylist(), rows.part.to_pylist()
    kept_rows = np.flatnonzero(is_kept(rows.reasons))
    for i in sorted(kept_rows, key=lambda i: (parts[i] != SCORE, i)):
        if score[i] is not None:
            scored.setdefault(names[i], i)
    for i in kept_rows:
        if names[i] not in scored:
            rows.reasons[i] = f"the artwork has texts and no score: {shown(names[i])}"
        elif scored[names[i]] != i:
            score[i] = None
    return replace(rows, table=rows.table.set_column(1, SCORE, pa.array(score, pa.float64())))


def _codes(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """Give equal values equal numbers (N,) int64 from 0 on; nulls get -1."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    return cast(np.ndarray, column.dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64))


def merge(rows: Rows, are_raters: bool) -> tuple[pa.Table, int]:
    """Merge the rows that are not refused into one per artwork, by artwork_id; also return how many rows went into others.

    A row of `repeats` gives its split where the first has none, and nothing else.

    score: the mean of the parts' scores, sigma: their standard deviation (n - 1) if there are several, num_raters: their number if the
    parts are raters. Texts: the first of each kind, comments one below the other. Other columns: the value where the parts agree.
    """
    is_first = is_kept(rows.reasons)
    repeated, repeats = rows.repeats.reshape(-1, 2).T
    is_first[repeated] = False
    kept_rows = pa.array(np.flatnonzero(is_first))
    table, part = _with_splits(rows.table, repeated, repeats).take(kept_rows), rows.part.take(kept_rows)
    codes = _codes(table[ARTWORK_ID])
    num_groups = int(codes.max(initial=-1)) + 1
    if num_groups < len(table):
        table = _merged(table, codes, num_groups, part.is_valid().to_numpy(zero_copy_only=False) & are_raters)
    return table.take(pc.sort_indices(table[ARTWORK_ID])), len(codes) - num_groups + len(repeated)


def _with_splits(table: pa.Table, repeated: np.ndarray, repeats: np.ndarray) -> pa.Table:
    """Give each row of `repeats` (R,) the split that its repetition in `repeated` (R,) has, where it has none itself."""
    for name in (SPLIT, FILE_SPLIT) if len(repeated) else ():
        if name in table.column_names:
            source = np.arange(len(table))
            source[repeats[::-1]] = repeated[::-1]  # the first repetition counts
            column = table[name].combine_chunks()
            table = table.set_column(table.column_names.index(name), name, pc.coalesce(column, column.take(pa.array(source))))
    return table


def _merged(table: pa.Table, codes: np.ndarray, num_groups: int, is_rater: np.ndarray) -> pa.Table:
    first = np.unique(codes, return_index=True)[1]
    score = table[SCORE].to_numpy()
    is_scored = ~np.isnan(score)
    num = np.bincount(codes[is_scored], minlength=num_groups)
    mean = np.bincount(codes[is_scored], score[is_scored], num_groups) / num
    squares = np.bincount(codes[is_scored], (score - mean[codes])[is_scored] ** 2, num_groups)
    spread = np.sqrt(squares / np.maximum(num - 1, 1))
    own = table["sigma"].to_numpy()[first]
    sigma = np.where(num > 1, spread, own)
    raters = pc.if_else(pa.array(is_rater[first]), pa.array(num, pa.int64()), table[NUM_RATERS].combine_chunks().take(pa.array(first)))
    ours: dict[str, Any] = {
        ARTWORK_ID: table[ARTWORK_ID].take(pa.array(first)),
        SCORE: pa.array(mean),
        "sigma": pa.array(sigma, pa.float64(), mask=np.isnan(sigma)),
        NUM_RATERS: raters,
    }
    voted = Votes.of_ratings(score[is_scored & is_rater], codes[is_scored & is_rater]).to_array(num_groups)
    ours[VOTES] = pc.coalesce(voted, _agreed(table[VOTES].combine_chunks(), codes, num_groups, takes_first=True))
    for name in table.column_names:
        if name == "comment":
            ours[name] = _joined(table[name], codes, num_groups)
        elif name not in ours:
            ours[name] = _agreed(table[name].combine_chunks(), codes, num_groups, name in TEXT_PARTS)
    return pa.table({name: ours[name] for name in table.column_names})


def _agreed(values: pa.Array, codes: np.ndarray, num_groups: int, takes_first: bool) -> pa.Array:
    """Return each group's first value, or null if a group has several, unless it `takes_first`."""
    filled = np.flatnonzero(values.is_valid().to_numpy(zero_copy_only=False))
    groups, first = np.unique(codes[filled], return_index=True)
    source = np.full(num_groups, -1)
    source[groups] = filled[first]
    if not takes_first:
        nested = pa.types.is_nested(values.type)
        equal = _codes(pa.array([json.dumps(value, default=str) for value in values.to_pylist()]) if nested else values)
        source[codes[filled[equal[filled] != equal[source[codes[filled]]]]]] = -1
    return values.take(pa.array(source, pa.int64(), mask=source < 0))


def _joined(values: pa.ChunkedArray, codes: np.ndarray, num_groups: int) -> pa.Array:
    filled = np.flatnonzero(values.is_valid().to_numpy())
    lines: dict[int, list[str]] = {}
    for code, text in zip(codes[filled].tolist(), values.take(pa.array(filled)).to_pylist(), strict=True):
        lines.setdefault(code, []).append(text)
    return pa.array(["\n".join(lines[code]) if code in lines else None for code in range(num_groups)], pa.string())
