"""Annotations as training and evaluation use them: one checked row per artwork, and one row for everything refused."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from artquant.annotations.conversations import read_conversations
from artquant.annotations.files import File, read_files
from artquant.annotations.layouts import COMPANIONS, EXTENSIONS
from artquant.annotations.rows import Rows, join, merge, refuse_repeated, with_one_score
from artquant.annotations.tables import NoAnnotations, join_vaps, read_table, sheet_of
from artquant.annotations.values import listed, said
from artquant.config import AnnotationSpec
from artquant.core.errors import UserError
from artquant.core.schema import SCORE
from artquant.storage.store import FetchError

SAME = 0.005  # of the scale: two files that give an artwork scores as near as this say the same
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Annotations:
    """`num_rows == table.num_rows + num_merged + rejects.num_rows`: no row disappears.

    `table`: `rows.annotation_schema()`, then the input's other columns; by artwork_id. `rejects`: file str, row int64 (from 1), reason str.
    `digest` changes with the bytes that were sent and with how they are read.
    """

    table: pa.Table
    rejects: pa.Table
    num_rows: int
    digest: str
    num_merged: int  # rows that went into another one's artwork: further raters, or the texts of a conversation

    @property
    def reasons(self) -> dict[str, int]:
        """kind of refusal -> rows, the most frequent first. The kind is what stands before the colon of a reason."""
        return dict(Counter(reason.partition(": ")[0] for reason in self.rejects["reason"].to_pylist()).most_common())


def read_annotations(spec: AnnotationSpec) -> Annotations:
    """Read all annotations at `spec.uri`.

    Raises UserError if they cannot be read, have no usable columns or rows, have more bad rows than `spec.max_rejected_fraction`, or if all
    scores are equal.
    """
    if not spec.uri:
        raise UserError("No annotations are named: set annotations.uri to a file, or to a folder or prefix of files.")
    if not spec.scale_low < spec.scale_high:
        raise UserError(f"The scale {spec.scale_low:g} to {spec.scale_high:g} is empty: annotations.scale_high must be above scale_low.")
    skips_others = spec.skip_other_files or spec.layout in COMPANIONS
    files = read_files(spec.uri, EXTENSIONS.get(spec.layout, ()), skips_others)
    are_conversations = spec.layout == "conversations"
    parts = _conversations(files, spec) if are_conversations else _tables(files, spec, skips_others)
    with _told(spec.uri):
        rows = refuse_repeated(join(parts), SAME * (spec.scale_high - spec.scale_low))
        if are_conversations:
            rows = with_one_score(rows)
        rejects = rows.rejects()
        _check_rejects(rejects, rows.num_rows, spec)
        table, num_merged = merge(rows, are_raters=not are_conversations)
    assert rows.num_rows == table.num_rows + num_merged + rejects.num_rows, "rows of annotations were lost"
    _check_scores(table, spec)
    return Annotations(table, rejects, rows.num_rows, _digest(files, spec), num_merged)


def _conversations(files: list[File], spec: AnnotationSpec) -> list[Rows]:
    parts = []
    for file in files:
        with _told(file.uri):
            parts.append(read_conversations(file, spec))
    return parts


def _tables(files: list[File], spec: AnnotationSpec, skips_others: bool) -> list[Rows]:
    """Read the rows of all files; with `skips_others` those without artworks or scores are left out, if there are others."""
    sheets, parts, left_out = [], [], []
    for file in files:
        with _told(file.uri):
            sheets.append(sheet_of(file, spec))
    for sheet in join_vaps(sheets) if spec.layout == "vaps" else sheets:
        with _told(sheet.file.uri):
            try:
                parts.append(read_table(sheet, spec))
            except NoAnnotations as error:
                if len(sheets) == 1:
                    raise
                if not skips_others:
                    raise UserError(
                        f"{str(error).rstrip('.')}; to leave out files like it, set annotations.skip_other_files=true."
                    ) from error
                left_out.append((sheet.file.name, error))
    if left_out and not parts:
        raise left_out[0][1]
    if left_out:
        _log.warning("Left out of the annotations %s, without artworks or scores: %s.", spec.uri, listed([name for name, _ in left_out]))
    return parts


@contextmanager
def _told(uri: str) -> Iterator[None]:
    """Turn whatever the libraries raise over an input into a sentence that names it; they raise far more than they document."""
    try:
        yield
    except (UserError, FetchError):
        raise
    except Exception as error:
        raise UserError(f"Cannot read the annotations {uri} ({type(error).__name__}: {said(error)}): correct them.") from error


def _check_rejects(rejects: pa.Table, num_rows: int, spec: AnnotationSpec) -> None:
    if not num_rows:
        raise UserError(f"The annotations {spec.uri} have no rows: give some.")
    if rejects.num_rows < num_rows and rejects.num_rows <= spec.max_rejected_fraction * num_rows:
        return
    first = rejects.slice(0, 1).to_pylist()[0]
    advice = "correct them"
    if rejects.num_rows < num_rows:
        advice += f", or raise annotations.max_rejected_fraction above {spec.max_rejected_fraction:g}"
    raise UserError(
        f"{rejects.num_rows:,} of {num_rows:,} rows of the annotations {spec.uri} cannot be used, "
        f"first row {first['row']} of {first['file']} ({first['reason']}): {advice}."
    )


def _check_scores(table: pa.Table, spec: AnnotationSpec) -> None:
    span = pc.min_max(table[SCORE])
    if span["min"].as_py() == span["max"].as_py():
        raise UserError(
            f"All scores of the annotations {spec.uri} are {span['min'].as_py():g} ({table.num_rows:,} artworks), "
            "so there is nothing to learn or to compare: give scores that differ."
        )


def _digest(files: list[File], spec: AnnotationSpec) -> str:
    how = spec.model_dump(include={"layout", "images", "scale_low", "scale_high", "columns", "skip_other_files"})
    whole = hashlib.sha256(json.dumps(how, sort_keys=True).encode())
    for file in files:
        whole.update(hashlib.sha256(file.data).digest())
    return whole.hexdigest()[:16]
