"""The published adapter layout, and LoRA training on the published targets."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

from artquant.model import MPLUGOwl2LlamaForCausalLM, MPLUGOwl2Processor
from artquant.model.checkpoint import Checkpoint
from artquant.model.location import is_adapter
from tests.checkpoints import random_config, save_random_checkpoint
from tests.model.test_parity import expand
from tests.reference import FOLDER, needs_reference, tensors

PUBLISHED_TARGETS = r"model\.layers\.\d+\.self_attn\.(q_proj|v_proj\.multiway\.1)"


@pytest.fixture
def adapter(tmp_path):
    """A copy of the published adapter that names its base."""
    folder = shutil.copytree(FOLDER / "adapter", tmp_path / "adapter")
    name_base(folder, str(FOLDER / "model"))
    return folder


@pytest.fixture
def model():
    torch.manual_seed(0)
    return MPLUGOwl2LlamaForCausalLM(random_config())


def name_base(folder, base):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": base}))


def assert_published_logits(model):
    expected = tensors("adapter/expected")
    with torch.inference_mode():
        logits = model.eval()(expand(expected["score_input_ids"]), pixel_values=expected["images"]).logits
    assert torch.allclose(logits, expected["score_logits"], atol=1e-5)


def load(folder, **kwargs):
    return MPLUGOwl2LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, **kwargs)


class WritesAFile:
    """What a malicious pickle does when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@needs_reference
def test_the_base_may_be_given_or_named_by_the_adapter(adapter):
    assert is_adapter(adapter) and not is_adapter(FOLDER / "model")
    assert_published_logits(load(adapter))
    assert_published_logits(load(FOLDER / "adapter", base=FOLDER / "model"))
    name_base(adapter, "/nowhere")
    assert_published_logits(load(adapter, base=FOLDER / "model"))


@needs_reference
def test_an_adapter_without_any_base_is_refused():
    with pytest.raises(ValueError, match="names no base checkpoint: give one with base="):
        load(FOLDER / "adapter")
    with pytest.raises(ValueError, match="names no base checkpoint"):
        Checkpoint.open(str(FOLDER / "adapter"))


@needs_reference
def test_lora_weights_load_from_safetensors_too(adapter):
    save_file(torch.load(adapter / "adapter_model.bin", weights_only=True), adapter / "adapter_model.safetensors")
    (adapter / "adapter_model.bin").unlink()
    assert_published_logits(load(adapter))


@needs_reference
def test_an_adapter_and_its_base_may_lie_on_s3(adapter, s3_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("ARTQUANT_CACHE", str(tmp_path / "cache"))
    for name, folder in (("adapter", adapter), ("base", FOLDER / "model")):
        for path in folder.iterdir():
            s3_folder.put_file(f"{name}/{path.name}", path)
    checkpoint = Checkpoint.open(s3_folder.uri_of("adapter"), s3_folder.uri_of("base"))
    assert checkpoint.model_digest == Checkpoint.open(str(adapter)).model_digest
    assert_published_logits(checkpoint.load_model(torch.float32))


@needs_reference
def test_a_checkpoint_of_an_adapter_depends_on_adapter_and_base(adapter, tmp_path):
    base = shutil.copytree(FOLDER / "model", tmp_path / "base")
    digest = Checkpoint.open(str(adapter), str(base)).model_digest
    assert digest == Checkpoint.open(str(adapter)).model_digest
    (base / "meta.json").write_text("{}")
    assert Checkpoint.open(str(adapter), str(base)).model_digest != digest
    (adapter / "adapter_config.json").write_text((adapter / "adapter_config.json").read_text() + "\n")
    assert Checkpoint.open(str(adapter)).model_digest != digest


@needs_reference
def test_a_checkpoint_of_an_adapter_has_the_processor_of_its_base(adapter, tmp_path):
    base = shutil.copytree(FOLDER / "model", tmp_path / "base")
    shutil.copy(FOLDER / "processor" / "tokenizer.model", base)
    processor = Checkpoint.open(str(adapter), str(base)).load_processor()
    assert type(processor) is MPLUGOwl2Processor and processor.num_image_tokens == 9


@needs_reference
@pytest.mark.parametrize("file", ["non_lora_trainables.bin", "adapter_model.bin"])
def test_a_tensor_without_a_place_in_the_model_is_refused(adapter, file):
    state = torch.load(adapter / file, weights_only=True)
    torch.save({**state, "base_model.model.model.elsewhere.lora_A.weight": torch.zeros(2, 2)}, adapter / file)
    with pytest.raises(ValueError, match="has no place for: .*elsewhere"):
        load(adapter)


@needs_reference
def test_an_adapter_that_lacks_lora_weights_is_refused(adapter):
    state = torch.load(adapter / "adapter_model.bin", weights_only=True)
    missing = sorted(state)[0]
    torch.save({name: tensor for name, tensor in state.items() if name != missing}, adapter / "adapter_model.bin")
    with pytest.raises(ValueError, match=f"lacks tensors .*{missing.removeprefix('base_model.model.')}"):
        load(adapter)


@needs_reference
@pytest.mark.parametrize("file", ["non_lora_trainables.bin", "adapter_model.bin"])
def test_a_pickle_with_code_in_it_is_refused_and_not_executed(adapter, file, tmp_path):
    torch.save({"base_model.model.model.norm.weight": WritesAFile(tmp_path / "executed")}, adapter / file)
    with pytest.raises(ValueError, match="holds more than tensors"):
        load(adapter)
    assert not (tmp_path / "executed").exists()
    torch.load(adapter / file, weights_only=False)
    assert (tmp_path / "executed").exists()  # the trap was armed


def lora(model):
    from peft import LoraConfig, get_peft_model

    return get_peft_model(model, LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, target_modules=PUBLISHED_TARGETS))


def batch(model, num=2):
    """Two rows of different lengths, padded at the right."""
    torch.manual_seed(1)
    ids = torch.randint(3, 500, (num, 14))
    ids[:, 4:9] = model.config.image_token_index
    mask = torch.ones_like(ids)
    mask[1, 11:] = 0
    labels = ids.masked_fill(ids < 0, -100).masked_fill(mask == 0, -100)
    return dict(input_ids=ids, attention_mask=mask, labels=labels, pixel_values=torch.randn(num, 3, 56, 56))


def test_lora_trains_the_published_targets_only_and_merges_back(model):
    frozen = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    adapted = lora(model)
    trained = {name.split(".lora_")[0].removeprefix("base_model.model.") for name, p in adapted.named_parameters() if p.requires_grad}
    layers = range(model.config.num_hidden_layers)
    expected = {f"model.layers.{i}.self_attn.{target}" for i in layers for target in ("q_proj", "v_proj.multiway.1")}
    assert trained == expected
    optimizer = torch.optim.SGD([p for p in adapted.parameters() if p.requires_grad], 0.5)
    for _ in range(3):
        optimizer.zero_grad()
        adapted(**batch(model)).loss.backward()
        optimizer.step()
    with torch.inference_mode():
        before_merging = adapted.eval()(**batch(model)).logits
        merged = adapted.merge_and_unload()
        assert torch.allclose(merged(**batch(model)).logits, before_merging, atol=1e-5)
    assert type(merged) is MPLUGOwl2LlamaForCausalLM
    changed = {name for name, tensor in merged.state_dict().items() if not torch.equal(tensor, frozen[name])}
    assert changed == {f"{name}.weight" for name in expected}


def test_a_saved_lora_adapter_is_a_checkpoint(model, tmp_path):
    base = save_random_checkpoint(tmp_path / "base")
    adapted = lora(MPLUGOwl2LlamaForCausalLM.from_pretrained(base))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    adapted.save_pretrained(tmp_path / "adapter")
    shutil.copy(base / "config.json", tmp_path / "adapter")
    loaded = Checkpoint.open(str(tmp_path / "adapter")).load_model(torch.float32)
    inputs = batch(model)
    with torch.inference_mode():
        plain = MPLUGOwl2LlamaForCausalLM.from_pretrained(base).eval()(**inputs).logits
        ours, theirs = loaded.eval()(**inputs).logits, adapted.eval()(**inputs).logits
    assert torch.allclose(ours, theirs, atol=1e-4) and not torch.allclose(ours, plain, atol=1e-2)


def test_gradient_checkpointing_with_padding_changes_no_gradient(model):
    def gradients():
        model.zero_grad()
        model.train()(**batch(model)).loss.backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    plain = gradients()
    model.gradient_checkpointing_enable()
    calls = []
    model.model.layers[1].register_forward_pre_hook(lambda *_: calls.append(1))
    checkpointed = gradients()
    assert len(calls) == 2  # forward, and again on the way back
    assert plain.keys() == checkpointed.keys()
    assert len(plain) == sum(p.requires_grad for p in model.parameters())
    for name, gradient in plain.items():
        assert torch.allclose(gradient, checkpointed[name], rtol=1e-4, atol=1e-7), name
