"""What people write for a value and what they do not mean by it: lists of patterns, numbers, dates."""

import re
from datetime import date
from typing import Annotated, Any, get_args

from pydantic import BeforeValidator

_BETWEEN_ADDRESSES = r"\s*,\s*(?=s3://|gs://|az://|file:|~|/|\.\.?/)"
_CLASS = re.compile(r"\[!?\]?[^\]]*\]")  # as fnmatch reads it


def meant(value: Any, annotation: Any) -> Any:
    """Return the value; raise ValueError where pydantic would take true for 1, or a number for seconds since 1970."""
    kinds = (annotation, *get_args(annotation))
    if isinstance(value, bool) and bool not in kinds and {int, float} & set(kinds):
        raise ValueError("it takes a number")
    if date in kinds and (isinstance(value, int | float) or (isinstance(value, str) and value.isdigit())):
        raise ValueError("write a date as 2026-11-21")
    return value


def is_odd_number(value: Any, text: str) -> bool:
    """Tell whether YAML reads `text` as a different number than people do: 010 is eight, 1:30 is ninety."""
    return type(value) in (int, float) and (":" in text or re.match(r"[+-]?0[\d_xb]", text.strip()) is not None)


def checked_patterns(value: Any) -> Any:
    """Parse patterns: '*.txt,*.csv' and '[*.txt, *.csv]' -> ('*.txt', '*.csv'); '[ab]*.jpg' is one pattern with a class of characters.

    In a text, a comma outside a class separates two patterns; in a list each entry is one. Raises ValueError for what would match nothing.
    """
    if isinstance(value, str):
        value = [part.strip().strip("'\"") for part in _split(value)]
    if isinstance(value, list | tuple):
        for pattern in value:
            if isinstance(pattern, str):
                _check(pattern)
        return tuple(value)
    return value


def _split(text: str) -> list[str]:
    text = text.strip()
    if _is_bracketed(text):
        text = text[1:-1]
    parts, start, depth = [], 0, 0
    for index, character in enumerate(text):
        depth += (character in "[{") - (character in "]}")
        if character == "," and depth <= 0:
            parts.append(text[start:index])
            start = index + 1
    return [*parts, text[start:]]


def _is_bracketed(text: str) -> bool:
    """Tell whether the bracket at the start is closed by the one at the end, which in '[ab]*[cd]' it is not."""
    depth = 0
    for place, character in enumerate(text):
        depth += (character == "[") - (character == "]")
        if depth <= 0:
            return place > 0 and place == len(text) - 1
    return False


def _check(pattern: str) -> None:
    rest = _CLASS.sub("", pattern)
    if not pattern:
        raise ValueError("one of its patterns is empty: part them by one comma each, as in *.txt,*.csv")
    if "[" in rest or "]" in rest:
        raise ValueError("a bracket is not closed or not opened: write [[] or []] for a bracket in a name, a list as [*.txt,*.csv]")
    if re.search(r"\{[^}]*,.*\}", rest):
        raise ValueError("braces are no alternatives here: give several patterns, as in *.txt,*.csv, or write [{] for a brace in a name")
    if re.search(r"[\s;|]\*\.", rest):
        raise ValueError("part patterns by commas, as in *.txt,*.csv")


Patterns = Annotated[tuple[str, ...], BeforeValidator(checked_patterns)]


def checked_addresses(value: Any) -> Any:
    """Parse addresses: 's3://b/x' stays a text; '[s3://b/x, art]' and 's3://b/x,/data/art' become ('s3://b/x', ...).

    In a text without brackets a comma parts two addresses where one begins behind it: a folder may have a comma in its name. Raises
    ValueError for an address that is empty.
    """
    if isinstance(value, str):
        text = value.strip()
        parts = text[1:-1].split(",") if text.startswith("[") and text.endswith("]") else re.split(_BETWEEN_ADDRESSES, value)
        value = [part.strip().strip("'\"") for part in parts] if len(parts) > 1 or text.startswith("[") else value
    if isinstance(value, list | tuple):
        if not value or not all(value):
            raise ValueError("one of its addresses is empty: part them by one comma each, as in [s3://bucket/a,s3://bucket/b]")
        return value[0] if len(value) == 1 else tuple(value)
    return value


def checked_columns(value: Any) -> Any:
    """Parse names of columns: 'title,artist' and '[title, artist]' -> ('title', 'artist'). Raises ValueError for one that is empty."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",")]
    if isinstance(value, list | tuple):
        if not all(value):
            raise ValueError("one of its columns has no name: part them by one comma each, as in title,artist")
        return tuple(dict.fromkeys(value))
    return value


Addresses = Annotated[str | tuple[str, ...] | None, BeforeValidator(checked_addresses)]
Columns = Annotated[tuple[str, ...], BeforeValidator(checked_columns)]
