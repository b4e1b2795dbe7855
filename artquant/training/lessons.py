"""Annotations as tokenised lessons: a prompt and the answer that is to be learnt, in the very template that inference uses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os.path import commonprefix
from typing import Any

import numpy as np
import torch

from artquant.model.chat import ChatProcessor
from artquant.model.processing import MPLUGOwl2Processor
from artquant.prompts import IMAGE_PLACEHOLDER, Prompts
from artquant.schema import LEVELS
from artquant.training.losses import IGNORE


@dataclass(frozen=True)
class Lesson:
    """ids (T,), labels (T,) with IGNORE up to the answer; where the level's token stands, or -1 in a description."""

    ids: list[int]
    labels: list[int]
    level_position: int = -1

    @property
    def num_answer_tokens(self) -> int:
        """Tokens that the cross-entropy counts: not the level's."""
        return sum(label != IGNORE for label in self.labels) - (self.level_position >= 0)


class Tutor:
    """Makes the lessons of an artwork: one for its score, one for each of `parts` of which it has a text."""

    def __init__(self, processor: MPLUGOwl2Processor | ChatProcessor, prompts: Prompts, parts: Sequence[str], max_length: int):
        self.processor, self.prompts, self.parts, self.max_length = processor, prompts, tuple(parts), max_length
        asked = (prompts.score, *prompts.critique.values())
        self.prefixes = {prompt: processor.asked(prompt) for prompt in asked}
        self.words = {prompt: processor.words(prompt) for prompt in asked}

    def lessons(self, row: Mapping[str, Any]) -> list[Lesson]:
        """Of a row with `score` and the texts, any of which may be None."""
        made = []
        if row.get("score") is not None:
            level = str(self.prompts.scale.level(np.array([row["score"]]))[0])
            made.append(self._lesson(self.prompts.score, f" {level}.", is_score=True))
        made += [self._lesson(self.prompts.critique[part], f" {row[part].strip()}") for part in self.parts if row.get(part)]
        return made

    def _lesson(self, prompt: str, answer: str, is_score: bool = False) -> Lesson:
        """The answer is tokenised together with the text before it, as inference does, and ends with the end token.

        Where its first token merges with the prompt's last one, the merged one is the answer's; a level's never does.
        """
        prefix, before = self.prefixes[prompt], self.words[prompt]
        words = self.processor.words(prompt, answer)
        shared = len(commonprefix([before, words]))
        start = len(prefix) - (len(before) - shared)
        ids = (prefix[:start] + words[shared:] + [self.processor.tokenizer.eos_token_id])[: self.max_length]
        return Lesson(ids, [IGNORE] * start + ids[start:], start if is_score else -1)


@dataclass
class Batch:
    """Lessons of B artworks, padded at the right. N lessons of at most T tokens.

    pixels (B, S, S, 3) uint8; ids, labels (N, T) int64; mask (N, T) bool; artwork (N,) int64, to which a lesson belongs;
    level_positions (N,) int64, -1 in a description; targets (number of score lessons, 5) float32; rows (B,) int64 of the data set.
    """

    pixels: torch.Tensor
    ids: torch.Tensor
    labels: torch.Tensor
    mask: torch.Tensor
    artwork: torch.Tensor
    level_positions: torch.Tensor
    targets: torch.Tensor
    rows: torch.Tensor

    def to(self, device: torch.device) -> "Batch":
        return Batch(**{name: tensor.to(device, non_blocking=True) for name, tensor in vars(self).items()})


def collate(rows: np.ndarray, lessons: Sequence[Sequence[Lesson]], targets: np.ndarray, pixels: np.ndarray, is_there: np.ndarray) -> Batch:
    """`rows` (B,) of the data set, whose `lessons` and soft labels `targets` (rows, 5) are given whole.

    What has no picture teaches nothing: its labels are all ignored and it has no target, but it stays in the batch.
    """
    flat = [(place, lesson) for place, row in enumerate(rows) for lesson in lessons[row]]
    longest = max((len(lesson.ids) for _, lesson in flat), default=1)
    ids = torch.zeros(len(flat), longest, dtype=torch.long)
    labels = torch.full((len(flat), longest), IGNORE)
    mask = torch.zeros(len(flat), longest, dtype=torch.bool)
    for i, (place, lesson) in enumerate(flat):
        stop = len(lesson.ids)
        ids[i, :stop], mask[i, :stop] = torch.tensor(lesson.ids), True
        if is_there[place]:
            labels[i, :stop] = torch.tensor(lesson.labels)
    return Batch(
        torch.from_numpy(pixels),
        ids,
        labels,
        mask,
        torch.tensor([place for place, _ in flat], dtype=torch.long),
        torch.tensor([lesson.level_position if is_there[place] else -1 for place, lesson in flat], dtype=torch.long),
        torch.from_numpy(targets[[rows[p] for p, lesson in flat if lesson.level_position >= 0 and is_there[p]]].astype(np.float32)),
        torch.from_numpy(np.where(is_there, rows, -1)),
    )


def vocabulary(rows: Sequence[Mapping[str, Any]], prompts: Prompts) -> list[str]:
    """Texts to train a tokenizer on."""
    texts = [row[part] for row in rows for part in prompts.critique if row.get(part)]
    questions = [prompt.replace(IMAGE_PLACEHOLDER, " ") for prompt in (prompts.score, *prompts.critique.values())]
    return texts + (questions + [f" {level}." for level in LEVELS]) * 20
