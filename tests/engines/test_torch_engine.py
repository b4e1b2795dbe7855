"""The engine's shortcuts (static prompts, one pass of the vision tower, batches that shrink) change no answer."""

import numpy as np
import pytest
import torch
from transformers import LlamaTokenizer

from artquant.core.prompts import Prompts
from artquant.core.schema import CRITIQUE_PARTS, LEVELS
from artquant.engines import FREQUENCY_PENALTY, MIN_TOKENS
from artquant.engines.torch_engine import TorchEngine
from artquant.model.checkpoint import Checkpoint
from artquant.model.vision import normalise
from tests.checkpoints import random_config, save_random_checkpoint

UNEVEN = {
    "perception": "Light?\n<|image|> ASSISTANT:",
    "cognition": "USER: What is the subject of this calm painting of the sea, and how was it made?\n<|image|> ASSISTANT:",
    "emotion": "USER: Mood?\n<|image|> ASSISTANT:",
}
SHAPES = {  # `end` times the usual weight of the end token: answers end at many different steps, some not at all
    "grouped heads": dict(config={}, end=1.5, prompts=dict(max_critique_tokens=12)),
    "a head for each key, uneven prompts": dict(
        config=dict(num_attention_heads=4, num_key_value_heads=4, num_hidden_layers=2),
        end=3.0,
        prompts=dict(max_critique_tokens=9, critique=UNEVEN, score="Good?\n<|image|> It is", level_values=(5.0, 4.0, 3.0, 2.0, 1.0)),
    ),
}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module", params=SHAPES.values(), ids=SHAPES)
def shape(request):
    return request.param


@pytest.fixture(scope="module")
def checkpoint(shape, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    return Checkpoint.open(str(save_random_checkpoint(folder, random_config(**shape["config"]), **shape["prompts"])))


@pytest.fixture(scope="module")
def engine(checkpoint):
    return TorchEngine.load(checkpoint)


@pytest.fixture(scope="module")
def ending_engine(checkpoint, shape):
    """An engine whose answers end by themselves, some soon and some late."""
    model = checkpoint.load_model(torch.float32)
    with torch.no_grad():
        model.lm_head.weight[model.config.eos_token_id] *= shape["end"]
    return TorchEngine(model, checkpoint.load_processor(), checkpoint.prompts)


def pictures(num: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num, 56, 56, 3), dtype=np.uint8)


@torch.inference_mode()
def next_logits(engine, prompt: str, picture: np.ndarray, answer: list[int] | None = None) -> torch.Tensor:
    """(vocabulary,) logits of the whole sequence in one pass: no cache, no padding, no batch."""
    ids = engine.processor.expand(engine.processor.tokenize(prompt)) + (answer or [])
    row = torch.tensor([ids])
    embeds = engine.model.model.embed(row, engine.model.get_image_features(normalise(torch.from_numpy(picture[None]))))
    return engine.model.lm_head(engine.model.model.hidden(embeds, row == engine.config.image_token_index))[0, -1]


def plain_critique(engine, prompt: str, picture: np.ndarray, penalty: float = 0.0, min_tokens: int = 0) -> tuple[str, bool]:
    """Greedy decoding, token by token; the text and whether it ended by itself."""
    answer: list[int] = []
    while len(answer) < engine.prompts.max_critique_tokens:
        logits = next_logits(engine, prompt, picture, answer).clone()
        logits -= penalty * torch.bincount(torch.tensor(answer, dtype=torch.long), minlength=len(logits))
        if len(answer) < min_tokens:
            logits[engine.config.eos_token_id] = -torch.inf
        token = int(logits.argmax())
        if token == engine.config.eos_token_id:
            return engine.processor.tokenizer.decode(answer, skip_special_tokens=False).strip(), True
        answer.append(token)
    return engine.processor.tokenizer.decode(answer, skip_special_tokens=False).strip(), False


def assert_plain_critiques(engine, images: np.ndarray) -> list[bool]:
    """Each part of each image is what plain decoding gives; returns which images ended by themselves in all parts."""
    assessment = engine.assess(images, critique=True)
    ended = []
    for image, critique, status in zip(images, assessment.critiques, assessment.critique_statuses, strict=True):
        plain = {part: plain_critique(engine, engine.prompts.critique[part], image) for part in CRITIQUE_PARTS}
        assert critique == {part: text for part, (text, _) in plain.items()}
        ended.append(all(end for _, end in plain.values()))
        assert status == ("ok" if ended[-1] else "truncated")
    return ended


def test_scores_are_those_of_the_whole_prompt_without_any_cache(engine):
    images = pictures(5)
    assessment = engine.assess(images)
    assert assessment.probabilities.shape == (5, 5) and assessment.probabilities.dtype == np.float64
    assert np.allclose(assessment.probabilities.sum(1), 1, atol=1e-12)
    level_ids = [engine.processor.tokenize_text(f"{engine.prompts.score.split('<|image|>')[1]} {level}")[-1] for level in LEVELS]
    for image, probabilities, mass in zip(images, assessment.probabilities, assessment.open_set_mass, strict=True):
        logits = next_logits(engine, engine.prompts.score, image)
        assert np.allclose(probabilities, logits[level_ids].softmax(-1).numpy(), atol=1e-5)
        assert mass == pytest.approx(logits.softmax(-1)[level_ids].sum().item(), abs=1e-5, rel=1e-4)
    assert np.ptp(assessment.probabilities, axis=0).max() > 0.02  # the images do not all look alike to it
    assert engine.scale.values == tuple(engine.prompts.level_values)


def test_an_image_gets_the_same_answer_alone_and_in_any_batch(engine):
    images = pictures(7)
    whole = engine.assess(images, critique=True)
    for rows in ([0], [6], [3, 4], [6, 5, 4, 3, 2, 1, 0], [2, 2, 2], [1, 0, 5, 5]):
        part = engine.assess(images[rows], critique=True)
        assert np.allclose(part.probabilities, whole.probabilities[rows], atol=1e-5)
        assert np.allclose(part.open_set_mass, whole.open_set_mass[rows], atol=1e-5)
        assert part.critiques == [whole.critiques[row] for row in rows]
        assert part.critique_statuses == [whole.critique_statuses[row] for row in rows]
    assert len({str(critique) for critique in whole.critiques}) > 1


def test_two_runs_give_the_same_numbers_to_the_bit(engine):
    a, b = (engine.assess(pictures(4), critique=True) for _ in range(2))
    assert np.array_equal(a.probabilities, b.probabilities) and np.array_equal(a.open_set_mass, b.open_set_mass)
    assert a.critiques == b.critiques


def test_the_critique_does_not_change_the_score(engine):
    images = pictures(3)
    assert np.array_equal(engine.assess(images).probabilities, engine.assess(images, critique=True).probabilities)


def test_no_critique_is_written_that_was_not_asked_for(engine):
    assessment = engine.assess(pictures(2))
    assert assessment.critiques == [None, None] and assessment.critique_statuses == ["not_requested"] * 2


def test_critiques_are_those_of_plain_decoding_though_the_prompts_differ_in_length(engine):
    assert len(set(engine.critique_prompts.is_token.sum(1).tolist())) == 3
    assert_plain_critiques(engine, pictures(3))


def test_critiques_that_end_at_different_steps_are_those_of_plain_decoding(ending_engine):
    ended = assert_plain_critiques(ending_engine, pictures(10))
    assert 0 < sum(ended) < 10  # some are ok, some truncated


def test_a_second_try_is_plain_decoding_with_a_penalty_whatever_its_company(ending_engine):
    images, prompts = pictures(6), Prompts(**{**vars(ending_engine.prompts), "max_critique_tokens": 20})
    engine = TorchEngine(ending_engine.model, ending_engine.processor, prompts)
    critiques, statuses = engine.rewrite(images)
    for image, critique, status in zip(images, critiques, statuses, strict=True):
        plain = {part: plain_critique(engine, prompts.critique[part], image, FREQUENCY_PENALTY, MIN_TOKENS) for part in CRITIQUE_PARTS}
        assert critique == {part: text for part, (text, _) in plain.items()}
        assert status == ("ok" if all(end for _, end in plain.values()) else "truncated")
    assert critiques != engine.assess(images, critique=True).critiques
    assert engine.rewrite(images[[4, 1]])[0] == [critiques[4], critiques[1]]


def test_a_critique_that_always_ends_is_ok_and_empty(checkpoint):
    model = checkpoint.load_model(torch.float32)
    with torch.no_grad():
        model.model.norm.weight.zero_()  # all logits are equal: the smallest id that may be written wins
    model.config.eos_token_id = 1  # 0 is the placeholder of an image, which no answer may hold
    engine = TorchEngine(model, checkpoint.load_processor(), checkpoint.prompts)
    assessment = engine.assess(pictures(2), critique=True)
    assert assessment.critiques == [dict.fromkeys(CRITIQUE_PARTS, "")] * 2 and assessment.critique_statuses == ["ok", "ok"]


@pytest.mark.parametrize("room", [1, 4])
def test_a_critique_stops_at_max_critique_tokens_and_says_so(checkpoint, engine, room):
    document = {**vars(checkpoint.prompts), "max_critique_tokens": room}
    short = TorchEngine(engine.model, engine.processor, Prompts(**document))
    decoded = []
    tokenizer = short.processor.tokenizer
    with pytest.MonkeyPatch.context() as patch:
        decode = tokenizer.decode
        patch.setattr(tokenizer, "decode", lambda tokens, **kwargs: decoded.append(tokens) or decode(tokens, **kwargs))
        assessment = short.assess(pictures(2), critique=True)
    assert [len(tokens) for tokens in decoded] == [room] * 6
    assert assessment.critique_statuses == ["truncated"] * 2


class Counter:
    """Positions that pass through a module, and calls of it, while this is open."""

    def __init__(self, module):
        self.calls = self.rows = self.positions = 0
        self.hook = module.register_forward_pre_hook(self.count)

    def count(self, module, args):
        self.calls += 1
        self.rows += len(args[0])
        self.positions += args[0].shape[:2].numel()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.hook.remove()


def test_the_prompt_before_the_image_is_never_read_again(engine):
    suffix, image = len(engine.score_prompt.suffix), engine.config.num_image_tokens
    for num in (1, 4):
        with Counter(engine.model.model.layers[0]) as layer, Counter(engine.model.model.embed_tokens) as tokens:
            engine.assess(pictures(num))
        assert layer.calls == 1 and layer.positions == num * (image + suffix)
        assert tokens.calls == 0
    prompt = engine.processor.tokenize(engine.prompts.score)
    assert suffix == len(prompt) - 1 - prompt.index(-200)


def test_the_critique_reads_each_image_and_then_one_position_a_token(engine):
    num, room = 4, engine.prompts.max_critique_tokens
    image, score, critique = engine.config.num_image_tokens, len(engine.score_prompt.suffix), len(engine.critique_prompts.suffix)
    with Counter(engine.model.model.layers[0]) as layer:
        assessment = engine.assess(pictures(num), critique=True)
    assert assessment.critique_statuses == ["truncated"] * num
    assert layer.positions == num * (image + score) + 3 * num * (image + critique + room - 1)


def test_rows_that_have_ended_are_not_read_on_for_ever(ending_engine):
    engine, num, room = ending_engine, 10, ending_engine.prompts.max_critique_tokens
    with Counter(engine.model.model.embed_tokens) as tokens:
        engine.assess(pictures(num), critique=True)
    assert tokens.rows < 0.95 * 3 * num * (room - 1)


def test_the_vision_tower_sees_each_image_once_for_score_and_critique(engine):
    with Counter(engine.model.model.vision_model) as vision, Counter(engine.model.model.visual_abstractor) as abstractor:
        engine.assess(pictures(3), critique=True)
    assert (vision.calls, vision.rows, abstractor.calls) == (1, 3, 1)


def test_bfloat16_stays_close_to_float32(checkpoint, engine):
    half = TorchEngine.load(checkpoint, dtype="bfloat16")
    assert half.dtype == torch.bfloat16
    images = pictures(8)
    ours, theirs = half.assess(images, critique=True), engine.assess(images)
    assert ours.probabilities.dtype == np.float64 and np.allclose(ours.probabilities.sum(1), 1, atol=1e-12)
    # 8 bits of significand through a handful of layers with weights eight times the usual: 0.006 seen.
    assert np.abs(ours.probabilities - theirs.probabilities).max() < 0.03
    assert np.abs(np.log(ours.open_set_mass / theirs.open_set_mass)).max() < 0.15


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
def test_read_only_pixels_as_ray_gives_them_are_taken(engine):
    images = pictures(2)
    images.flags.writeable = False
    assert np.array_equal(engine.assess(images).probabilities, engine.assess(images.copy()).probabilities)


def test_a_tokenizer_without_the_levels_is_refused(engine, checkpoint):
    processor = checkpoint.load_processor()
    processor.tokenizer = LlamaTokenizer(vocab=processor.tokenizer.get_vocab(), merges=[])  # letters only
    with pytest.raises(ValueError, match="no single token for the level excellent, good, fair, poor, bad"):
        TorchEngine(engine.model, processor, engine.prompts)
