"""The torch engines as players: an answer depends on its own picture and question, and yes is weighed against no."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from artquant.config import PlayerSpec
from artquant.core.errors import Reject
from artquant.core.prompts import Prompts
from artquant.core.schema import RejectClass
from artquant.descriptions import Request
from artquant.descriptions.local import LocalPlayer, prompt_of
from artquant.descriptions.purse import Limit, Purse
from artquant.engines.answering import Answering, _first_ids, open_answering
from artquant.engines.torch_engine import TorchEngine
from artquant.model import MPLUGOwl2Processor
from artquant.model.checkpoint import Checkpoint
from artquant.storage.store import open_store
from artquant.training.tokenizer import train_tokenizer
from tests.chat_checkpoints import save_chat_checkpoint
from tests.checkpoints import TEXTS, save_random_checkpoint

QUESTIONS = ("What is blue?", "Is this calm painting of the sea good or bad, and by whom is it?", "A sea?")


@pytest.fixture(scope="module", params=["mplug_owl2", "chat"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("model") / request.param
    tokenizer = train_tokenizer([*TEXTS, Prompts().score, *["yes no Yes No"] * 50], 480)
    if request.param == "chat":
        return Checkpoint.open(str(save_chat_checkpoint(folder, tokenizer, max_critique_tokens=12)))
    save_random_checkpoint(folder, max_critique_tokens=12)
    processor = MPLUGOwl2Processor.from_pretrained(folder)
    processor.tokenizer = tokenizer
    processor.save_pretrained(folder)
    return Checkpoint.open(str(folder))


@pytest.fixture(scope="module")
def engine(checkpoint: Checkpoint) -> Answering:
    return open_answering(checkpoint, "cpu", "float32")


def pictures(size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (3, size, size, 3), np.uint8)


def asked(question: str, form: str = "text") -> str:
    return prompt_of(Request("a", question, np.zeros(0), "c", form))  # type: ignore[arg-type]


def test_an_answer_does_not_depend_on_the_others_of_its_batch(engine: Answering):
    prompts, pixels = [asked(question) for question in QUESTIONS], pictures(engine.image_size)
    for temperature in (0.0, 0.8):
        together = engine.answer(prompts, pixels, 12, temperature, (3, 4, 5))
        for i, prompt in enumerate(prompts):
            (alone,) = engine.answer([prompt], pixels[i : i + 1], 12, temperature, ((3, 4, 5)[i],))
            assert (alone.text, alone.is_cut_off, alone.num_tokens, alone.num_prompt_tokens) == (
                together[i].text,
                together[i].is_cut_off,
                together[i].num_tokens,
                together[i].num_prompt_tokens,
            )
            assert alone.probability == pytest.approx(together[i].probability, abs=1e-4) and 0 < alone.probability < 1


def test_another_seed_draws_another_answer_and_the_same_the_same(engine: Answering):
    prompts, pixels = [asked(QUESTIONS[0])] * 2, pictures(engine.image_size)[[0, 0]]
    one, other = engine.answer(prompts, pixels, 12, 1.5, (1, 2))
    again, _ = engine.answer(prompts, pixels, 12, 1.5, (1, 2))
    assert one.text != other.text and again == one


def test_the_critiques_question_gets_the_critiques_answer(tmp_path: Path):
    checkpoint = Checkpoint.open(str(save_random_checkpoint(tmp_path / "model", max_critique_tokens=8)))
    engine = open_answering(checkpoint, "cpu", "float32")
    pixels = pictures(engine.image_size)
    critiques = TorchEngine.load(checkpoint).assess(pixels, critique=True).critiques
    for part, prompt in checkpoint.prompts.critique.items():
        assert [one.text for one in engine.answer([prompt] * 3, pixels, 8, 0.0, (0, 0, 0))] == [one[part] for one in critiques if one]


def test_a_checkpoint_plays_within_the_budget(checkpoint: Checkpoint, tmp_path: Path):
    player = LocalPlayer(PlayerSpec(picture_tokens=100), checkpoint, "cpu", "float32")
    requests = [
        Request(str(i), question, pixels, "c", "verdict" if i else "text")
        for i, (question, pixels) in enumerate(zip(QUESTIONS, pictures(player.image_size), strict=True))
    ]
    kept: list[Request] = []
    answers = player.ask(requests, Purse(open_store(f"file:{tmp_path}"), Limit()), lambda request, answer: kept.append(request))
    assert [answer.probability is None for answer in answers if not isinstance(answer, Reject)] == [True, False, False]
    assert sorted(request.artwork_id for request in kept) == ["0", "1", "2"]
    poor = Purse(open_store(f"file:{tmp_path}/poor"), Limit(tokens=150))
    refused = [one for one in player.ask(requests, poor, lambda *_: None) if isinstance(one, Reject)]
    assert {one.reject_class for one in refused} == {RejectClass.BUDGET} and len(refused) >= 2 and poor.tokens <= 150


def test_yes_and_no_are_read_where_they_part_right_behind_the_prompt():
    def spelled(prompt: str, answer: str) -> list[int]:
        return [0, *(ord(letter) for letter in answer.strip())]

    assert _first_ids("Fits? ASSISTANT:", spelled) == {True: [ord("y"), ord("Y")], False: [ord("n"), ord("N")]}

    def split(prompt: str, answer: str) -> list[int]:  # a capital has a mark before it, as in artquant-tiny's tokenizer
        return [0, *([1] if answer.strip()[:1].isupper() else []), *(ord(letter) for letter in answer.strip())]

    assert _first_ids("Fits? ASSISTANT:", split) == {True: [ord("y")], False: [ord("n")]}
    assert _first_ids("Fits? ASSISTANT:", lambda prompt, answer: [0, 1, *map(ord, answer)]) == {True: [], False: []}


def test_a_verdict_as_json_is_begun_so_that_its_word_comes_next():
    question = 'Fits? {"agrees": "yes" or "no"}'
    assert asked(question, "verdict").endswith('ASSISTANT: {"agrees": "')
    assert asked("Fits?", "verdict").endswith("ASSISTANT:") and asked(question).endswith("ASSISTANT:")
