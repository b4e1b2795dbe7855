"""The network agrees with the published code's outputs."""

import pytest
import torch

from artquant.model import MPLUGOwl2LlamaForCausalLM
from artquant.training.losses import IGNORE, answers, loss_sums
from tests.reference import FOLDER, document, needs_reference, tensors

pytestmark = needs_reference


@pytest.fixture(scope="module")
def model():
    return MPLUGOwl2LlamaForCausalLM.from_pretrained(FOLDER / "model", dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def expected():
    return tensors("model/expected")


def expand(ids: torch.Tensor, fill: torch.Tensor | None = None, num: int = 9) -> torch.Tensor:
    """Each row's one image id (-200, at the same place) becomes `num` of them; in `fill`, that place's value is repeated."""
    values = ids if fill is None else fill
    at = int((ids[0] == -200).nonzero())
    return torch.cat([values[:, :at], values[:, at : at + 1].expand(-1, num), values[:, at + 1 :]], dim=1)


@torch.inference_mode()
def test_vision_output_and_image_features_agree(model, expected):
    assert torch.allclose(model.model.vision_model(expected["images"]), expected["vision_last_hidden"], atol=1e-5)
    assert torch.allclose(model.get_image_features(expected["images"]), expected["image_features"], atol=1e-5)


@torch.inference_mode()
def test_logits_level_probabilities_and_scores_agree(model, expected):
    meta = document("model/meta")
    logits = model(expand(expected["score_input_ids"]), pixel_values=expected["images"]).logits
    assert torch.allclose(logits, expected["score_logits"], atol=1e-5)
    probabilities = logits[:, -1, meta["level_ids"]].softmax(-1)
    assert torch.allclose(probabilities, expected["level_probs"], atol=1e-5)
    assert torch.allclose(probabilities @ torch.tensor(meta["level_values"]), expected["scores"], atol=1e-4)


@torch.inference_mode()
def test_a_span_of_image_positions_gives_what_the_mask_gives(model, expected):
    ids = expand(expected["score_input_ids"])
    embeds = model.model.embed(ids, model.get_image_features(expected["images"]))
    by_span = model(inputs_embeds=embeds, image_positions=(5, 14)).logits
    assert torch.allclose(by_span, expected["score_logits"], atol=1e-5)


@torch.inference_mode()
def test_greedy_tokens_are_the_same(model, expected):
    out = model.generate(
        expand(expected["score_input_ids"]), pixel_values=expected["images"], max_new_tokens=12, do_sample=False, eos_token_id=None
    )
    assert out[:, -12:].tolist() == expected["greedy_tokens"].tolist()


def train_losses(model, expected):
    meta = document("model/meta")
    raw = expected["train_input_ids"]
    ids = expand(raw)
    mask = expand(raw, expected["train_attention_mask"])
    labels = expand(raw, expected["train_labels"])
    logits = model(ids, attention_mask=mask, pixel_values=expected["images"]).logits
    level_ids = torch.tensor(meta["level_ids"])
    positions = torch.isin(ids, level_ids).int().argmax(1)
    targets, num = expected["train_level_probs"], int((labels[:, 1:] != IGNORE).sum())
    at = answers(labels, positions, torch.full_like(positions, -1))
    sums = loss_sums(logits[at.rows, at.places], at, targets, level_ids)
    score = sums["answer"] / (num - len(ids)) + sums["level"] / len(ids)
    at = answers(labels, torch.full_like(positions, -1), torch.full_like(positions, -1))  # the same answers, learnt as descriptions
    sums = loss_sums(logits[at.rows, at.places], at, targets[:0], level_ids)
    return score, sums["description"] / num, meta["loss_weights"]


def test_losses_and_gradients_agree(model, expected):
    model.train()
    score, description, weights = train_losses(model, expected)
    assert score.item() == pytest.approx(expected["score_task_loss"].item(), rel=1e-5)
    assert description.item() == pytest.approx(expected["description_task_loss"].item(), rel=1e-5)
    model.zero_grad()
    (weights["score"] * score + weights["description"] * description).backward()
    names = [name for name in expected if name.startswith("grad.")]
    assert len(names) == 4
    for name in names:
        ours, theirs = model.get_parameter(name.removeprefix("grad.")).grad, expected[name]
        assert (ours - theirs).norm() <= 1e-4 * theirs.norm(), name
    total = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm()
    assert total.item() == pytest.approx(expected["grad_norm_total"].item(), rel=1e-4)
    model.eval()


def test_gradient_checkpointing_changes_no_gradient(model, expected):
    name = "model.layers.0.self_attn.k_proj.multiway.1.weight"
    model.gradient_checkpointing_enable()
    model.train()
    model.zero_grad()
    score, description, weights = train_losses(model, expected)
    (weights["score"] * score + weights["description"] * description).backward()
    assert torch.allclose(model.get_parameter(name).grad, expected["grad." + name], rtol=1e-3, atol=1e-7)
    model.gradient_checkpointing_disable()
    model.eval()


@torch.inference_mode()
def test_the_published_adapter_layout_loads_and_merges():
    expected = tensors("adapter/expected")
    model = MPLUGOwl2LlamaForCausalLM.from_pretrained(FOLDER / "adapter", base=FOLDER / "model", dtype=torch.float32)
    assert type(model) is MPLUGOwl2LlamaForCausalLM
    logits = model(expand(expected["score_input_ids"]), pixel_values=expected["images"]).logits
    assert torch.allclose(logits, expected["score_logits"], atol=1e-5)
