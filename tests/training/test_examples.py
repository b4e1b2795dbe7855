"""Annotations as examples: what is asked, what is learnt of the answer, and how examples become a batch."""

from typing import Any

import numpy as np
import pytest
import torch

from artquant.core.prompts import IMAGE_PLACEHOLDER, Prompts
from artquant.core.schema import CRITIQUE_PARTS, LEVELS
from artquant.model import MPLUGOwl2ImageProcessor, MPLUGOwl2Processor
from artquant.training.examples import Example, ExampleBuilder, collate, vocabulary
from artquant.training.losses import IGNORE
from artquant.training.tokenizer import train_tokenizer
from tests.checkpoints import TEXTS

PROMPTS = Prompts()
ROW = {"score": 6.0, "perception": "  calm blue \n", "cognition": None, "emotion": "soft light"}


@pytest.fixture(scope="module")
def processor() -> MPLUGOwl2Processor:
    return MPLUGOwl2Processor(MPLUGOwl2ImageProcessor(28), train_tokenizer([*TEXTS, PROMPTS.score], 512), num_image_tokens=5)


@pytest.fixture(scope="module")
def builder(processor: MPLUGOwl2Processor) -> ExampleBuilder:
    return ExampleBuilder(processor, PROMPTS, CRITIQUE_PARTS, 1000)


def said(example: Example, processor: MPLUGOwl2Processor) -> str:
    """What is learnt, without the end token, which each answer has."""
    learnt = [label for label in example.labels if label != IGNORE]
    assert learnt[-1] == processor.tokenizer.eos_token_id and example.labels[-len(learnt) :] == learnt
    return processor.tokenizer.decode(learnt[:-1]).strip()


def test_an_artwork_is_an_example_for_its_score_and_one_for_each_text_that_it_has(builder, processor) -> None:
    score, perception, emotion = builder.examples(ROW)
    level = str(PROMPTS.scale.level(np.array([6.0]))[0])
    assert [said(one, processor) for one in (score, perception, emotion)] == [f"{level}.", "calm blue", "soft light"]
    for example, prompt in ((score, PROMPTS.score), (perception, PROMPTS.critique["perception"]), (emotion, PROMPTS.critique["emotion"])):
        prefix = processor.encode_prompt(prompt)
        assert example.ids[: len(prefix)] == prefix and example.labels[: len(prefix)] == [IGNORE] * len(prefix)
        assert example.labels[len(prefix) :] == example.ids[len(prefix) :]
    assert (perception.level_position, emotion.level_position) == (-1, -1)
    assert score.ids[score.level_position] == processor.level_token_ids(PROMPTS.score)[LEVELS.index(level)]


def test_only_the_parts_that_are_asked_for_are_learnt_and_a_row_may_have_nothing(processor) -> None:
    builder = ExampleBuilder(processor, PROMPTS, ("emotion",), 1000)
    assert [said(one, processor) for one in builder.examples({**ROW, "score": None})] == ["soft light"]
    assert [one.level_position >= 0 for one in builder.examples(ROW)] == [True, False]
    assert builder.examples({"perception": "calm"}) == []


def test_the_levels_token_is_not_among_those_that_the_cross_entropy_counts(builder) -> None:
    score, perception, _ = builder.examples(ROW)
    assert score.num_answer_tokens == len([label for label in score.labels if label != IGNORE]) - 1
    assert perception.num_answer_tokens == len([label for label in perception.labels if label != IGNORE])
    assert Example([4, 5], [IGNORE, 5], 0).num_answer_tokens == 0


def test_a_long_answer_is_cut_to_what_the_network_reads(processor, builder) -> None:
    whole = builder.examples(ROW)[1]
    cut = ExampleBuilder(processor, PROMPTS, CRITIQUE_PARTS, len(whole.ids) - 2).examples(ROW)[1]
    assert (cut.ids, cut.labels) == (whole.ids[:-2], whole.labels[:-2])


class Merging:
    """A tokenizer to which the prompt's last word and the answer's first are one token."""

    class tokenizer:
        eos_token_id = 99

    def encode_prompt(self, prompt: str) -> list[int]:
        return [1, -200, -200, 10, 11]

    def encode_answer(self, prompt: str, answer: str = "") -> list[int]:
        return [1, 10, 1112, 13] if answer else [1, 10, 11]


def test_a_token_that_merges_with_the_prompts_last_one_belongs_to_the_answer() -> None:
    processor: Any = Merging()
    example = ExampleBuilder(processor, PROMPTS, ("emotion",), 1000).examples({"emotion": "x"})[0]
    assert example.ids == [1, -200, -200, 10, 1112, 13, 99] and example.labels == [IGNORE] * 4 + [1112, 13, 99]


EXAMPLES = [
    [Example([1, 2, 3], [IGNORE, 2, 3], 1), Example([1, 4, 5, 6], [IGNORE, IGNORE, 5, 6])],
    [],
    [Example([7, 8], [IGNORE, 8], 1)],
]
TARGETS = np.arange(15, dtype=np.float64).reshape(3, 5)


def batch_of(rows: list[int], is_there: list[bool]):
    return collate(np.array(rows), EXAMPLES, TARGETS, np.full((len(rows), 2, 2, 3), 9, np.uint8), np.array(is_there))


def test_a_batch_is_padded_at_the_right_and_says_whose_each_example_is() -> None:
    batch = batch_of([2, 0, 1], [True, True, True])
    assert batch.ids.tolist() == [[7, 8, 0, 0], [1, 2, 3, 0], [1, 4, 5, 6]]
    assert batch.mask.tolist() == [[True, True, False, False], [True, True, True, False], [True] * 4]
    assert batch.labels.tolist() == [[IGNORE, 8, IGNORE, IGNORE], [IGNORE, 2, 3, IGNORE], [IGNORE, IGNORE, 5, 6]]
    assert batch.artwork.tolist() == [0, 1, 1] and batch.level_positions.tolist() == [1, 1, -1] and batch.rows.tolist() == [2, 0, 1]
    assert batch.targets.tolist() == TARGETS[[2, 0]].tolist()
    assert (batch.pixels.shape, batch.pixels.dtype) == ((3, 2, 2, 3), torch.uint8)
    assert {tensor.device.type for tensor in vars(batch.to(torch.device("meta"))).values()} == {"meta"}


def test_an_artwork_without_a_picture_stays_in_the_batch_and_teaches_nothing() -> None:
    batch = batch_of([2, 0], [True, False])
    assert batch.ids.tolist() == batch_of([2, 0], [True, True]).ids.tolist()
    assert batch.labels[1:].eq(IGNORE).all() and batch.level_positions.tolist() == [1, -1, -1]
    assert batch.targets.tolist() == TARGETS[[2]].tolist() and batch.rows.tolist() == [2, -1]


@pytest.mark.parametrize("rows", [[1], [2, 0, 1]])
def test_types_are_those_that_the_network_reads_whatever_a_batch_holds(rows: list[int]) -> None:
    batch = batch_of(rows, [True] * len(rows))
    names = ("ids", "labels", "artwork", "level_positions", "mask", "targets")
    assert [getattr(batch, name).dtype for name in names] == [torch.int64] * 4 + [torch.bool, torch.float32]


def test_artworks_of_which_nothing_is_known_make_an_empty_batch() -> None:
    batch = batch_of([1], [True])
    assert (batch.ids.shape, batch.labels.shape, batch.targets.shape) == ((0, 1), (0, 1), (0, 5)) and batch.rows.tolist() == [1]


def test_a_tokenizer_is_trained_on_the_texts_and_on_each_question_and_level() -> None:
    texts = vocabulary([ROW, {"perception": "grey"}], PROMPTS)
    assert texts[:3] == ["  calm blue \n", "soft light", "grey"]
    questions = [PROMPTS.score.replace(IMAGE_PLACEHOLDER, " "), *(one.replace(IMAGE_PLACEHOLDER, " ") for one in PROMPTS.critique.values())]
    assert texts[3:] == (questions + [f" {level}." for level in LEVELS]) * 20
