"""The published training JSON: one object per exchange, several exchanges per image; each becomes a row with a score or one text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from artquant.annotations.files import File
from artquant.annotations.names import split_named
from artquant.annotations.rows import Rows, blank
from artquant.annotations.sheets import is_json, parse_objects
from artquant.annotations.values import Refusals, as_array, given_splits, keys_below, numbers
from artquant.annotations.votes import Votes
from artquant.config import AnnotationSpec
from artquant.core.errors import UserError
from artquant.core.schema import CRITIQUE_PARTS, FILE_SPLIT, SPLIT

SCORE, COMMENT = "score", "comment"
_NAMES = {"perception": r"\bpercept|\bperceiv", "cognition": r"\bcogni", "emotion": r"\bemotion"}
_TOPICS = {
    "perception": r"\bcomposition|\bcolou?r|\blines?\b|\blight|\btexture|\bvisual",
    "cognition": r"\bsubject|\bsymbol|\btechnique|\bstyle|\bmeaning|\btheme",
    "emotion": r"\bmood|\bfeel|\batmosphere|\bevoke",
}
_MAX_SUM_ERROR = 0.02  # of level_probs, which files round
_OURS = {"id", "image", "gt_score", "level_probs", "conversations", "task_type"}


def read_conversations(file: File, spec: AnnotationSpec) -> Rows:
    """Read the exchanges of one file as rows; `part` names what each gives: score, perception, cognition, emotion or comment.

    Without a `task_type` an entry is a score, as the published loader has it; a score without `gt_score` is what stands behind `->` in
    its `id`, as Q-Align writes it. `level_probs`, the soft label of ArtQuant and DeQA-Score, are shares of votes for the levels, best
    first. Raises UserError if the file holds no conversations.
    """
    if not is_json(file):
        raise UserError(f"{file.uri} is no JSON, which the layout conversations is: set annotations.layout=table.")
    entries, rows, broken = parse_objects(file)
    if entries and not any("conversations" in entry or "gt_score" in entry for entry in entries):
        raise UserError(f"{file.uri} has no conversations: set annotations.layout=table, or send the published training JSON.")
    refusals = Refusals(len(entries))
    images = keys_below(as_array([_text(entry.get("image")) for entry in entries]).cast(pa.string()), spec.images, refusals)
    tasks = [entry.get("task_type") or SCORE for entry in entries]
    is_score = np.array([task == SCORE for task in tasks], bool)
    is_text = np.array([task == "description" for task in tasks], bool)
    refusals.refuse(~is_score & ~is_text, "the task_type is neither score nor description", as_array(tasks))
    raw = as_array([_score(entry, task) for entry, task in zip(entries, tasks, strict=True)])
    scores, is_blank = numbers(raw)
    refusals.refuse(is_blank & is_score, "there is no score")
    refusals.refuse(~is_blank & ~np.isfinite(scores), "the score is not a number", raw)
    is_outside = (scores < spec.scale_low) | (scores > spec.scale_high)
    refusals.refuse(is_outside, f"the score is outside {spec.scale_low:g} to {spec.scale_high:g}", raw)
    shares = _shares(entries, is_score, spec.level_values, refusals)
    exchanges = [
        _said(entry.get("conversations")) if is_description else ("", "") for entry, is_description in zip(entries, is_text, strict=True)
    ]
    refusals.refuse(is_text & np.array([not answer for _, answer in exchanges], bool), "the description is empty")
    parts = [SCORE if task == SCORE else part_of(prompt) for task, (prompt, _) in zip(tasks, exchanges, strict=True)]
    others = dict.fromkeys(name for entry in entries for name in entry if name not in _OURS)
    table = blank(
        len(entries),
        artwork_id=images,
        score=pa.array(scores, pa.float64(), mask=np.isnan(scores)),
        votes=shares.to_array(len(entries)),
        **{
            part: pa.array([answer if kind == part else None for kind, (_, answer) in zip(parts, exchanges, strict=True)], pa.string())
            for part in (*CRITIQUE_PARTS, COMMENT)
        },
    )
    for name in others:
        if name not in table.column_names:
            values = as_array([entry.get(name) for entry in entries])
            table = table.append_column(name, given_splits(values, refusals) if name == SPLIT else values)
    if named := split_named(file.name):
        table = table.append_column(FILE_SPLIT, pa.array([named] * len(entries), pa.string()))
    return Rows([file.name], table, pa.array(parts, pa.string()), np.zeros(len(entries), np.int64), rows, refusals.reasons, [broken])


def _score(entry: Mapping[str, Any], task: Any) -> Any:
    """Return the score of an entry; of a score without `gt_score` what its id says: 'a.jpg->68.7'."""
    score, name = entry.get("gt_score"), entry.get("id")
    if score is None and task == SCORE and isinstance(name, str) and "->" in name:
        return name.rpartition("->")[2].strip()
    return score


def _shares(entries: Sequence[Mapping[str, Any]], is_score: np.ndarray, level_values: Sequence[float], refusals: Refusals) -> Votes:
    """Return the soft labels of the scores that have one."""
    found: list[tuple[float, float, int]] = []
    wrong = np.zeros(len(entries), bool)
    for row in np.flatnonzero(is_score).tolist():
        given = entries[row].get("level_probs")
        if given is None:
            continue
        is_list = isinstance(given, list) and len(given) == len(level_values) and all(type(share) in (int, float) for share in given)
        wrong[row] = not is_list or min(given) < 0 or not abs(sum(given) - 1) < _MAX_SUM_ERROR
        if not wrong[row]:
            found += [(value, share, row) for value, share in zip(level_values, given, strict=True) if share]
    shown = as_array([json.dumps(entry.get("level_probs")) for entry in entries])
    refusals.refuse(wrong, "level_probs are not five shares that add up to 1, best level first", shown)
    columns = np.array(found, np.float64).reshape(-1, 3)
    return Votes(columns[:, 0], columns[:, 1], columns[:, 2].astype(np.int64))


def part_of(prompt: str) -> str:
    """Return the part of a critique that a prompt asks for, by its name or else by its topics; a comment if it fits none or several."""
    for patterns in (_NAMES, _TOPICS):
        hits = {part: len(set(re.findall(pattern, prompt.lower()))) for part, pattern in patterns.items()}
        most = [part for part, num in hits.items() if num and num == max(hits.values())]
        if len(most) == 1 and (patterns is _TOPICS or sum(map(bool, hits.values())) == 1):
            return most[0]
        if any(hits.values()):
            return COMMENT
    return COMMENT


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _said(conversations: Any) -> tuple[str, str]:
    """Return what the human asked and what the model answered first; '' where there is nothing."""
    turns = [turn for turn in conversations if isinstance(turn, dict)] if isinstance(conversations, list) else []
    first: dict[Any, str] = {}
    for turn in turns:
        if isinstance(turn.get("value"), str):
            first.setdefault(turn.get("from"), turn["value"].strip())
    return first.get("human", ""), first.get("gpt", "")
