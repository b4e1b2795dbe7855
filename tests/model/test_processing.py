"""Pictures and prompts become the network's inputs exactly as in the published code."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaTokenizer

from artquant.core.prompts import Prompts
from artquant.core.schema import LEVELS
from artquant.images import square as images
from artquant.model import MPLUGOwl2ImageProcessor, MPLUGOwl2Processor
from artquant.model.vision import normalise
from artquant.training.tokenizer import train_tokenizer
from tests.checkpoints import TEXTS
from tests.reference import FOLDER, document, needs_reference, tensors


@pytest.fixture(scope="module")
def published():
    return MPLUGOwl2Processor(MPLUGOwl2ImageProcessor(), LlamaTokenizer.from_pretrained(FOLDER / "processor"))


@pytest.fixture(scope="module")
def small():
    tokenizer = train_tokenizer([*TEXTS, Prompts().score], 512)
    return MPLUGOwl2Processor(MPLUGOwl2ImageProcessor(28), tokenizer, num_image_tokens=5)


def word_tokenizer(words: list[str]) -> LlamaTokenizer:
    """Letters merge to exactly these words, each behind a space."""
    vocab, merges = {"<unk>": 0, "<s>": 1, "</s>": 2, "▁": 3}, []
    for letter in sorted(set("".join(words)) - {"▁"}):
        vocab[letter] = len(vocab)
    for word in words:
        for end in range(2, len(word) + 1):
            if word[:end] not in vocab:
                vocab[word[:end]] = len(vocab)
                merges.append((word[: end - 1], word[end - 1]))
    return LlamaTokenizer(vocab=vocab, merges=merges)


@needs_reference
@pytest.mark.parametrize("as_array", [False, True], ids=["PIL images", "arrays"])
def test_pixel_values_are_the_published_ones_within_float16_rounding(published, as_array):
    pictures = [Image.open(FOLDER / "processor" / name) for name in document("processor/expected")["images"]]
    if as_array:
        pictures = [np.asarray(picture.convert("RGB")) for picture in pictures]
    ours = published(images=pictures)["pixel_values"]
    theirs = tensors("processor/expected")["pixel_values"]
    assert ours.dtype == torch.float32 and ours.shape == (4, 3, 448, 448)
    # Half a step between two neighbours of float16, whose significand has 11 bits, and its smallest step around zero.
    assert ((ours - theirs.float()).abs() <= ours.abs() * 2**-11 + 1e-6).all()


@needs_reference
@pytest.mark.parametrize("name", ["", "train_"], ids=["prompt", "training prompt"])
def test_every_token_of_a_published_prompt_is_the_same(published, name):
    expected = document("processor/expected")
    assert published.tokenize(expected[f"{name}prompt"]) == expected[f"{name}input_ids"]


@needs_reference
def test_level_tokens_and_the_answer_before_them_are_the_published_ones(published):
    expected = document("processor/expected")
    assert tuple(expected["level_names"]) == LEVELS
    assert published.level_token_ids(Prompts().score) == expected["level_ids"]
    assert published.level_token_ids(expected["train_prompt"].split(" good")[0]) == expected["level_ids"]
    assert published.tokenize_text("The quality of the painting is") == expected["level_prefix_ids"]


@needs_reference
def test_runs_of_spaces_and_rare_letters_are_tokenised_as_sentencepiece_does(published):
    import sentencepiece

    theirs = sentencepiece.SentencePieceProcessor(model_file=str(FOLDER / "processor" / "tokenizer.model"))
    for text in ["a  b", "   three", " one", "tail   ", "a\n\n b", "日本 été — 🎨", "don't", "1234 5", " ASSISTANT: x"]:
        assert published.tokenize_text(text) == theirs.encode(text), text


@needs_reference
def test_a_published_folder_gets_the_processor_of_its_network_whatever_it_describes(tmp_path):
    shutil.copy(FOLDER / "model" / "config.json", tmp_path)
    shutil.copy(FOLDER / "processor" / "tokenizer.model", tmp_path)
    clip = {"feature_extractor_type": "CLIPFeatureExtractor", "do_center_crop": True, "crop_size": 448, "size": 448, "resample": 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(clip))
    processor = MPLUGOwl2Processor.from_pretrained(tmp_path)
    assert type(processor.image_processor) is MPLUGOwl2ImageProcessor
    assert (processor.image_processor.image_size, processor.num_image_tokens) == (56, 9)
    processor.save_pretrained(tmp_path / "saved")
    again = MPLUGOwl2Processor.from_pretrained(tmp_path / "saved")
    expected = document("processor/expected")["input_ids"]
    assert processor.tokenize(Prompts().score) == again.tokenize(Prompts().score) == expected
    assert (again.image_processor.image_size, again.num_image_tokens) == (56, 9)


def test_normalise_gives_the_processors_pixel_values():
    picture = np.random.default_rng(0).integers(0, 256, (40, 61, 3), dtype=np.uint8)
    square = images.to_square(picture, 28, fast=False)
    expected = MPLUGOwl2ImageProcessor(28)(picture)["pixel_values"]
    assert torch.equal(normalise(torch.from_numpy(square)[None]), expected)


def test_normalise_is_clips_mean_and_standard_deviation():
    black_and_white = torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 2, 1).expand(1, 1, 2, 3)
    low, high = normalise(black_and_white)[0, :, 0].T
    assert torch.allclose(low, torch.tensor([-1.79226, -1.75209, -1.48021]), atol=1e-4)
    assert torch.allclose(high, torch.tensor([1.93034, 2.07489, 2.14590]), atol=1e-4)


def test_an_image_expands_to_its_number_of_tokens_and_text_stays(small):
    ids = small.tokenize("before <|image|> between <|image|> behind")
    assert ids.count(-200) == 2
    expanded = small.expand(ids)
    assert expanded.count(-200) == 10 and len(expanded) == len(ids) + 8
    assert [i for i in expanded if i != -200] == [i for i in ids if i != -200]
    first = ids.index(-200)
    assert expanded[first : first + 5] == [-200] * 5 and expanded[first + 5] == ids[first + 1]


PROMPTS = ["<|image|> short", "a much longer prompt about <|image|> the same painting"]


def ids_of(processor, prompt):
    """As they leave the processor: an image is `<unk>`, which every vocabulary has."""
    return [0 if token == -200 else token for token in processor.expand(processor.tokenize(prompt))]


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_batch_is_padded_at_the_side_that_is_asked_for_and_masked(small, side):
    batch = small(images=[np.zeros((9, 9, 3), np.uint8)] * 2, text=PROMPTS, padding_side=side)
    short, long = (ids_of(small, prompt) for prompt in PROMPTS)
    padding, ones = [0] * (len(long) - len(short)), [1] * len(short)
    assert padding and batch["input_ids"].tolist() == [padding + short if side == "left" else short + padding, long]
    assert batch["attention_mask"].tolist() == [padding + ones if side == "left" else ones + padding, [1] * len(long)]
    assert batch["pixel_values"].shape == (2, 3, 28, 28)


def test_padding_is_at_the_left_where_nothing_is_said_as_generation_needs_it(small):
    assert small(text=PROMPTS)["attention_mask"][0, 0] == 0


def test_the_keyword_arguments_of_transformers_act(small):
    assert small(text=PROMPTS, padding="max_length", max_length=60)["input_ids"].shape == (2, 60)
    assert small(text=PROMPTS, text_kwargs={"padding": "max_length", "max_length": 50})["input_ids"].shape == (2, 50)
    assert small(text=PROMPTS, pad_to_multiple_of=16)["input_ids"].shape[1] % 16 == 0
    lists = small(text=PROMPTS, padding=False, return_tensors=None)["input_ids"]
    assert [len(row) for row in lists] == [len(ids_of(small, prompt)) for prompt in PROMPTS]
    assert small(text="a painting", truncation=True, max_length=2)["input_ids"].shape == (1, 2)
    kinds = small(text=PROMPTS, return_mm_token_type_ids=True)
    assert kinds["mm_token_type_ids"].sum(1).tolist() == [5, 5]
    assert small(text="a", add_special_tokens=False)["input_ids"].tolist() == [small.tokenize("a")[1:]]
    with pytest.raises(ValueError, match="would cut an image, which takes 5 tokens"):
        small(text=PROMPTS, truncation=True, max_length=6)


def test_pictures_may_be_paths_tensors_arrays_and_lists_of_lists(small, tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (20, 31, 3), dtype=np.uint8)
    Image.fromarray(array).save(tmp_path / "a.png")
    expected = small(images=Image.fromarray(array))["pixel_values"]
    forms = [array, [[array]], str(tmp_path / "a.png"), torch.from_numpy(array), torch.from_numpy(array).permute(2, 0, 1)]
    alpha = np.concatenate([array, np.full((20, 31, 1), 255, np.uint8)], axis=2)
    for form in [*forms, alpha]:
        assert torch.equal(small(images=form)["pixel_values"], expected)
    assert small(images=[[array], [array, array]])["pixel_values"].shape[0] == 3
    assert small(images=array[:, :, 0])["pixel_values"].shape == (1, 3, 28, 28)
    with pytest.raises(ValueError, match="holds uint8, not float32"):
        small(images=array.astype(np.float32))


def test_one_prompt_alone_is_a_batch_of_one(small):
    assert small(text="<|image|> x")["input_ids"].tolist() == [ids_of(small, "<|image|> x")]


def test_the_beginning_token_stands_once_and_an_image_may_be_first_or_last(small):
    for prompt in ("<|image|> a painting", "a painting <|image|>", "<|image|>", "a painting"):
        ids = small.tokenize(prompt)
        assert ids[0] == 1 and ids.count(1) == 1, prompt


def test_a_level_of_two_tokens_is_refused():
    tokenizer = word_tokenizer(["▁is", "▁excellent", "▁good", "▁fair", "▁poor", "▁ba"])
    with pytest.raises(ValueError, match="no single token for the level bad"):
        MPLUGOwl2Processor(MPLUGOwl2ImageProcessor(28), tokenizer).level_token_ids("is")


def test_levels_that_share_a_token_are_refused():
    backend = Tokenizer(models.WordLevel({"<unk>": 0, "<s>": 1, "</s>": 2, "▁is": 3, "▁excellent": 4, "▁good": 5, "▁fair": 6}, "<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer = word_tokenizer(["▁is", *(f"▁{level}" for level in LEVELS)])
    processor = MPLUGOwl2Processor(MPLUGOwl2ImageProcessor(28), tokenizer)
    assert len(set(processor.level_token_ids("is"))) == 5
    tokenizer.backend_tokenizer.model, tokenizer.backend_tokenizer.pre_tokenizer = backend.model, backend.pre_tokenizer
    with pytest.raises(ValueError, match="does not tell the levels"):  # poor and bad are both <unk>
        processor.level_token_ids("is")
