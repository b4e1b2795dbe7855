"""Annotations as tokenised examples: a prompt and the answer to learn, in the same template that inference uses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os.path import commonprefix
from typing import Any

import numpy as np
import torch

from artquant.core.prompts import IMAGE_PLACEHOLDER, Prompts
from artquant.core.schema import LEVELS
from artquant.model.chat import ChatProcessor
from artquant.model.processing import MPLUGOwl2Processor
from artquant.training.losses import IGNORE


@dataclass(frozen=True)
class Example:
    """ids (T,), labels (T,) with IGNORE up to the answer; where the level's token stands, or that of a verdict, else -1."""

    ids: list[int]
    labels: list[int]
    level_position: int = -1
    verdict_position: int = -1

    @property
    def num_answer_tokens(self) -> int:
        """Tokens that the cross-entropy counts: not the level's, nor a verdict's."""
        return sum(label != IGNORE for label in self.labels) - (self.level_position >= 0) - (self.verdict_position >= 0)


class ExampleBuilder:
    """Makes the examples of an artwork: one for its score, one for each of `parts` of which it has a text."""

    def __init__(self, processor: MPLUGOwl2Processor | ChatProcessor, prompts: Prompts, parts: Sequence[str], max_length: int):
        self.processor, self.prompts, self.parts, self.max_length = processor, prompts, tuple(parts), max_length
        asked = (prompts.score, *(prompts.by_part[part] for part in self.parts))
        self.prefixes = {prompt: processor.encode_prompt(prompt) for prompt in asked}
        self.words = {prompt: processor.encode_answer(prompt) for prompt in asked}

    def answer(self, prompt: str, answer: str, is_verdict: bool = False) -> Example:
        """Make the example of any prompt, and of an answer that begins with a space; a verdict is its first token."""
        self.prefixes[prompt], self.words[prompt] = self.processor.encode_prompt(prompt), self.processor.encode_answer(prompt)
        try:
            example = self._example(prompt, answer)
            start = next((place for place, label in enumerate(example.labels) if label != IGNORE), -1)  # -1: cut off before it
            return replace(example, verdict_position=start) if is_verdict else example
        finally:
            del self.prefixes[prompt], self.words[prompt]

    def examples(self, row: Mapping[str, Any]) -> list[Example]:
        """Make the examples of a row with `score` and the texts, any of which may be None."""
        made = []
        if row.get("score") is not None:
            level = str(self.prompts.scale.level(np.array([row["score"]]))[0])
            made.append(self._example(self.prompts.score, f" {level}.", is_score=True))
        texts = {part: (row.get(part) or "").strip() for part in self.parts}
        made += [self._example(self.prompts.by_part[part], f" {text}") for part, text in texts.items() if text]
        return made

    def _example(self, prompt: str, answer: str, is_score: bool = False) -> Example:
        """Tokenise the answer together with the text before it, as inference does, and end it with the end token.

        If its first token merges with the prompt's last one, the merged token belongs to the answer; a level's never merges.
        """
        prefix, before = self.prefixes[prompt], self.words[prompt]
        words = self.processor.encode_answer(prompt, answer)
        shared = len(commonprefix([before, words]))
        start = len(prefix) - (len(before) - shared)
        ids = (prefix[:start] + words[shared:] + [self.processor.tokenizer.eos_token_id])[: self.max_length]
        return Example(ids, [IGNORE] * start + ids[start:], start if is_score else -1)


@dataclass
class Batch:
    """Examples of B artworks, padded at the right. N examples of at most T tokens.

    pixels (B, S, S, 3) uint8; ids, labels (N, T) int64; mask (N, T) bool; artwork (N,) int64, to which an example belongs;
    level_positions, verdict_positions (N,) int64, -1 in other examples; targets (number of score examples, 5) float32; rows (B,) int64 of
    the data set.
    """

    pixels: torch.Tensor
    ids: torch.Tensor
    labels: torch.Tensor
    mask: torch.Tensor
    artwork: torch.Tensor
    level_positions: torch.Tensor
    verdict_positions: torch.Tensor
    targets: torch.Tensor
    rows: torch.Tensor

    def to(self, device: torch.device) -> "Batch":
        return Batch(**{name: tensor.to(device, non_blocking=True) for name, tensor in vars(self).items()})


def collate(
    rows: np.ndarray, examples: Sequence[Sequence[Example]], targets: np.ndarray, pixels: np.ndarray, is_there: np.ndarray
) -> Batch:
    """Collate `rows` (B,) of the data set, whose `examples` and soft labels `targets` (rows, 5) are given whole.

    A row without a picture teaches nothing: its labels are all ignored and it has no target, but it stays in the batch.
    """
    flat = [(number, example) for number, row in enumerate(rows) for example in examples[row]]
    longest = max((len(example.ids) for _, example in flat), default=1)
    ids = torch.zeros(len(flat), longest, dtype=torch.long)
    labels = torch.full((len(flat), longest), IGNORE)
    mask = torch.zeros(len(flat), longest, dtype=torch.bool)
    for i, (number, example) in enumerate(flat):
        stop = len(example.ids)
        ids[i, :stop], mask[i, :stop] = torch.tensor(example.ids), True
        if is_there[number]:
            labels[i, :stop] = torch.tensor(example.labels)
    return Batch(
        torch.from_numpy(pixels),
        ids,
        labels,
        mask,
        torch.tensor([number for number, _ in flat], dtype=torch.long),
        torch.tensor([example.level_position if is_there[number] else -1 for number, example in flat], dtype=torch.long),
        torch.tensor([example.verdict_position if is_there[number] else -1 for number, example in flat], dtype=torch.long),
        torch.from_numpy(targets[[rows[p] for p, example in flat if example.level_position >= 0 and is_there[p]]].astype(np.float32)),
        torch.from_numpy(np.where(is_there, rows, -1)),
    )


def vocabulary(rows: Sequence[Mapping[str, Any]], prompts: Prompts, parts: Sequence[str] = ()) -> list[str]:
    """Return the texts to train a tokenizer on: the critique's, which the model is asked for in any case, and those of `parts`."""
    asked = {part: prompt for part, prompt in prompts.by_part.items() if part in prompts.critique or part in parts}
    texts = [row[part] for row in rows for part in asked if row.get(part)]
    questions = [prompt.replace(IMAGE_PLACEHOLDER, " ") for prompt in (prompts.score, *asked.values())]
    return texts + (questions + [f" {level}." for level in LEVELS]) * 20
