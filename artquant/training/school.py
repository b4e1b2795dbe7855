"""Generated paintings as training data: rendered once, kept as small squares, tokenised with their prompts and answers."""

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import numpy as np
import torch

from artquant import images
from artquant.model.processing import MPLUGOwl2Processor
from artquant.paintings import Painting, jpeg, paint
from artquant.prompts import IMAGE_PLACEHOLDER, Prompts
from artquant.scale import estimate_distribution
from artquant.schema import CRITIQUE_PARTS, LEVELS
from artquant.training.losses import IGNORE

LONG_SIDES = (160, 224, 320)  # pixels; several sizes keep the school from being about one


def square(seed: int, size: int) -> np.ndarray:
    """One painting as the score job sees it: rendered, JPEG, decoded, padded, resized to (size, size, 3) uint8."""
    return images.load(jpeg(paint(seed), LONG_SIDES[seed % len(LONG_SIDES)], quality=90), size).pixels


def render_squares(seeds: range, size: int, path: Path) -> np.ndarray:
    """(N, size, size, 3) uint8, kept in the file `path` and read from there the next time."""
    if path.is_file():
        kept = np.load(path, mmap_mode="r")
        if kept.shape == (len(seeds), size, size, 3):
            return kept
    path.parent.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(os.cpu_count(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        squares = np.stack(list(pool.map(square, seeds, repeat(size), chunksize=64)))
    np.save(path, squares)
    return squares


@dataclass
class Lesson:
    """One tokenised prompt with its answer: ids (T,), labels (T,) with IGNORE up to the answer; where the level stands, or -1."""

    ids: list[int]
    labels: list[int]
    level_position: int = -1


class Tutor:
    """Makes the four lessons of a painting (score, then the critique's parts), in the very template that inference uses."""

    def __init__(self, processor: MPLUGOwl2Processor, prompts: Prompts):
        self.processor, self.prompts = processor, prompts
        self.prefixes = {prompt: processor.expand(processor.tokenize(prompt)) for prompt in (prompts.score, *prompts.critique.values())}

    def lessons(self, painting: Painting) -> list[Lesson]:
        level = str(self.prompts.scale.level(np.array([painting.score]))[0])
        score = self._lesson(self.prompts.score, f" {level}.")
        score.level_position = len(self.prefixes[self.prompts.score])
        return [score, *(self._lesson(self.prompts.critique[part], " " + getattr(painting, part)) for part in CRITIQUE_PARTS)]

    def _lesson(self, prompt: str, answer: str) -> Lesson:
        """The answer is tokenised together with the text behind the image, as inference does, and ends with the end token."""
        text = prompt.split(IMAGE_PLACEHOLDER)[1]
        prefix = self.prefixes[prompt]
        behind = len(self.processor.tokenize_text(text))
        ids = prefix[: len(prefix) - behind] + self.processor.tokenize_text(text + answer) + [self.processor.tokenizer.eos_token_id]
        assert ids[: len(prefix)] == prefix, "the answer's first token merges with the prompt"
        return Lesson(ids, [IGNORE] * len(prefix) + ids[len(prefix) :])


def soft_labels(paintings: list[Painting], prompts: Prompts, sigma: float = 1.0) -> np.ndarray:
    """(N, 5) float32 targets from the raters' means (ARTQUANT, section 3)."""
    return estimate_distribution(np.array([p.score for p in paintings]), sigma, prompts.scale).astype(np.float32)


def pad(lessons: list[Lesson]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """ids, labels, attention mask, each (N, T), padded at the right."""
    longest = max(len(lesson.ids) for lesson in lessons)
    ids = torch.zeros(len(lessons), longest, dtype=torch.long)
    labels = torch.full((len(lessons), longest), IGNORE)
    mask = torch.zeros(len(lessons), longest, dtype=torch.bool)
    for row, lesson in enumerate(lessons):
        stop = len(lesson.ids)
        ids[row, :stop], labels[row, :stop], mask[row, :stop] = torch.tensor(lesson.ids), torch.tensor(lesson.labels), True
    return ids, labels, mask


def batches(num: int, batch_size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Endless shuffled batches of indices; every epoch sees all of them, a short last batch is dropped."""
    while True:
        order = rng.permutation(num)
        yield from (order[i : i + batch_size] for i in range(0, num - batch_size + 1, batch_size))


def vocabulary(paintings: list[Painting], prompts: Prompts) -> list[str]:
    """Texts to train a tokenizer on."""
    texts = [text for p in paintings for text in (p.perception, p.cognition, p.emotion)]
    questions = [prompt.replace(IMAGE_PLACEHOLDER, " ") for prompt in (prompts.score, *prompts.critique.values())]
    return texts + (questions + [f" {level}." for level in LEVELS]) * 20
