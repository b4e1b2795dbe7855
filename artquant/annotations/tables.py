"""A table of scores or ratings as rows: every cell that we use is checked, in the order in which a person would look."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from artquant.annotations.columns import ALIASES, Columns, find
from artquant.annotations.files import File
from artquant.annotations.layouts import DELIMITERS, ENCODINGS, VAPS_NUMBER, VAPS_SCORE, arrange, is_conversation, with_header
from artquant.annotations.names import split_named
from artquant.annotations.pictures import with_picture_names
from artquant.annotations.rows import Rows, blank
from artquant.annotations.sheets import Sheet, parse
from artquant.annotations.values import Refusals, given_splits, keys_below, listed, numbers, plain, ratings, texts, with_types
from artquant.annotations.votes import Votes, counted, listed_votes
from artquant.config import AnnotationSpec
from artquant.core.errors import UserError
from artquant.core.schema import ARTWORK_ID, FILE_SPLIT, GROUP, NUM_RATERS, SCORE, SPLIT, TEXT_PARTS, VOTES

_NAME_ONE = "name one with annotations.columns={artwork_id: ..., score: ...}, or correct annotations.layout"


class NoAnnotations(UserError):
    """A table has no column that names the artwork, or none with scores."""


def sheet_of(file: File, spec: AnnotationSpec) -> Sheet:
    """Parse one file as the layout's publishers wrote it. Raises UserError if it cannot be read."""
    return parse(with_header(file, spec.layout), ENCODINGS.get(spec.layout, ()), DELIMITERS.get(spec.layout, ""))


def join_vaps(sheets: list[Sheet]) -> list[Sheet]:
    """Join tables that name the same pictures by number, as VAPS comes, to the first that has scores: the ratings, and what was painted."""
    numbers_of = [find(sheet.table, VAPS_NUMBER) for sheet in sheets]
    rated = next((place for place, sheet in enumerate(sheets) if numbers_of[place] and find(sheet.table, VAPS_SCORE)), None)
    if rated is None:
        return sheets
    table, number = sheets[rated].table, cast(str, numbers_of[rated])
    wanted, _ = numbers(plain(table[number]))
    for sheet, name in zip(sheets, numbers_of, strict=True):
        if name is None or sheet is sheets[rated]:
            continue
        values, _ = numbers(plain(sheet.table[name]))
        row_of = {value: row for row, value in reversed(list(enumerate(values)))}
        rows = pa.array([row_of.get(value) for value in wanted], pa.int64())
        for other in sheet.table.column_names:
            if other not in table.column_names and other != name:
                table = table.append_column(other, plain(sheet.table[other]).take(rows))
    joined = replace(sheets[rated], table=table)
    return [joined if place == rated else sheet for place, sheet in enumerate(sheets) if place == rated or not numbers_of[place]]


def read_table(sheet: Sheet, spec: AnnotationSpec) -> Rows:
    """Read the rows of one file; `part` is the rater if there is a column for one.

    Raises NoAnnotations if it has no column that names the artwork or none with scores, UserError if it cannot be read.
    """
    file = sheet.file
    if is_conversation(sheet.table):
        raise UserError(f"{file.uri} holds conversations: set annotations.layout=conversations.")
    columns = arrange(with_picture_names(sheet.table, file.name), spec, file.uri)
    table, names = columns.table, set(columns.table.column_names)
    _check_columns(file, columns, sheet.table.column_names, spec)
    refusals = Refusals(len(table))
    if columns.no_picture is not None:
        is_lost = columns.no_picture.is_valid().to_numpy(zero_copy_only=False)
        refusals.refuse(is_lost, "not just one picture has this number", columns.no_picture)
    arrays = {name: plain(table[name]) for name in (*ALIASES, *columns.wide, *columns.votes) if name in names}
    images = keys_below(arrays[ARTWORK_ID], spec.images, refusals)
    score, sigma, num_raters, votes = _scores(arrays, columns, spec, refusals)
    part = pa.nulls(len(table), pa.string())
    if "rater" in arrays:
        part = texts(arrays["rater"])
        refusals.refuse(_is_null(part), "no rater is named")
    split = given_splits(arrays[SPLIT], refusals) if SPLIT in arrays else None
    made = blank(
        len(table),
        artwork_id=images,
        score=pa.array(score, pa.float64(), mask=np.isnan(score)),
        sigma=pa.array(sigma, pa.float64(), mask=np.isnan(sigma)),
        num_raters=num_raters,
        votes=votes,
        **{name: texts(arrays[name]) for name in TEXT_PARTS if name in arrays},
    )
    ours = {*ALIASES, *columns.wide, *columns.votes} - {SPLIT, GROUP}
    for name in table.column_names:
        if name not in ours:
            other = split if name == SPLIT and split is not None else plain(table[name])
            made = made.append_column(name, other if sheet.is_typed or name == SPLIT else with_types(other))
    if named := split_named(file.name):
        made = made.append_column(FILE_SPLIT, pa.array([named] * len(table), pa.string()))
    return Rows([file.name], made, part, np.zeros(len(table), np.int64), sheet.rows, refusals.reasons, [sheet.broken])


def _check_columns(file: File, columns: Columns, input_names: list[str], spec: AnnotationSpec) -> None:
    names = set(columns.table.column_names)
    has = f"{file.uri} (layout {spec.layout})", f"its columns are {listed(input_names) or 'none'}"
    if ARTWORK_ID not in names:
        takes = f"{', '.join(ALIASES['artwork_id'][:-1])} or {ALIASES['artwork_id'][-1]}"
        raise NoAnnotations(f"{has[0]} has no column that names the artwork, such as {takes}: {has[1]}; {_NAME_ONE}.")
    artworks = columns.table[ARTWORK_ID]
    if pa.types.is_nested(artworks.type) or _is_bytes(artworks):
        index = columns.table.column_names.index(ARTWORK_ID)
        raise UserError(
            f"Column {index + 1} ({listed(input_names[index : index + 1])}) of {file.uri} holds pictures or other compound values "
            "and no names of artworks: give a column artwork_id with their keys below annotations.images."
        )
    if not names & {SCORE, "ratings", VOTES} and not columns.wide and not columns.votes:
        takes = ", ".join((*ALIASES[SCORE], *ALIASES["ratings"], VOTES))
        raise NoAnnotations(f"{has[0]} has no column of scores, such as {takes} or rater_1: {has[1]}; {_NAME_ONE}.")


def _scores(
    arrays: dict[str, pa.Array], columns: Columns, spec: AnnotationSpec, refusals: Refusals
) -> tuple[np.ndarray, np.ndarray, pa.Array, pa.Array]:
    """Return score, sigma (N,) float64, NaN where there is none, num_raters (N,) int64 and votes. Given values precede computed ones."""
    num_rows = len(refusals.reasons)
    low, high = spec.scale_low, spec.scale_high
    score, is_blank = numbers(arrays[SCORE]) if SCORE in arrays else (np.full(num_rows, np.nan), np.ones(num_rows, bool))
    score *= columns.factor
    refusals.refuse(~is_blank & ~np.isfinite(score), "the score is not a number", arrays.get(SCORE))
    refusals.refuse((score < low) | (score > high), f"the score is outside {low:g} to {high:g}", arrays.get(SCORE))
    votes = _votes(arrays, columns, spec, refusals)
    shown = arrays.get("ratings", arrays.get(VOTES))
    refusals.refuse(_any(votes.rows[~np.isfinite(votes.values)], num_rows), "a rating is not a number", shown)
    is_outside = (votes.values < low) | (votes.values > high)
    refusals.refuse(_any(votes.rows[is_outside], num_rows), f"a rating is outside {low:g} to {high:g}", shown)
    votes = votes.kept(np.isfinite(votes.values))
    mean, spread, num = votes.moments(num_rows)
    refusals.refuse(is_blank & np.isnan(mean), "there is no score")
    sigma, num_raters = _spreads(arrays, columns, spec, refusals)
    return (
        np.where(is_blank, mean, score),
        np.where(np.isnan(sigma), spread, sigma),
        pc.coalesce(num_raters, pa.array(np.nan_to_num(num).astype(np.int64), mask=np.isnan(num))),
        votes.to_array(num_rows),
    )


def _votes(arrays: dict[str, pa.Array], columns: Columns, spec: AnnotationSpec, refusals: Refusals) -> Votes:
    """Return all single ratings, in lists and in columns of one rater each, and all histograms."""
    pieces = [counted(arrays, columns.votes, refusals)]
    if VOTES in arrays:
        pieces.append(listed_votes(arrays[VOTES], spec.scale_low, spec.scale_high, refusals))
    if "ratings" in arrays:
        values, rows, is_wrong = ratings(arrays["ratings"])
        refusals.refuse(is_wrong, "the ratings are no list", arrays["ratings"])
        pieces.append(Votes.of_ratings(values * columns.factor, rows))
    for name in columns.wide:
        values, is_blank = numbers(arrays[name])
        pieces.append(Votes.of_ratings(values[~is_blank] * columns.factor, np.flatnonzero(~is_blank)))
    return Votes.join(pieces)


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


def _is_bytes(column: pa.ChunkedArray) -> bool:
    """Tell whether a binary column begins with something that is not text."""
    is_binary = pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)
    first = column.slice(0, 1).to_pylist() if is_binary else []
    return any(value is not None and "\ufffd" in value.decode("utf-8", "replace") for value in first)


def _any(rows: np.ndarray, num_rows: int) -> np.ndarray:
    mask = np.zeros(num_rows, bool)
    mask[rows] = True
    return mask


def _is_null(array: pa.Array) -> np.ndarray:
    return cast(np.ndarray, array.is_null().to_numpy(zero_copy_only=False))
