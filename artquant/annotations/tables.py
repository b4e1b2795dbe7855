"""A table of scores or ratings as rows: every cell that we use is checked, in the order in which a person would look."""

from __future__ import annotations

from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from artquant.annotations.files import File
from artquant.annotations.layouts import ALIASES, TEXT_COLUMNS, Columns, arrange, is_conversation
from artquant.annotations.rows import Rows, blank
from artquant.annotations.sheets import parse
from artquant.annotations.values import Refusals, keys_below, listed, numbers, plain, ratings, texts, with_types
from artquant.config import AnnotationSpec
from artquant.core.errors import UserError
from artquant.core.schema import ARTWORK_ID, NUM_RATERS, SCORE

_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def read_table(file: File, spec: AnnotationSpec) -> Rows:
    """Read the rows of one file; `part` is the rater if there is a column for one.

    Raises UserError if the file cannot be read, or has no column that names the artwork or none with scores.
    """
    sheet = parse(file, is_latin_1_allowed=spec.layout == "apdd")
    if is_conversation(sheet.table):
        raise UserError(f"{file.uri} holds conversations: set annotations.layout=conversations.")
    columns = arrange(sheet.table, spec)
    table, names = columns.table, set(columns.table.column_names)
    _check_columns(file, columns, sheet.table.column_names, spec)
    refusals = Refusals(len(table))
    if columns.no_picture is not None:
        is_lost = columns.no_picture.is_valid().to_numpy(zero_copy_only=False)
        refusals.refuse(is_lost, "not just one picture has this number", columns.no_picture)
    arrays = {name: plain(table[name]) for name in (*ALIASES, *columns.wide) if name in names}
    images = keys_below(arrays[ARTWORK_ID], spec.images, refusals)
    score, sigma, num_raters = _scores(arrays, columns, spec, refusals)
    part = pa.nulls(len(table), pa.string())
    if "rater" in arrays:
        part = texts(arrays["rater"])
        refusals.refuse(_is_null(part), "no rater is named")
    split = arrays.get("split")
    if split is not None:
        split = _splits(split, refusals)
    made = blank(
        len(table),
        artwork_id=images,
        score=pa.array(score, pa.float64(), mask=np.isnan(score)),
        sigma=pa.array(sigma, pa.float64(), mask=np.isnan(sigma)),
        num_raters=num_raters,
        **{name: texts(arrays[name]) for name in TEXT_COLUMNS if name in arrays},
    )
    ours = {*ALIASES, *columns.wide} - {"split"}
    for name in table.column_names:
        if name not in ours:
            other = split if name == "split" and split is not None else plain(table[name])
            made = made.append_column(name, other if sheet.is_typed or name == "split" else with_types(other))
    return Rows([file.name], made, part, np.zeros(len(table), np.int64), sheet.rows, refusals.reasons, [sheet.broken])


def _check_columns(file: File, columns: Columns, input_names: list[str], spec: AnnotationSpec) -> None:
    names = set(columns.table.column_names)
    has = f"{file.uri} (layout {spec.layout})", f"its columns are {listed(input_names) or 'none'}"
    if ARTWORK_ID not in names:
        takes = f"{', '.join(ALIASES['artwork_id'][:-1])} or {ALIASES['artwork_id'][-1]}"
        raise UserError(
            f"{has[0]} has no column that names the artwork, such as {takes}: {has[1]}; rename one, or correct annotations.layout."
        )
    artworks = columns.table[ARTWORK_ID]
    if pa.types.is_nested(artworks.type) or _is_bytes(artworks):
        index = columns.table.column_names.index(ARTWORK_ID)
        raise UserError(
            f"Column {index + 1} ({listed(input_names[index : index + 1])}) of {file.uri} holds pictures or other compound values "
            "and no names of artworks: give a column artwork_id with their keys below annotations.images."
        )
    if not names & {SCORE, "ratings"} and not columns.wide:
        takes = ", ".join((*ALIASES[SCORE], *ALIASES["ratings"]))
        raise UserError(
            f"{has[0]} has no column of scores, such as {takes} or rater_1: {has[1]}; rename one, or correct annotations.layout."
        )


def _scores(
    arrays: dict[str, pa.Array], columns: Columns, spec: AnnotationSpec, refusals: Refusals
) -> tuple[np.ndarray, np.ndarray, pa.Array]:
    """Return score and sigma (N,) float64, NaN where there is none, and num_raters (N,) int64. Given values precede computed ones."""
    num_rows = len(refusals.reasons)
    low, high = spec.scale_low, spec.scale_high
    score, is_blank = numbers(arrays[SCORE]) if SCORE in arrays else (np.full(num_rows, np.nan), np.ones(num_rows, bool))
    score *= columns.factor
    refusals.refuse(~is_blank & ~np.isfinite(score), "the score is not a number", arrays.get(SCORE))
    refusals.refuse((score < low) | (score > high), f"the score is outside {low:g} to {high:g}", arrays.get(SCORE))
    values, rows = _ratings(arrays, columns, refusals)
    values = values * columns.factor
    refusals.refuse(_any(rows[~np.isfinite(values)], num_rows), "a rating is not a number", arrays.get("ratings"))
    refusals.refuse(
        _any(rows[(values < low) | (values > high)], num_rows), f"a rating is outside {low:g} to {high:g}", arrays.get("ratings")
    )
    is_number = np.isfinite(values)
    values, rows = values[is_number], rows[is_number]
    num = np.bincount(rows, minlength=num_rows)
    refusals.refuse(is_blank & (num == 0), "there is no score")
    mean = np.bincount(rows, values, num_rows) / np.maximum(num, 1)
    spread = np.sqrt(np.bincount(rows, (values - mean[rows]) ** 2, num_rows) / np.maximum(num - 1, 1))
    sigma, num_raters = _spreads(arrays, columns, spec, refusals)
    return (
        np.where(is_blank & (num > 0), mean, score),
        np.where(np.isnan(sigma) & (num > 1), spread, sigma),
        pc.coalesce(num_raters, pa.array(num, pa.int64(), mask=num == 0)),
    )


def _spreads(arrays: dict[str, pa.Array], columns: Columns, spec: AnnotationSpec, refusals: Refusals) -> tuple[np.ndarray, pa.Array]:
    num_rows = len(refusals.reasons)
    sigma, num_raters = np.full(num_rows, np.nan), pa.nulls(num_rows, pa.int64())
    if "sigma" in arrays:
        sigma, is_blank = numbers(arrays["sigma"])
        sigma *= columns.factor
        with np.errstate(invalid="ignore"):
            is_good = (sigma >= 0) & (sigma <= spec.scale_high - spec.scale_low)
        refusals.refuse(~is_blank & ~is_good, "the standard deviation is none of this scale", arrays["sigma"])
    if NUM_RATERS in arrays:
        counts, is_blank = numbers(arrays[NUM_RATERS])
        is_good = np.isfinite(counts) & (counts >= 1) & (counts < 2**31) & (counts == np.floor(counts))
        refusals.refuse(~is_blank & ~is_good, "the number of raters is no whole number above zero", arrays[NUM_RATERS])
        num_raters = pa.array(np.where(is_good, counts, 0).astype(np.int64), mask=~is_good)
    return sigma, num_raters


def _ratings(arrays: dict[str, pa.Array], columns: Columns, refusals: Refusals) -> tuple[np.ndarray, np.ndarray]:
    """Return all ratings in lists and in columns of one rater each (M,) float64, and the row of each (M,) int64."""
    pieces = [(np.empty(0), np.empty(0, np.int64))]
    if "ratings" in arrays:
        values, rows, is_wrong = ratings(arrays["ratings"])
        refusals.refuse(is_wrong, "the ratings are no list", arrays["ratings"])
        pieces.append((values, rows))
    for name in columns.wide:
        values, is_blank = numbers(arrays[name])
        pieces.append((values[~is_blank], np.flatnonzero(~is_blank)))
    values, rows = (np.concatenate(some) for some in zip(*pieces, strict=True))
    return values, rows


def _is_bytes(column: pa.ChunkedArray) -> bool:
    """Tell whether a binary column begins with something that is not text."""
    is_binary = pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)
    first = column.slice(0, 1).to_pylist() if is_binary else []
    return any(value is not None and "\ufffd" in value.decode("utf-8", "replace") for value in first)


def _any(rows: np.ndarray, num_rows: int) -> np.ndarray:
    mask = np.zeros(num_rows, bool)
    mask[rows] = True
    return mask


def _splits(column: pa.Array, refusals: Refusals) -> pa.Array:
    column = texts(column)
    named = [_SPLITS.get(value.lower()) if value else None for value in column.to_pylist()]
    splits = pa.array(named, pa.string())
    refusals.refuse(~_is_null(column) & _is_null(splits), "the split is none of train, validation and test", column)
    return splits


def _is_null(array: pa.Array) -> np.ndarray:
    return cast(np.ndarray, array.is_null().to_numpy(zero_copy_only=False))
