"""Models that do not answer with the five levels: score words of their own (ArtiMuse, UniPercept), and numbers that they write."""

import hashlib
import json

import numpy as np
import pytest
import torch

from artquant.config import EngineSpec, ScoreSpec
from artquant.core.errors import Reject, UserError
from artquant.core.prompts import Prompts, WrittenScore
from artquant.core.schema import LEVELS, RejectClass
from artquant.engines.halving import assess_each
from artquant.engines.open import open_engine, resolve
from artquant.engines.written import Unread, read_number
from artquant.model.checkpoint import Checkpoint
from tests.chat_checkpoints import MARKED, byte_level_tokenizer, save_chat_checkpoint
from tests.checkpoints import save_random_checkpoint
from tests.engines.test_chat_backbone import pictures
from tests.recipes import recipe_for

WORDS = {"sea": 0.0, "dusk": 30.0, "blue": 50.0, "calm": 55.5, "soft": 90.0, "light": 100.0}
LEVEL_VALUES = (100.0, 75.0, 50.0, 25.0, 0.0)


@pytest.fixture(scope="module", autouse=True)
def small_products(one_thread) -> None:
    """All of these."""


def open_one(folder):
    checkpoint = Checkpoint.open(str(folder))
    engine = open_engine(resolve(EngineSpec(num_workers=1), checkpoint.is_mplug_owl2), checkpoint)
    torch.set_num_threads(1)
    return engine


@pytest.mark.parametrize("save", [save_random_checkpoint, save_chat_checkpoint], ids=["mPLUG-Owl2", "LLaVA"])
def test_a_score_is_the_mean_of_a_checkpoints_own_words(save, tmp_path):
    engine = open_one(save(tmp_path, score_words=WORDS, level_values=LEVEL_VALUES))
    images = pictures(6)
    found = engine.assess(images)
    processor = engine.processor
    ids = [processor.encode_answer(engine.prompts.score, f" {word}")[-1] for word in WORDS]
    assert [processor.tokenizer.decode([i], skip_special_tokens=True).strip() for i in ids] == list(WORDS)
    # The five levels' ids would be others: the same engine reads its words' logits, to the digit.
    five = open_one(save(tmp_path / "five", level_values=LEVEL_VALUES))
    five.level_ids, five.shares = torch.tensor(ids), np.eye(len(ids))
    words = five.assess(images)
    assert words.probabilities.shape == (6, 6) and np.allclose(words.probabilities.sum(1), 1)
    assert np.allclose(found.probabilities @ LEVEL_VALUES, words.probabilities @ list(WORDS.values()), atol=1e-9)
    assert np.array_equal(found.open_set_mass, words.open_set_mass) and found.probabilities.shape == (6, 5)
    assert np.ptp(found.probabilities @ LEVEL_VALUES) > 1


def writer(folder, **asked):
    """A model whose answers are figures and ends, at random."""
    tokenizer = byte_level_tokenizer()
    save_chat_checkpoint(folder, tokenizer, MARKED, written_score=WrittenScore(**asked))
    engine = open_one(folder)
    said = [tokenizer.convert_tokens_to_ids(token) for token in ("7", "8", "9", ".", "<|end|>")]
    with torch.no_grad():
        weights = engine.model.lm_head.weight
        rows = weights[said].clone() / weights[said].norm(dim=1, keepdim=True)
        weights.zero_()
        weights[said] = rows
        hidden = engine.model.lm_head.register_forward_hook(
            lambda layer, inputs, logits: 1.5 * logits / logits.norm(dim=-1, keepdim=True) + 20 * (weights.abs().sum(1) > 0)
        )
    return engine, hidden


def test_a_written_score_is_the_mean_of_what_was_read_and_depends_on_its_picture_alone(tmp_path):
    engine, _ = writer(tmp_path, samples=12, temperature=0.8, max_tokens=5)
    images = pictures(8)
    together = assess_each(engine, images, critique=False)
    alone = [assess_each(engine, image[None], critique=False)[0] for image in images]
    texts = []
    for image in images:  # as transformers samples, with the same seed
        seen = engine._look(np.repeat(image[None], 12, 0))
        torch.manual_seed(int.from_bytes(hashlib.sha256(image.tobytes()).digest()[:7]))
        asked = engine._ask(engine.prompts.score, 12)
        rows = engine.model.generate(**asked, **seen, do_sample=True, temperature=0.8, top_k=0, max_new_tokens=5)
        texts.append([engine.processor.tokenizer.decode(row, skip_special_tokens=False) for row in rows[:, asked["input_ids"].shape[1] :]])
    scores = 0
    for one, other, said in zip(together, alone, texts, strict=True):
        read = [read_number(text.split("<|end|>")[0], engine.scale, "<|end|>" in text) for text in said]
        numbers = [number for number in read if not isinstance(number, Unread)]
        if len(numbers) < 6:
            assert isinstance(one, Reject) and one.reject_class == RejectClass.BAD_SCORES and one.message == other.message
            assert one.message.startswith("of 12 answers, ") and "; the first: " in one.message
            continue
        scores += 1
        for assessment, row in (one, other):
            assert assessment.probabilities[row] @ engine.scale.values == pytest.approx(np.mean(numbers))
            assert assessment.open_set_mass[row] == len(numbers) / 12
    assert scores > 0
    assert len({text for said in texts for text in said}) > 20


def test_one_answer_is_the_likeliest(tmp_path):
    engine, _ = writer(tmp_path, samples=1, max_tokens=5)
    images = pictures(2)
    state = torch.get_rng_state()
    first, again = engine.assess(images), engine.assess(images)
    assert np.array_equal(first.probabilities, again.probabilities, equal_nan=True) and torch.equal(torch.get_rng_state(), state)


def test_what_decides_the_score_is_in_its_identity_and_travels_with_the_checkpoint(tmp_path):
    one = [Prompts(), Prompts(score_words={"a": 1.0, "b": 10.0}), Prompts(score_words={"a": 1.0, "b": 9.0})]
    one += [Prompts(written_score=WrittenScore()), Prompts(written_score=WrittenScore(samples=9))]
    assert len({prompts.digest for prompts in one}) == 5
    for prompts in one:
        prompts.save(tmp_path)
        assert Prompts.load(tmp_path) == prompts
    (tmp_path / "artquant.json").write_text(json.dumps({"written_score": {"samples": 4}}))
    assert Prompts.load(tmp_path) == Prompts(written_score=WrittenScore(samples=4)) and Prompts().words == LEVELS


@pytest.mark.parametrize(
    ("prompts", "sentence"),
    [
        ({"score_words": {"sea": 0.0, "dusk": 5.0}}, "scores must lie within 1..10"),
        ({"score_words": {"sea": 5.0}}, "score_words are two or more"),
        ({"score_words": {"sea": 5.0, "dusk": 6.0}, "written_score": {}}, "does not write its score"),
        ({"written_score": {"samples": 0}}, "samples and max_tokens from 1 on"),
        ({"score_words": {"painting of": 2.0, "dusk": 3.0}}, "no single token for the level painting of"),
        ({"written_score": {"samples": 2}}, "for other backbones than mPLUG-Owl2"),
    ],
)
def test_what_cannot_be_read_off_is_refused_with_a_sentence(tmp_path, prompts, sentence):
    folder = save_random_checkpoint(tmp_path / "model")
    (folder / "artquant.json").write_text(json.dumps(prompts))
    with pytest.raises(UserError) as error:
        recipe_for(ScoreSpec(model=str(folder)))
    assert sentence in str(error.value) and str(error.value).startswith(f"The model {folder} cannot be used: ")


@pytest.mark.parametrize("asked", [{"score_words": {"sea": 5.0, "dusk": 6.0}}, {"written_score": WrittenScore()}])
def test_a_model_with_words_of_its_own_is_not_trained(tmp_path, asked, monkeypatch):
    from artquant.cli.train import parent_of
    from artquant.config import TrainSpec

    monkeypatch.setattr("artquant.engines.recipe.check_usable", lambda checkpoint: None)
    folder = save_random_checkpoint(tmp_path / "model", **asked)
    with pytest.raises(UserError, match="it can score, not learn"):
        parent_of(TrainSpec(model=str(folder)))
