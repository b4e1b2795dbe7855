"""From a model's words to texts and verdicts: strict JSON where it is there, else whatever can only mean one thing."""

from __future__ import annotations

import json
import re
from typing import Any

from artquant.core.schema import CRITIQUE_PARTS

_FENCE = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL | re.IGNORECASE)
_VERDICT = re.compile(r"^\W*(yes|no|true|false)\b[\s,.:;-]*(.*)", re.IGNORECASE | re.DOTALL)
_HEADING = re.compile(r"^\W*(perception|cognition|emotion)\W*[:\n]\W*", re.IGNORECASE | re.MULTILINE)

TEXTS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {part: {"type": "string"} for part in CRITIQUE_PARTS},
    "required": list(CRITIQUE_PARTS),
    "additionalProperties": False,
}
VERDICT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"agrees": {"type": "string", "enum": ["yes", "no"]}, "reason": {"type": "string"}},
    "required": ["agrees", "reason"],
    "additionalProperties": False,
}


def parse_texts(answer: str) -> dict[str, str] | None:
    """Return the three texts of an answer, as JSON or below headings; None where one is missing or empty."""
    document = _json_of(answer)
    if document is None:
        pieces = _HEADING.split(answer)[1:]
        document = {name.lower(): text for name, text in zip(pieces[::2], pieces[1::2], strict=False)}
    texts = {part: document.get(part) for part in CRITIQUE_PARTS}
    if not all(isinstance(text, str) and text.strip() for text in texts.values()):
        return None
    return {part: " ".join(str(text).split()) for part, text in texts.items()}


def parse_verdict(answer: str) -> tuple[bool, str] | None:
    """Return (agrees, reason); None where the answer does not say."""
    document = _json_of(answer)
    if document is not None:
        word, reason = document.get("agrees"), document.get("reason") or ""
        said = _VERDICT.match(str(word)) if isinstance(word, str | bool) else None
        return (said[1].lower() in ("yes", "true"), " ".join(str(reason).split())) if said else None
    if plain := _VERDICT.match(answer):
        return plain[1].lower() in ("yes", "true"), " ".join(plain[2].split())
    return None


def _json_of(answer: str) -> dict[str, Any] | None:
    """Return the object in an answer, whatever stands around it."""
    fenced = _FENCE.search(answer)
    for text in ([fenced[1]] if fenced else []) + [answer, answer[answer.find("{") : answer.rfind("}") + 1]]:
        try:
            document = json.loads(text, strict=False)
        except ValueError:
            continue
        if isinstance(document, dict):
            return document
    return None
