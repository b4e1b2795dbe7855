"""Numbers, durations and sizes as people read them."""

from __future__ import annotations

import math
from typing import TypeGuard


def count_of(count: int, noun: str) -> str:
    """Format a count with its noun: `1 artwork`, `4,120 artworks`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def duration(seconds: float) -> str:
    """Format a duration: `0.8 s`, `48 s`, `1 min 12 s`, `3 h 05 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours:,} h {minutes:02d} min"


def rate(per_second: float) -> str:
    """Format a rate: `0.04`, `5.7`, `1,430`."""
    if per_second >= 99.5:
        return f"{per_second:,.0f}"
    return f"{per_second:.1f}" if per_second >= 0.95 else f"{per_second:.2g}"


def file_size(num_bytes: float) -> str:
    """Format a size, `812 B`, `41 kB`, `1.4 MB`, in decimal units, as object stores bill."""
    if num_bytes < 1000:
        return f"{num_bytes:.0f} B"
    for unit in ("kB", "MB", "GB", "TB"):
        num_bytes /= 1000
        if num_bytes < 999.5 or unit == "TB":
            break
    return f"{num_bytes:.1f} {unit}" if num_bytes < 9.95 else f"{num_bytes:,.0f} {unit}"


def shorten(text: str, longest: int) -> str:
    """Leave out the middle of `text` if it is longer than `longest` characters: file names differ at their ends."""
    if len(text) <= longest:
        return text
    tail = longest * 2 // 3
    return f"{text[: longest - tail - 1]}…{text[-tail:]}"


def is_known(value: float | None) -> TypeGuard[float]:
    """Tell whether the value is a finite number: False for None, nan and the infinities."""
    return value is not None and math.isfinite(value)


def figure(value: float | None, digits: int = 3) -> str:
    """Format a figure, `0.871`, `−0.020`; a dash if there is no number."""
    if not is_known(value):
        return "–"
    text = f"{value:,.{digits}f}"
    return text.replace("-", "−") if float(text.replace(",", "")) else text.lstrip("-")


def signed(value: float | None, digits: int = 3) -> str:
    """Format a signed figure, `+0.013`, `−0.004`, `0.000`; a dash if there is no number."""
    text = figure(value, digits)
    return f"+{text}" if is_known(value) and round(value, digits) > 0 else text
