"""vLLM and the torch engine say the same of the same checkpoint, whatever else is in flight."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from artquant.core.prompts import Prompts
from artquant.engines import Assessment
from artquant.engines.torch_engine import TorchEngine
from artquant.model import MPLUGOwl2LlamaForCausalLM
from artquant.model.checkpoint import Checkpoint
from artquant.paintings.exam import square
from tests.checkpoints import random_config, save_random_checkpoint
from tests.engines.vllm_worker import VllmWorker, needs_vllm

pytestmark = [needs_vllm, pytest.mark.timeout(600)]
TINY = Path(__file__).resolve().parents[2] / "artquant" / "checkpoints" / "artquant-tiny"


@pytest.fixture(scope="module")
def vllm() -> Iterator[VllmWorker]:
    worker = VllmWorker()
    yield worker
    worker.close()


@pytest.fixture(scope="module")
def tiny(vllm: VllmWorker) -> TorchEngine:
    """The torch engine of the shipped weights; vLLM has them too."""
    vllm.open(TINY)
    return TorchEngine.load(Checkpoint.open(str(TINY)))


def noise(num: int, size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num, size, size, 3), dtype=np.uint8)


def paintings(first: int, stop: int, size: int) -> np.ndarray:
    return np.stack([square(seed, size) for seed in range(first, stop)])


def texts(assessment: Assessment) -> list[str]:
    return [text for critique in assessment.critiques for text in (critique or {}).values()]


def assert_agree(found: Assessment, expected: Assessment, engine: TorchEngine) -> None:
    assert np.abs(found.probabilities - expected.probabilities).max() < 1e-3
    assert np.abs(found.open_set_mass - expected.open_set_mass).max() < 1e-3
    values = np.array(engine.scale.values)
    assert np.abs(found.probabilities @ values - expected.probabilities @ values).max() < 1e-3
    same = [a == b for a, b in zip(texts(found), texts(expected), strict=True)]
    assert np.mean(same) >= 0.99
    assert np.mean([a == b for a, b in zip(found.critique_statuses, expected.critique_statuses, strict=True)]) >= 0.99


def test_scores_and_critiques_of_paintings_agree_with_the_torch_engine(vllm: VllmWorker, tiny: TorchEngine) -> None:
    pixels = paintings(7_000_000, 7_000_040, tiny.image_size)
    expected = tiny.assess(pixels, critique=True)
    assert len(set(texts(expected))) > 60 and np.ptp(expected.probabilities @ tiny.scale.values) > 3, "the paintings are all alike"
    assert_agree(vllm.assess(pixels, critique=True), expected, tiny)


def test_a_second_try_agrees_with_the_torch_engine(vllm: VllmWorker, tiny: TorchEngine) -> None:
    pixels = paintings(7_000_000, 7_000_006, tiny.image_size)
    assert vllm.call(rewritten, pixels) == tiny.rewrite(pixels)


def rewritten(engine: Any, pixels: np.ndarray) -> Any:
    return engine.rewrite(pixels)


def test_an_image_alone_and_in_any_company_gets_the_same(vllm: VllmWorker, tiny: TorchEngine) -> None:
    pixels = paintings(7_100_000, 7_100_012, tiny.image_size)
    expected = tiny.assess(pixels, critique=True)
    alone = [vllm.assess(pixels[i : i + 1], critique=True) for i in range(3)]
    for i, assessment in enumerate(alone):
        assert np.abs(assessment.probabilities[0] - expected.probabilities[i]).max() < 1e-5
        assert assessment.critiques[0] == expected.critiques[i]
    mixed = vllm.call(assess_side_by_side, pixels)
    for order, is_critique, assessment in mixed:
        assert np.abs(assessment.probabilities - expected.probabilities[order]).max() < 1e-5
        if is_critique:
            assert assessment.critiques == [expected.critiques[i] for i in order]
        else:
            assert assessment.critiques == [None] * len(order) and set(assessment.critique_statuses) == {"not_requested"}


def assess_side_by_side(engine: Any, pixels: np.ndarray) -> list[tuple[list[int], bool, Assessment]]:
    """Four callers at once, each with some of the images, in an order of its own, every other one with critiques."""
    rng = np.random.default_rng(0)
    orders = [rng.permutation(len(pixels))[: 3 + 3 * i].tolist() for i in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda i: engine.assess(pixels[orders[i]], critique=i % 2 == 0), range(4))
    return [(orders[i], i % 2 == 0, assessment) for i, assessment in enumerate(found)]


def test_score_and_critique_of_an_image_share_one_pass_of_the_vision_tower(vllm: VllmWorker, tiny: TorchEngine) -> None:
    assert vllm.call(images_seen_by_the_vision_tower, paintings(7_150_000, 7_150_006, tiny.image_size)) == 6


def images_seen_by_the_vision_tower(engine: Any, pixels: np.ndarray) -> int:
    seen = []

    def count(model: Any) -> None:
        look = model.vision_model.forward
        model.vision_model.forward = lambda images: seen.append(len(images)) or look(images)

    def forget(model: Any) -> None:
        del model.vision_model.forward

    engine.requests.engine.apply_model(count)
    engine.assess(pixels, critique=True)
    engine.requests.engine.apply_model(forget)
    return sum(seen)


def test_a_prompt_that_comes_as_text_is_tokenised_as_the_network_knows_it(vllm: VllmWorker, tiny: TorchEngine) -> None:
    picture = noise(1, tiny.image_size)[0]
    for prompt in (tiny.prompts.score, *tiny.prompts.critique.values()):
        expected = tiny.processor.expand(tiny.processor.tokenize(prompt))
        found = vllm.call(rendered_ids, prompt, picture)
        assert [tiny.config.image_token_index if i == tiny.config.placeholder_id else i for i in found] == expected


def rendered_ids(engine: Any, prompt: str, picture: np.ndarray) -> list[int]:
    return engine.requests._rendered({"prompt": prompt, "multi_modal_data": {"image": picture}})["prompt_token_ids"]


def test_what_cuda_graphs_need_computes_the_same(vllm: VllmWorker, tiny: TorchEngine) -> None:
    pixels = paintings(7_200_000, 7_200_004, tiny.image_size)
    vllm.call(set_static, True)
    try:
        found = vllm.assess(pixels, critique=True)
    finally:
        vllm.call(set_static, False)
    assert_agree(found, tiny.assess(pixels, critique=True), tiny)


def set_static(engine: Any, is_static: bool) -> None:
    def change(model: Any) -> None:
        assert model.language_model.is_static != is_static
        model.language_model.is_static = is_static

    engine.requests.engine.apply_model(change)


def test_where_vllm_fails_at_work_the_caller_is_told_to_end_and_every_later_one_too(vllm: VllmWorker, tiny: TorchEngine) -> None:
    pixels = noise(3, tiny.image_size)
    for message in vllm.call(break_engine, pixels):
        assert "RuntimeError: the device fell off the bus" in message


def break_engine(engine: Any, pixels: np.ndarray) -> list[str]:
    def step() -> None:
        raise RuntimeError("the device fell\noff the bus")

    engine.requests.engine.step = step
    messages = []
    for _ in range(2):
        try:
            engine.assess(pixels, critique=True)
        except SystemExit as error:
            messages.append(str(error))
    assert len(messages) == 2
    return messages


OTHER = dict(hidden_size=128, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=2, intermediate_size=160)


def other_config(**kwargs: Any):
    """Another head count, query count and number of layers, grouped heads."""
    config = random_config(**{**OTHER, **kwargs})
    config.visual_config.visual_abstractor.num_learnable_queries = 7
    return config


def test_random_weights_of_another_shape_agree_too(vllm: VllmWorker, tmp_path: Path) -> None:
    words = {"sea": 1.0, "dusk": 2.2, "blue": 4.9, "calm": 7.0, "soft": 8.1, "grey": 10.0}
    folder = save_random_checkpoint(tmp_path / "model", other_config(), seed=3, scale=4.0, max_critique_tokens=24, score_words=words)
    engine = TorchEngine.load(Checkpoint.open(str(folder)))
    pixels = noise(24, engine.image_size)
    expected = engine.assess(pixels, critique=True)
    assert len(set(texts(expected))) > 20, "all images get the same answer: nothing is compared"
    vllm.open(folder)
    assert_agree(vllm.assess(pixels, critique=True), expected, engine)


def test_an_adapter_is_merged_over_its_base(vllm: VllmWorker, tmp_path: Path) -> None:
    base = save_random_checkpoint(tmp_path / "base", random_config(), seed=5, max_critique_tokens=12)
    adapter = save_adapter(tmp_path / "adapter", base)
    engine = TorchEngine.load(Checkpoint.open(str(adapter), str(base)))
    pixels = noise(6, engine.image_size)
    expected = engine.assess(pixels, critique=True)
    plain = TorchEngine.load(Checkpoint.open(str(base))).assess(pixels)
    assert np.abs(plain.probabilities - expected.probabilities).max() > 0.01, "the adapter changes nothing"
    vllm.open(adapter, str(base))
    assert_agree(vllm.assess(pixels, critique=True), expected, engine)


def save_adapter(folder: Path, base: Path) -> Path:
    """The published layout: LoRA weights, and vision weights that were trained in full. It names no base."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    model = MPLUGOwl2LlamaForCausalLM.from_pretrained(base, dtype=torch.float32)
    targets = r"model\.layers\.\d+\.self_attn\.(q_proj|v_proj\.multiway\.1)"
    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=targets))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    adapted.save_pretrained(folder)
    visual = {f"base_model.model.{n}": 1.1 * p.detach() for n, p in model.named_parameters() if "visual_abstractor.visual_fc" in n}
    torch.save(visual, folder / "non_lora_trainables.bin")
    model.config.save_pretrained(folder)
    settings = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**settings, "base_model_name_or_path": None}))
    Prompts(max_critique_tokens=12).save(folder)
    return folder


def test_bfloat16_scores_lie_close_to_float32s(vllm: VllmWorker) -> None:
    engine = TorchEngine.load(Checkpoint.open(str(TINY)))
    pixels = paintings(7_300_000, 7_300_032, engine.image_size)
    vllm.open(TINY, dtype="bfloat16")
    values = np.array(engine.scale.values)
    difference = np.abs(vllm.assess(pixels).probabilities @ values - engine.assess(pixels).probabilities @ values)
    assert 1e-6 < difference.mean() < 0.05 and difference.max() < 0.5


def test_what_vllm_cannot_open_ends_in_its_own_words(vllm: VllmWorker, tmp_path: Path) -> None:
    folder = save_random_checkpoint(tmp_path / "model")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(SystemExit, match="vLLM died, and with it this process: SafetensorError: .*incomplete"):
        vllm.open(folder)
