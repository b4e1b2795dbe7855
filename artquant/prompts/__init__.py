"""Templates: what generators and judges are asked, as files that people read and change.

    artquant template 1: judge        the format's version, and the kind: levels, generator or judge
    # a note
    == ask                            a piece, up to the next one
    People gave this {score} ...      a field in braces is filled in; {{ and }} stand for themselves

A line that is nothing but a field without content is left out.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Formatter

from artquant.core.errors import UserError
from artquant.core.schema import CRITIQUE_PARTS

FOLDER = Path(__file__).parent
VERSION = 1
_FIRST = re.compile(r"artquant template (\d+): (\w+)")
_STATISTICS = {"mean", "std", "q10", "q50", "q90", "rank"}
_SCORE = {"score", "low", "high"}
_FRAGMENTS = {"score", "statistics", "comment", "again"}
# Kind -> piece -> the fields that it may have.
FIELDS: Mapping[str, Mapping[str, set[str]]] = {
    "levels": dict.fromkeys(CRITIQUE_PARTS, set()),
    "generator": {
        "whole": {"levels", "language", *_FRAGMENTS},
        "part": {"part", "aspects", "language", *_FRAGMENTS},
        "score": _SCORE,
        "statistics": _STATISTICS,
        "comment": {"comment"},
        "again": {"reason", "draft"},
    },
    "judge": {
        "ask": {"description", "statistics", *_SCORE},
        "swapped": {"description", "statistics", *_SCORE},
        "statistics": _STATISTICS,
        "claim": {"claim"},
    },
}
_MEASURED = {"claim"}  # asked for the page alone: it decides nothing about a description
_NEEDED = {"levels": [{part} for part in CRITIQUE_PARTS], "generator": [{"whole", "part"}], "judge": [{"ask"}, {"swapped"}]}


@dataclass(frozen=True)
class Template:
    """A file's pieces by name, and a digest of what it says: notes do not count."""

    name: str
    kind: str
    pieces: Mapping[str, str]

    @property
    def digest(self) -> str:
        text = "\x1f".join(f"{name}\x1e{self.pieces[name]}" for name in sorted(set(self.pieces) - _MEASURED))
        return hashlib.sha256(f"{VERSION}\x1f{self.kind}\x1f{text}".encode()).hexdigest()[:12]

    def fill(self, piece: str, **fields: str) -> str:
        """Return the piece with its fields; those that are not given are empty. '' for a piece that the template does not have."""
        lines = []
        for line in self.pieces.get(piece, "").split("\n"):
            given = {name: fields.get(name, "") for _, name, _, _ in Formatter().parse(line) if name}
            if line.strip() in {f"{{{name}}}" for name, value in given.items() if not value}:
                continue
            lines.append(line.format(**given))
        return "\n".join(lines)


@dataclass(frozen=True)
class Templates:
    """One of each kind."""

    levels: Template
    generator: Template
    judge: Template

    @property
    def digest(self) -> str:
        """Of all that is asked for a description."""
        return hashlib.sha256("".join(one.digest for one in (self.levels, self.generator, self.judge)).encode()).hexdigest()[:12]


def read_templates(folder: str | None, is_tiny: bool) -> Templates:
    """Read levels.txt, generator.txt and judge.txt of a folder, or those that come with the code: `is_tiny` for the demonstration model,
    which understands nothing but its own. Raises UserError by name and line."""
    place = Path(folder) if folder else FOLDER / "tiny" if is_tiny else FOLDER
    if not place.is_dir():
        raise UserError(f"There is no folder of templates {folder}: copy {FOLDER} and change what you want.")
    return Templates(**{kind: read_template(place / f"{kind}.txt", kind) for kind in FIELDS})


def read_template(path: Path, kind: str) -> Template:
    """Read one file. Raises UserError that names it and the line."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise UserError(
            f"The template {path} cannot be read ({error}): a folder of templates has {', '.join(FIELDS)}, each .txt."
        ) from error
    return parse_template(text, kind, str(path))


def parse_template(text: str, kind: str, name: str) -> Template:
    """Parse a file's text. Raises UserError that names it and the line."""

    def refuse(line: int, why: str) -> UserError:
        return UserError(f"The template {name}, line {line}: {why}.")

    lines = text.splitlines()
    first = _FIRST.fullmatch(lines[0].strip()) if lines else None
    if first is None:
        raise refuse(1, f"it begins with the line 'artquant template {VERSION}: {kind}'")
    if int(first[1]) != VERSION:
        raise refuse(1, f"its format is {first[1]}, and this program reads {VERSION}: update the program, or write the file anew")
    if first[2] != kind:
        raise refuse(1, f"it is of the kind {first[2]}, and a {kind} is needed here")
    pieces: dict[str, list[str]] = {}
    piece = ""
    for number, line in enumerate(lines[1:], 2):
        if line.startswith("#"):
            continue
        if line.startswith("=="):
            piece = line.removeprefix("==").strip()
            if piece not in FIELDS[kind]:
                raise refuse(number, f"a {kind} has no piece {piece!r}: it has {', '.join(FIELDS[kind])}")
            if piece in pieces:
                raise refuse(number, f"the piece {piece!r} is there already")
            pieces[piece] = []
        elif piece:
            if why := _fault_of(line, FIELDS[kind][piece]):
                raise refuse(number, why)
            pieces[piece].append(line)
        elif line.strip():
            raise refuse(number, "it stands before the first piece: begin one with == and its name")
    whole = {name: "\n".join(body).strip("\n") for name, body in pieces.items()}
    for choice in _NEEDED[kind]:
        if not any(whole.get(one, "").strip() for one in choice):
            raise refuse(len(lines), f"the piece {' or '.join(sorted(choice))} is missing or empty")
    if "whole" in whole and "part" in whole:
        raise refuse(len(lines), "a generator asks for the whole or for each part, not for both: take one of them out")
    return Template(name, kind, whole)


def _fault_of(line: str, known: set[str]) -> str | None:
    """Return what is wrong with a line of a piece, or None."""
    try:
        fields = [(name, spec, conversion) for _, name, spec, conversion in Formatter().parse(line) if name is not None]
    except ValueError as error:
        return f"its braces do not match ({error}): write {{{{ and }}}} for braces of the text"
    for name, spec, conversion in fields:
        if name not in known or spec or conversion:
            allowed = ", ".join(f"{{{one}}}" for one in sorted(known)) or "none"
            return f"there is no field {{{name}}} here: there are {allowed}; write {{{{ and }}}} for braces of the text"
    return None
