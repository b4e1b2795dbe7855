"""Columns as people fill them in, made into numbers, texts and keys; what cannot be used is refused row by row, with a reason."""

from __future__ import annotations

import contextlib
import json
import math
import re
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from artquant.annotations.names import SPLITS
from artquant.storage.store import open_store

NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_ADDRESS = r"^([A-Za-z][A-Za-z0-9+.-]*:/|file:|/)"
_ODD_KEY = r"(^|/)\.{0,2}(/|$)|[\x00-\x1f\x7f]"
_FLAT_LIST = re.compile(r"\[[^\[\]]*\]")
_ESCAPE = re.compile(r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL)
_LONGEST_SHOWN = 80
_MOST_LISTED = 10


class Refusals:
    """The first problem in each of N rows: a kind, a colon and the value, or None. There are few kinds, so they are counted."""

    def __init__(self, num_rows: int):
        self.reasons = np.full(num_rows, None, object)

    def refuse(self, mask: np.ndarray, kind: str, values: pa.Array | None = None) -> None:
        """Refuse the rows of `mask` (N,) bool that are not refused yet."""
        for index in np.flatnonzero(mask):
            if self.reasons[index] is None:
                self.reasons[index] = kind if values is None else f"{kind}: {shown(values[int(index)].as_py())}"


def is_kept(reasons: np.ndarray) -> np.ndarray:
    """Return, for (N,) reasons or None, (N,) bool: the rows that have no reason."""
    return cast(np.ndarray, pa.array(reasons, pa.string()).is_null().to_numpy(zero_copy_only=False))


def shown(value: Any) -> str:
    """Return '7,5' for texts, 11 for numbers; shortened."""
    text = f"{value:g}" if isinstance(value, float) else repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def listed(names: list[str]) -> str:
    """List the first ten names, each shortened and on one line, and say how many more there are."""
    some = [" ".join(name.split()) for name in names[:_MOST_LISTED]]
    some = [name if len(name) <= _LONGEST_SHOWN else f"{name[:_LONGEST_SHOWN]}..." for name in some]
    return ", ".join(some) + (f" and {len(names) - len(some):,} more" if len(names) > len(some) else "")


def said(error: Exception) -> str:
    """Return a library's error message on one line, shortened."""
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__


def load_json(text: str) -> Any:
    """Parse JSON; half of a character (`"cut \ud83d"`) becomes U+FFFD. Raises ValueError, also for JSON that is nested too deeply."""
    if "\\ud" in text or "\\uD" in text:
        text = _ESCAPE.sub(lambda match: r"\ufffd" if match["half"] else match[0], text)
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def plain(column: pa.ChunkedArray) -> pa.Array:
    """Return one array without dictionaries, of strings rather than large strings."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    if pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
        column = column.cast(pa.string())
    array = column.combine_chunks()
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def texts(array: pa.Array) -> pa.Array:
    """Return trimmed strings; blank ones are null, numbers are written out, nested values are JSON."""
    if pa.types.is_nested(array.type):
        array = pa.array([None if value is None else json.dumps(value, default=str) for value in array.to_pylist()], pa.string())
    elif pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type) or pa.types.is_fixed_size_binary(array.type):
        array = pa.array([None if value is None else value.decode("utf-8", "replace") for value in array.to_pylist()], pa.string())
    elif not pa.types.is_string(array.type):
        array = array.cast(pa.string())
    array = pc.utf8_trim_whitespace(array)
    return pc.if_else(pc.equal(array, ""), pa.scalar(None, pa.string()), array)


def numbers(array: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return values (N,) float64, NaN if there is none, and whether the cell is blank (N,) bool. Non-numbers are NaN and not blank."""
    if pa.types.is_integer(array.type) or pa.types.is_floating(array.type) or pa.types.is_decimal(array.type):
        is_blank = array.is_null().to_numpy(zero_copy_only=False)
        return array.cast(pa.float64(), safe=False).fill_null(math.nan).to_numpy(zero_copy_only=False).copy(), is_blank
    if not pa.types.is_string(array.type):
        return np.full(len(array), math.nan), array.is_null().to_numpy(zero_copy_only=False)
    array = texts(array)
    is_number = pc.match_substring_regex(array, NUMBER)
    values = pc.if_else(is_number, array, pa.scalar(None, pa.string())).cast(pa.float64()).fill_null(math.nan)
    return values.to_numpy(zero_copy_only=False).copy(), array.is_null().to_numpy(zero_copy_only=False)


def with_types(array: pa.Array) -> pa.Array:
    """Return a CSV's column as integers or decimals if all values are such, else as texts. A value with a leading 0 ('007') is a text."""
    array = texts(array)
    filled = array.drop_null()
    if not len(filled) or pc.any(pc.match_substring_regex(filled, r"^[+-]?0[0-9]")).as_py():
        return array
    for pattern, kind in ((r"^-?[0-9]{1,18}$", pa.int64()), (NUMBER, pa.float64())):
        if pc.all(pc.match_substring_regex(filled, pattern)).as_py():
            return array.cast(kind)
    return array


def ratings(array: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split a column of lists, or of JSON lists as strings, into its values.

    Returns all values (M,) float64, the row of each (M,) int64, and which rows hold no list (N,) bool. A null in a list is a rater who did
    not rate; a value that is not a number is NaN. A blank cell is a list without values.
    """
    is_wrong = np.zeros(len(array), bool)
    if pa.types.is_string(array.type):
        lists = _json_lists(texts(array).to_pylist())
        is_wrong = np.fromiter((values is None for values in lists), bool, len(lists))
        rows = np.repeat(np.arange(len(lists)), [len(values or ()) for values in lists])
        values, is_blank = numbers(as_array([value for values in lists for value in values or ()]))
        return values[~is_blank], rows[~is_blank], is_wrong
    kind = array.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        return np.empty(0), np.empty(0, np.int64), array.is_valid().to_numpy(zero_copy_only=False)
    values, is_blank = numbers(plain(pa.chunked_array([pc.list_flatten(array)])))  # without what lies behind a null
    lengths = pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False)
    rows = np.repeat(np.arange(len(array)), lengths)
    return values[~is_blank], rows[~is_blank], is_wrong


def _json_lists(cells: list[str | None]) -> list[list[Any] | None]:
    """Return a list for each cell, or None for a cell that holds none."""
    if all(cell is None or _FLAT_LIST.fullmatch(cell) for cell in cells):  # at once: several times as fast as cell by cell
        with contextlib.suppress(ValueError):
            return cast(list[list[Any] | None], load_json(f"[{','.join(cell or '[]' for cell in cells)}]"))
    lists: list[list[Any] | None] = []
    for cell in cells:
        try:
            values = load_json(cell or "[]")
        except ValueError:
            values = None
        lists.append(values if isinstance(values, list) else None)
    return lists


def as_array(values: list[Any]) -> pa.Array:
    """Return values of one type as such, and mixed ones as strings, with those that are not strings as JSON."""
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
        return pa.array([value if value is None or isinstance(value, str) else json.dumps(value) for value in values], pa.string())


def keys_below(array: pa.Array, images: str | None, refusals: Refusals) -> pa.Array:
    """Return artwork ids, which are keys below `images`, from keys (`a/b.jpg`) and addresses (`s3://bucket/pictures/a/b.jpg`) alike."""
    array = texts(array)
    refusals.refuse(array.is_null().to_numpy(zero_copy_only=False), "no artwork is named")
    is_address = pc.match_substring_regex(array, _ADDRESS).fill_null(False)
    if pc.any(is_address).as_py():
        if images is None:
            refusals.refuse(_mask(is_address), "the artwork is an address, and annotations.images does not say below which", array)
            return array
        root = open_store(images).uri.rstrip("/") + "/"
        whole = array
        if root.startswith("file:"):
            whole = pc.replace_substring_regex(pc.replace_substring_regex(array, r"^file:(//)?", ""), r"^/", "file:///")
        is_below = pc.and_(is_address, pc.starts_with(whole, root).fill_null(False))
        refusals.refuse(_mask(is_address) & ~_mask(is_below), f"the artwork does not lie below {root}", array)
        array = pc.if_else(is_below, pc.utf8_slice_codeunits(whole, len(root)), array)
        is_address = pc.and_not(is_address, is_below)
    array = pc.if_else(is_address, array, pc.replace_substring_regex(array, r"^(\./)+", ""))
    refusals.refuse(_mask(pc.match_substring_regex(array, _ODD_KEY).fill_null(False)), "the artwork's name is no key", array)
    return array


def _mask(array: pa.Array) -> np.ndarray:
    return cast(np.ndarray, array.to_numpy(zero_copy_only=False).astype(bool))


def given_splits(array: pa.Array, refusals: Refusals) -> pa.Array:
    """Return train, validation or test as the annotators say it, null where the cell is blank."""
    array = texts(array)
    splits = pa.array([SPLITS.get(value.lower()) if value else None for value in array.to_pylist()], pa.string())
    refusals.refuse(_mask(splits.is_null()) & ~_mask(array.is_null()), "the split is none of train, validation and test", array)
    return splits
