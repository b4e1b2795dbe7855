"""Descriptions' likelihoods are those of the plain network, one artwork and one token at a time."""

import numpy as np
import pytest
import torch

from artquant.core.schema import CRITIQUE_PARTS
from artquant.engines.theory import TheoryEngine
from artquant.engines.torch_engine import TorchEngine
from artquant.model.checkpoint import Checkpoint
from artquant.model.vision import normalise
from tests.checkpoints import random_config, save_random_checkpoint

DESCRIPTIONS = [
    {"perception": "A calm sea.", "cognition": "The painting of a boat at dusk.", "emotion": "Soft light"},
    {"perception": "grey", "cognition": "  quality of the sea, in blue and grey , with light\n", "emotion": "Ünfit — 海"},
    {"perception": "good good good fair poor bad " * 3, "cognition": "x", "emotion": "calm"},
]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def theory(tmp_path_factory) -> TheoryEngine:
    folder = save_random_checkpoint(tmp_path_factory.mktemp("checkpoint"), random_config(max_position_embeddings=400), scale=4.0)
    return TheoryEngine(TorchEngine.load(Checkpoint.open(str(folder))))


def pictures(num: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num, 56, 56, 3), dtype=np.uint8)


@torch.inference_mode()
def next_token(theory: TheoryEngine, ids: list[int], picture: np.ndarray | None) -> torch.Tensor:
    """(vocabulary,) log probabilities behind `ids`, the whole sequence in one pass, no batch and no padding."""
    row = torch.tensor([ids])
    features = None if picture is None else theory.model.get_image_features(normalise(torch.from_numpy(picture[None])))
    hidden = theory.model.model.hidden(theory.model.model.embed(row, features), row == theory.engine.config.image_token_index)
    return theory.model.lm_head(hidden)[0, -1].double().log_softmax(-1)


def plain_nll(theory: TheoryEngine, picture: np.ndarray, description: dict[str, str]) -> tuple[float, int]:
    total, num_tokens = 0.0, 0
    for part in CRITIQUE_PARTS:
        prompt = theory.engine.prompts.critique[part]
        question = theory.processor.expand(theory.processor.tokenize(prompt))
        whole = theory.processor.expand(theory.processor.tokenize(f"{prompt} {description[part].strip()}"))
        answer = [*whole[len(question) :], theory.engine.config.eos_token_id]
        assert whole[: len(question)] == question
        for i, token in enumerate(answer):
            total -= float(next_token(theory, question + answer[:i], picture)[token])
        num_tokens += len(answer)
    return total, num_tokens


def test_a_descriptions_likelihood_is_that_of_its_tokens_one_by_one(theory):
    images = pictures(3)
    nll, num_tokens = theory.description_nll(images, DESCRIPTIONS)
    for image, description, total, count in zip(images, DESCRIPTIONS, nll, num_tokens, strict=True):
        expected, tokens = plain_nll(theory, image, description)
        assert count == tokens
        assert total == pytest.approx(expected, rel=1e-5)
    assert len(set(np.round(nll, 3))) == 3


def test_the_likelihood_depends_on_the_image_and_on_nothing_else_in_the_batch(theory):
    images, description = pictures(3), DESCRIPTIONS[0]
    together, _ = theory.description_nll(images, [description] * 3)
    assert np.ptp(together) > 0.01
    alone = [theory.description_nll(images[i : i + 1], [description])[0][0] for i in range(3)]
    assert np.allclose(together, alone, rtol=1e-5)
    mixed, _ = theory.description_nll(images, [DESCRIPTIONS[2], description, DESCRIPTIONS[1]])
    assert mixed[1] == pytest.approx(together[1], rel=1e-5)


def test_logits_in_small_portions_change_nothing(theory, monkeypatch):
    images = pictures(3)
    whole, _ = theory.description_nll(images, DESCRIPTIONS)
    monkeypatch.setattr("artquant.engines.theory._LOGIT_ROWS", 7)
    assert np.allclose(theory.description_nll(images, DESCRIPTIONS)[0], whole, rtol=1e-6)


def test_answers_are_tokenised_as_training_tokenises_them(theory):
    from artquant.training.examples import ExampleBuilder

    builder = ExampleBuilder(theory.processor, theory.engine.prompts, CRITIQUE_PARTS, max_length=10_000)
    for description in DESCRIPTIONS:
        for part, example in zip(CRITIQUE_PARTS, builder.examples(description), strict=True):
            ids, start = theory._with_answer(part, description[part])
            assert ids == example.ids and len(ids) - start == example.num_answer_tokens


def test_texts_without_room_in_the_network_are_told_apart(theory):
    long = {**DESCRIPTIONS[0], "emotion": "calm sea " * 400}
    assert [theory.fits(description) for description in (DESCRIPTIONS[0], long)] == [True, False]
