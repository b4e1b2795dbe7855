"""Checkpoints: they round-trip, are found wherever they lie, and their digests say which scores they made."""

import os
import pickle
import shutil
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoImageProcessor, AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor

from artquant.core.prompts import Prompts
from artquant.model import MPLUGOwl2Config, MPLUGOwl2ImageProcessor, MPLUGOwl2LlamaForCausalLM, MPLUGOwl2Processor
from artquant.model.checkpoint import Checkpoint
from artquant.model.location import cache_directory, local_folder
from tests.checkpoints import random_config, save_random_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_random_checkpoint(tmp_path_factory.mktemp("checkpoints") / "small")


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ARTQUANT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def on_s3(folder, s3_folder, cache):
    upload(folder, s3_folder)
    return s3_folder


def upload(folder, store):
    for path in folder.rglob("*"):
        if path.is_file():
            store.put_file(path.relative_to(folder).as_posix(), path)


def logits(model, processor, seed=0):
    picture = np.random.default_rng(seed).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    with torch.inference_mode():
        return model.eval()(**processor(images=picture, text=Prompts().score)).logits


def same_weights(a, b):
    return a.state_dict().keys() == b.state_dict().keys() and all(torch.equal(t, b.state_dict()[n]) for n, t in a.state_dict().items())


def test_config_round_trips_with_every_field(tmp_path):
    config = random_config(rope_theta=5000.0, rms_norm_eps=1e-6, image_token_index=-7, max_position_embeddings=99)
    config.save_pretrained(tmp_path)
    again = MPLUGOwl2Config.from_pretrained(tmp_path)
    assert again.rope_theta == 5000.0 and again.image_token_index == -7 and again.num_image_tokens == 5
    assert again.to_dict() == config.to_dict()


def test_model_and_processor_round_trip_to_the_bit(folder, tmp_path):
    model, processor = MPLUGOwl2LlamaForCausalLM.from_pretrained(folder), MPLUGOwl2Processor.from_pretrained(folder)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    model_again, processor_again = MPLUGOwl2LlamaForCausalLM.from_pretrained(tmp_path), MPLUGOwl2Processor.from_pretrained(tmp_path)
    assert same_weights(model, model_again)
    assert torch.equal(logits(model, processor), logits(model_again, processor_again))
    text = "USER: <|image|> a calm sea ; été"
    assert processor_again.tokenize(text) == processor.tokenize(text)
    assert (processor_again.num_image_tokens, processor_again.image_processor.image_size) == (5, 56)
    assert processor_again.tokenizer.decode(processor.tokenize_text("a calm sea ; été")) == "a calm sea ; été"


def test_transformers_auto_classes_know_the_architecture(folder):
    assert type(AutoConfig.from_pretrained(folder)) is MPLUGOwl2Config
    assert type(AutoProcessor.from_pretrained(folder)) is MPLUGOwl2Processor
    assert type(AutoImageProcessor.from_pretrained(folder)) is MPLUGOwl2ImageProcessor
    for auto in (AutoModelForImageTextToText, AutoModelForCausalLM):
        assert same_weights(auto.from_pretrained(folder), MPLUGOwl2LlamaForCausalLM.from_pretrained(folder))


def test_the_full_size_has_the_parameters_that_arithmetic_gives():
    def linear(inputs, outputs):
        return inputs * outputs + outputs

    width, mlp, vocabulary = 4096, 11008, 32000  # Llama-2 7B, with two of each key, value and norm
    layer = (2 + 2 * 2) * width * width + 3 * width * mlp + 2 * 2 * width
    language = 2 * vocabulary * width + 32 * layer + width
    vit, norm = 1024, 2 * 1024  # ViT-L/14 at 448 pixels: 32 x 32 patches and the class token
    block = linear(vit, 3 * vit) + linear(vit, vit) + linear(vit, 4 * vit) + linear(4 * vit, vit) + 2 * norm
    vision = 14 * 14 * 3 * vit + vit + (32 * 32 + 1) * vit + norm + 24 * block + norm
    inner = 2816
    tables = (64 + 32 * 32 + 1) * vit
    attention = 4 * linear(vit, vit) + tables + 3 * norm
    abstractor_layer = attention + 2 * linear(vit, inner) + linear(inner, vit) + 2 * inner
    abstractor = 64 * vit + 6 * abstractor_layer + linear(vit, width) + width
    with torch.device("meta"):
        model = MPLUGOwl2LlamaForCausalLM(MPLUGOwl2Config())
    assert sum(p.numel() for p in model.parameters()) == language + vision + abstractor == 8_204_550_144


def test_an_s3_prefix_loads_as_its_folder_does(folder, on_s3):
    model = MPLUGOwl2LlamaForCausalLM.from_pretrained(on_s3.uri)
    assert same_weights(model, MPLUGOwl2LlamaForCausalLM.from_pretrained(folder))
    assert MPLUGOwl2Processor.from_pretrained(on_s3.uri + "/").num_image_tokens == 5
    assert MPLUGOwl2Config.from_pretrained(on_s3.uri).to_dict() == MPLUGOwl2Config.from_pretrained(folder).to_dict()
    assert Checkpoint.open(on_s3.uri).model_digest == Checkpoint.open(str(folder)).model_digest


def test_an_s3_prefix_is_downloaded_once_for_each_state(folder, on_s3, cache):
    first = local_folder(on_s3.uri)
    files = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
    assert {p.relative_to(first).as_posix() for p in files if p.is_file()} == {info.key for info in on_s3.list()}
    assert local_folder(on_s3.uri) == first
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*")} == files
    for name in ("artquant.json", "tokenizer_config.json"):  # the first and the last of the listing
        on_s3.put(name, (folder / name).read_bytes() + b"\n")
        second = local_folder(on_s3.uri)
        assert second != first and os.path.isdir(first)
        assert Path(second, name).read_bytes() == Path(first, name).read_bytes() + b"\n"
        first = second


def test_a_download_that_broke_off_is_never_used(on_s3, cache):
    partial = cache / "models" / ".partial-dead"
    partial.mkdir(parents=True)
    (partial / "config.json").write_text("{")
    folder = local_folder(on_s3.uri)
    assert Checkpoint.open(folder).image_size == 56
    assert sorted(path.name for path in (cache / "models").iterdir()) == [".partial-dead", os.path.basename(folder)]


def test_a_prefix_that_changes_while_it_is_read_is_not_kept(on_s3, cache, monkeypatch):
    from artquant.storage.store import Store

    opened = Store.open_input

    def replaced_behind_the_listing(self, key):
        on_s3.put("artquant.json", b"{}")
        return opened(self, key)

    monkeypatch.setattr(Store, "open_input", replaced_behind_the_listing)
    with pytest.raises(OSError, match="changed while it was read"):
        local_folder(on_s3.uri)
    assert list((cache / "models").iterdir()) == []


def test_an_object_that_vanishes_while_it_is_read_ends_in_one_sentence_and_leaves_nothing(on_s3, cache, monkeypatch):
    from artquant.storage.store import Store

    opened = Store.open_input

    def deleted_behind_the_listing(self, key):
        on_s3.delete("model.safetensors")
        return opened(self, key)

    monkeypatch.setattr(Store, "open_input", deleted_behind_the_listing)
    with pytest.raises(OSError, match="cannot be read"):
        Checkpoint.open(on_s3.uri)
    assert list((cache / "models").iterdir()) == []


def test_an_empty_s3_prefix_is_no_checkpoint(s3_folder, cache):
    with pytest.raises(FileNotFoundError, match="no objects below s3://"):
        Checkpoint.open(s3_folder.uri)


def test_the_cache_is_in_the_home_folder_unless_the_environment_names_another(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ARTQUANT_CACHE", raising=False)
    assert cache_directory() == tmp_path / ".cache" / "artquant"


@pytest.mark.parametrize("scheme", ["file:", "file://"])
def test_a_file_location_is_its_folder(folder, scheme):
    assert Checkpoint.open(f"{scheme}{folder}").model_digest == Checkpoint.open(str(folder)).model_digest
    assert same_weights(MPLUGOwl2LlamaForCausalLM.from_pretrained(f"{scheme}{folder}"), MPLUGOwl2LlamaForCausalLM.from_pretrained(folder))


def test_a_hub_name_that_cannot_be_reached_is_one_clear_error(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # HF_HUB_OFFLINE=1 is read at import
    with pytest.raises(FileNotFoundError, match="no folder artquant-tests/nothing, and the hub did not give"):
        Checkpoint.open("artquant-tests/nothing")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "artquant.json", "tokenizer.json", "processor_config.json"])
def test_the_digest_changes_with_any_byte_that_can_change_a_score(copy, name):
    before = Checkpoint.open(str(copy)).model_digest
    path = copy / name
    data = bytearray(path.read_bytes())
    assert data[-1:] != b"\t"
    data += b"\t"
    path.write_bytes(data)
    assert Checkpoint.open(str(copy)).model_digest != before
    data.pop()
    path.write_bytes(data)
    assert Checkpoint.open(str(copy)).model_digest == before
    data[len(data) // 2] ^= 1
    if path.suffix == ".safetensors":
        path.write_bytes(data)
        assert Checkpoint.open(str(copy)).model_digest != before


def test_the_digest_does_not_change_with_place_times_or_a_readme(folder, copy):
    (copy / "README.md").write_text("a note")
    for path in copy.iterdir():
        os.utime(path, (1, 1))
    assert Checkpoint.open(str(copy)).model_digest == Checkpoint.open(str(folder)).model_digest


def test_the_digest_changes_with_a_files_name(copy):
    before = Checkpoint.open(str(copy)).model_digest
    (copy / "model.safetensors").rename(copy / "model2.safetensors")
    assert Checkpoint.open(str(copy)).model_digest != before


def test_another_architecture_or_no_config_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        Checkpoint.open(str(tmp_path / "absent"))
    with pytest.raises(FileNotFoundError, match="holds no config.json"):
        Checkpoint.open(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ValueError, match="a checkpoint of 'llama', which is no image-text-to-text model"):
        Checkpoint.open(str(tmp_path))


def test_a_pickled_checkpoint_carries_neither_a_cache_path_nor_a_secret(on_s3, cache, monkeypatch):
    checkpoint = Checkpoint.open(on_s3.uri)
    assert checkpoint.folder.startswith(str(cache)) and checkpoint.image_size == 56
    data = pickle.dumps(checkpoint)
    secrets = [os.environ[name].encode() for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")]
    assert not [secret for secret in [*secrets, str(cache).encode()] if secret in data]
    monkeypatch.setenv("ARTQUANT_CACHE", str(cache / "of another machine"))
    again = pickle.loads(data)
    assert again == checkpoint and again.folder.startswith(str(cache / "of another machine"))
    assert again.identity("float32") == checkpoint.identity("float32")


def test_an_identity_changes_with_the_prompts_and_the_dtype(copy):
    before = Checkpoint.open(str(copy)).identity("float32")
    assert before.model_id == "copy" and before != Checkpoint.open(str(copy)).identity("bfloat16")
    full = Checkpoint.open(str(copy)).identity("float32", full_decode=True)
    assert full.preprocessing_digest != before.preprocessing_digest
    Prompts(score="Good?\n<|image|> It is").save(copy)
    assert Checkpoint.open(str(copy)).identity("float32").prompt_digest != before.prompt_digest
