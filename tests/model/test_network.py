"""The network without transformers: the same names, weights, ids, texts and answers, and transformers itself wherever there is a doubt."""

import inspect
import json
import shutil
import subprocess
import sys
from operator import attrgetter

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaTokenizer

from artquant.core.prompts import Prompts
from artquant.engines.recipe import TINY
from artquant.engines.torch_engine import TorchEngine
from artquant.model import MPLUGOwl2LlamaForCausalLM, MPLUGOwl2Processor
from artquant.model.checkpoint import Checkpoint
from artquant.model.fields import MPLUGOwl2Fields, PlainConfig, VisualAbstractorFields, VisualModelFields
from artquant.model.network import Network, TextProcessor, is_our_tokenizer, open_plainly
from tests.checkpoints import random_config, save_random_checkpoint
from tests.reference import FOLDER

ODD_TEXTS = [
    *("", " ", "   ", "a", "  two  spaces ", "\ttab\nand\r\nlines", "▁mark▁", "ünïcödé ü", "絵画 🖼️ \u200d", "\u0000\ufeff", "Ⅻ ﬁ"),
    *("<s>", "</s>", "a</s>b", "<unk> <s> x", "<0x0A>", "<|image|>", "excellent", " excellent", "quality:good,fair", "x" * 300, "é" * 50),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_random_checkpoint(tmp_path_factory.mktemp("checkpoints") / "small", random_config(rope_theta=5000.0))


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.fixture(params=["random", "tiny"])
def either(request, folder):
    return folder if request.param == "random" else TINY


def test_what_the_network_is_built_from_is_what_transformers_reads(either):
    plain, ours = PlainConfig.read(either), Checkpoint.open(str(either)).load_config()
    follow = ("head_dim", "num_image_tokens", "placeholder_id", "visual_config.visual_model.grid_size")
    top = [name for name in inspect.signature(MPLUGOwl2Fields).parameters if name not in ("visual_config", "kwargs")]
    visual = [f"visual_config.visual_model.{name}" for name in inspect.signature(VisualModelFields).parameters if name != "kwargs"]
    abstractor = [f"visual_config.visual_abstractor.{name}" for name in inspect.signature(VisualAbstractorFields).parameters]
    for name in (*follow, *top, *visual, *(name for name in abstractor if not name.endswith("kwargs"))):
        assert attrgetter(name)(plain) == attrgetter(name)(ours), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_weights_have_the_names_and_values_of_transformers(either, dtype):
    network, _ = open_plainly(str(either), dtype)
    ours = MPLUGOwl2LlamaForCausalLM.from_pretrained(either, dtype=dtype).state_dict()
    assert list(network.state_dict()) == list(ours) and network.dtype == dtype and network.device.type == "cpu"
    assert all(torch.equal(tensor, ours[name]) and tensor.dtype == ours[name].dtype for name, tensor in network.state_dict().items())


def test_scores_and_critiques_are_those_of_transformers_classes_bit_for_bit(either, one_thread):
    checkpoint = Checkpoint.open(str(either))
    engines = (
        TorchEngine.load(checkpoint),
        TorchEngine(checkpoint.load_model(torch.float32), checkpoint.load_processor(), checkpoint.prompts),
    )
    assert isinstance(engines[0].model, Network) and isinstance(engines[1].model, MPLUGOwl2LlamaForCausalLM)
    size = engines[0].image_size
    pixels = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    plain, ours = (engine.assess(pixels, critique=True) for engine in engines)
    assert np.array_equal(plain.probabilities, ours.probabilities) and np.array_equal(plain.open_set_mass, ours.open_set_mass)
    assert (plain.critiques, plain.critique_statuses) == (ours.critiques, ours.critique_statuses)


def test_ids_and_texts_are_those_of_transformers_tokenizer(either):
    plain, ours = TextProcessor(either), MPLUGOwl2Processor.from_pretrained(either)
    prompts = Prompts.load(either)
    for prompt in (prompts.score, *prompts.critique.values()):
        assert plain.encode_prompt(prompt) == ours.encode_prompt(prompt)
        for text in ODD_TEXTS:
            assert plain.encode_answer(prompt, text) == ours.encode_answer(prompt, text), text
    assert plain.level_token_ids(prompts.score) == ours.level_token_ids(prompts.score)
    for text in ODD_TEXTS:
        assert plain.tokenize_text(text) == ours.tokenize_text(text), text
    generator = np.random.default_rng(0)
    for _ in range(300):
        ids = generator.integers(0, len(ours.tokenizer), generator.integers(0, 30)).tolist()
        assert plain.decode_answer(ids) == ours.decode_answer(ids), ids


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("config.json", lambda config: config.update(tie_word_embeddings=True)),
        ("config.json", lambda config: config.update(rope_parameters={"rope_type": "linear", "factor": 2.0})),
        ("config.json", lambda config: config.update(quantization_config={"quant_method": "fp8"})),
        ("tokenizer_config.json", lambda settings: settings.update(bos_token="</s>")),
        ("tokenizer_config.json", lambda settings: settings.update(add_prefix_space=False)),
        ("tokenizer_config.json", lambda settings: settings.update(extra_special_tokens=["<x>"])),
        ("tokenizer.json", lambda tokenizer: tokenizer.update(normalizer={"type": "NFC"})),
        ("tokenizer.json", lambda tokenizer: tokenizer["pre_tokenizer"].update(prepend_scheme="always")),
        ("tokenizer.json", lambda tokenizer: tokenizer["added_tokens"].append({**tokenizer["added_tokens"][0], "id": 400})),
        ("tokenizer.json", lambda tokenizer: tokenizer["decoder"]["decoders"].pop()),
        ("tokenizer.json", lambda tokenizer: tokenizer["model"].update(fuse_unk=False)),
        ("processor_config.json", lambda processor: processor.pop("num_image_tokens")),
    ],
)
def test_what_may_need_transformers_is_left_to_it(copy, name, change):
    assert open_plainly(str(copy), torch.float32)
    edit(copy / name, change)
    assert open_plainly(str(copy), torch.float32) is None


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "processor_config.json", "model.safetensors"])
def test_a_folder_that_lacks_a_file_is_left_to_transformers(copy, name):
    (copy / name).unlink()
    assert open_plainly(str(copy), torch.float32) is None


def test_weights_under_other_names_are_left_to_transformers_and_more_weights_do_no_harm(copy):
    weights = load_file(copy / "model.safetensors")
    save_file(weights | {"model.rotary_emb.inv_freq": torch.ones(3)}, copy / "model.safetensors", {"format": "pt"})
    assert open_plainly(str(copy), torch.float32)
    del weights["lm_head.weight"]
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    assert open_plainly(str(copy), torch.float32) is None


def test_weights_in_several_files_are_read_together(folder, tmp_path):
    MPLUGOwl2LlamaForCausalLM.from_pretrained(folder).save_pretrained(tmp_path, max_shard_size="100KB")
    MPLUGOwl2Processor.from_pretrained(folder).save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    network, _ = open_plainly(str(tmp_path), torch.float32)
    expected = load_file(folder / "model.safetensors")
    assert all(torch.equal(tensor, expected[name]) for name, tensor in network.state_dict().items())


def test_a_tokenizer_that_transformers_made_from_sentencepiece_is_not_ours_until_its_merges_are_in_order(tmp_path):
    LlamaTokenizer.from_pretrained(FOLDER / "processor").save_pretrained(tmp_path)
    tokenizer = json.loads((tmp_path / "tokenizer.json").read_text())
    tokenizer["model"]["merges"] = [["▁", "▁"], *tokenizer["model"]["merges"]]
    assert not is_our_tokenizer(tokenizer)


def test_opening_the_engine_of_a_checkpoint_imports_no_transformers():
    program = f"""
import sys
import numpy as np
from artquant.config import EngineSpec
from artquant.engines.open import open_engine, resolve
from artquant.model.checkpoint import Checkpoint
import artquant.pipelines.stages
engine = open_engine(resolve(EngineSpec()), Checkpoint.open({str(TINY)!r}))
engine.assess(np.zeros((1, engine.image_size, engine.image_size, 3), np.uint8), critique=True)
print(*sorted(name for name in ("transformers", "peft", "accelerate", "scipy", "sklearn", "torch._dynamo") if name in sys.modules))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""
