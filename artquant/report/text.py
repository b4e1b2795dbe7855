"""Untrusted text, made fit for a page: it comes from a model, a file name or an annotation, and may be hostile."""

from __future__ import annotations

import base64
import re
import unicodedata

from markupsafe import Markup, escape

_CREDENTIALS = re.compile(r"(?<=://)[^/\s@]+(?=@)|(?<=[?&]X-Amz-Signature=)[^&\s]+|(?<=[?&]X-Amz-Security-Token=)[^&\s]+")
_JOINERS = "\u200c\u200d"  # zero-width, but part of how several scripts and emoji are written


def visible(text: str) -> str:
    """`text` without a character that hides, reorders or breaks what stands around it, and without credentials.

    >>> visible("a\\u202egpj.exe")
    'a[U+202E]gpj.exe'
    """
    return "".join(_spell(character) for character in _CREDENTIALS.sub("…", text))


def _spell(character: str) -> str:
    if character in "\n\r\t":
        return " "
    if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"} and character not in _JOINERS:
        return f"[U+{ord(character):04X}]"
    return character


def lines(text: str) -> Markup:
    """Return `text` made visible and escaped, with its line breaks."""
    return Markup("\n").join(escape(visible(line)) for line in re.split(r"\r\n|\r|\n", text))


def breakable(text: str) -> Markup:
    """Return `text` made visible and escaped; a line may break after a separator before it breaks inside a word."""
    return Markup("<wbr>").join(escape(piece) for piece in re.split(r"(?<=[/_.=-])", visible(text)))


def jpeg_uri(thumbnail: bytes | None) -> str | None:
    """Return a data URI, or None, also for bytes that are not a JPEG."""
    if thumbnail is None or not thumbnail.startswith(b"\xff\xd8\xff"):
        return None
    return "data:image/jpeg;base64," + base64.b64encode(thumbnail).decode()
