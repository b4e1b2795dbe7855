"""Another backbone than mPLUG-Owl2 (a small random LLaVA) gets the answers that transformers' own calls give, one image at a time."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from artquant.config import EngineSpec
from artquant.core.prompts import turns
from artquant.core.schema import CRITIQUE_PARTS, LEVELS
from artquant.engines import FREQUENCY_PENALTY, MIN_TOKENS
from artquant.engines.chat_engine import ChatEngine
from artquant.engines.open import open_engine, resolve
from artquant.model.chat import ChatProcessor, square_size
from artquant.model.checkpoint import Checkpoint
from tests.chat_checkpoints import (
    MARKED,
    PLAIN,
    SIZE,
    WITHOUT_PICTURES,
    byte_level_tokenizer,
    save_chat_checkpoint,
    sentencepiece_tokenizer,
)

ROOM = 7
SHAPES = {  # how a template goes on before an answer and how a tokenizer writes a space differ, and who writes the first token
    "SentencePiece, ASSISTANT:": dict(make=sentencepiece_tokenizer, template=PLAIN, beginning=" The quality of the painting is", num_bos=0),
    "byte level, a new line": dict(make=byte_level_tokenizer, template=MARKED, beginning="The quality of the painting is", num_bos=1),
}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Such small products only wait for each other on more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=SHAPES.values(), ids=SHAPES)
def shape(request):
    return request.param


@pytest.fixture(scope="module")
def folder(shape, tmp_path_factory) -> Path:
    return save_chat_checkpoint(tmp_path_factory.mktemp("chat"), shape["make"](), shape["template"], end=6.0, max_critique_tokens=ROOM)


@pytest.fixture(scope="module")
def engine(folder) -> ChatEngine:
    engine = open_engine(resolve(EngineSpec(num_workers=1), is_mplug_owl2=False), Checkpoint.open(str(folder)))
    torch.set_num_threads(1)
    assert isinstance(engine, ChatEngine)
    return engine


def pictures(num: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num, SIZE, SIZE, 3), dtype=np.uint8)


class Plain:
    """What a person would write with transformers alone: one image, one pass over the whole sequence for every token, no cache."""

    def __init__(self, folder: Path):
        self.model, self.processor = AutoModelForImageTextToText.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)

    def encode_prompt(self, question: str, picture: np.ndarray, beginning: str = "") -> dict[str, torch.Tensor]:
        image = Image.fromarray(picture)
        content = [{"type": "text", "text": question}, {"type": "image", "image": image}]
        chat, options = [{"role": "user", "content": content}], dict(add_generation_prompt=True, return_tensors="pt")
        if not beginning:
            return self.processor.apply_chat_template(chat, tokenize=True, return_dict=True, **options)
        text = self.processor.apply_chat_template(chat, tokenize=False, **options) + beginning
        return self.processor(text=text, images=image, return_tensors="pt", add_special_tokens=not text.startswith("<s>"))

    @torch.inference_mode()
    def next_logits(self, asked: dict[str, torch.Tensor], answer: list[int]) -> torch.Tensor:
        ids = torch.cat([asked["input_ids"], torch.tensor([answer], dtype=torch.long)], dim=1)
        return self.model(input_ids=ids, pixel_values=asked["pixel_values"]).logits[0, -1]

    def decode(self, asked: dict[str, torch.Tensor], room: int, penalty: float = 0.0, min_tokens: int = 0) -> tuple[str, bool]:
        answer: list[int] = []
        while len(answer) < room:
            logits = self.next_logits(asked, answer).clone()
            logits -= penalty * torch.bincount(torch.tensor(answer, dtype=torch.long), minlength=len(logits))
            if len(answer) < min_tokens:
                logits[self.processor.tokenizer.eos_token_id] = -torch.inf
            token = int(logits.argmax())
            if token == self.processor.tokenizer.eos_token_id:
                break
            answer.append(token)
        return self.processor.tokenizer.decode(answer, skip_special_tokens=True).strip(), len(answer) < room


@pytest.fixture(scope="module")
def plain(folder) -> Plain:
    return Plain(folder)


def test_scores_are_those_of_the_template_and_the_beginning_of_the_answer_read_off_the_five_levels(engine, plain, shape):
    images, tokenizer = pictures(5), plain.processor.tokenizer
    assessment = engine.assess(images)
    assert assessment.probabilities.shape == (5, 5) and assessment.probabilities.dtype == np.float64
    level_ids = [tokenizer.encode(f"is {level}", add_special_tokens=False)[-1] for level in LEVELS]
    assert [tokenizer.decode([i]).strip() for i in level_ids] == list(LEVELS)
    for image, probabilities, mass in zip(images, assessment.probabilities, assessment.open_set_mass, strict=True):
        asked = plain.encode_prompt("How would you rate the quality of this painting?", image, shape["beginning"])
        assert asked["input_ids"][0].tolist().count(tokenizer.bos_token_id) == shape["num_bos"]
        logits = plain.next_logits(asked, [])
        assert np.allclose(probabilities, logits[level_ids].softmax(-1).numpy(), atol=1e-5)
        assert mass == pytest.approx(logits.softmax(-1)[level_ids].sum().item(), abs=1e-5, rel=1e-4)
    assert np.ptp(assessment.probabilities, axis=0).max() > 0.02  # the images do not all look alike to it


def test_critiques_are_those_of_plain_greedy_decoding_whatever_the_checkpoint_says_of_sampling(engine, plain):
    images = pictures(6)
    assessment = engine.assess(images, critique=True)
    for image, critique, status in zip(images, assessment.critiques, assessment.critique_statuses, strict=True):
        answers = {part: plain.decode(plain.encode_prompt(turns(engine.prompts.critique[part])[0], image), ROOM) for part in CRITIQUE_PARTS}
        assert critique == {part: text for part, (text, _) in answers.items()}
        assert status == ("ok" if all(ended for _, ended in answers.values()) else "truncated")
    assert len(set(assessment.critique_statuses)) == 2, "answers should end in some images and not in others"
    assert np.array_equal(engine.assess(images).probabilities, assessment.probabilities)
    assert engine.assess(images[:2]).critiques == [None, None]


def test_a_second_try_is_plain_decoding_with_a_penalty(engine, plain):
    images = pictures(2)
    for image, critique in zip(images, engine.rewrite(images)[0], strict=True):
        for part in CRITIQUE_PARTS:
            asked = plain.encode_prompt(turns(engine.prompts.critique[part])[0], image)
            assert critique[part] == plain.decode(asked, ROOM, FREQUENCY_PENALTY, MIN_TOKENS)[0]


def test_an_image_gets_the_same_answer_alone_and_in_any_batch(engine):
    images = pictures(5)
    whole = engine.assess(images, critique=True)
    for rows in ([0], [4], [4, 3, 2, 1, 0], [2, 2, 1]):
        part = engine.assess(images[rows], critique=True)
        assert np.allclose(part.probabilities, whole.probabilities[rows], atol=1e-5)
        assert np.allclose(part.open_set_mass, whole.open_set_mass[rows], atol=1e-5)
        assert part.critiques == [whole.critiques[row] for row in rows]
        assert part.critique_statuses == [whole.critique_statuses[row] for row in rows]


def test_the_vision_tower_sees_each_image_once_for_score_and_critique(engine):
    seen = []
    hook = engine.model.model.vision_tower.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    engine.assess(pictures(3), critique=True)
    hook.remove()
    assert seen == [3]


def test_a_network_that_takes_no_features_gets_the_pixels_each_time_and_answers_alike(engine, monkeypatch):
    images = pictures(3)
    expected = engine.assess(images, critique=True)
    monkeypatch.setattr("artquant.engines.chat_engine.can_take", lambda model, name: False)
    found = engine.assess(images, critique=True)
    assert np.allclose(found.probabilities, expected.probabilities, atol=1e-6) and found.critiques == expected.critiques


def test_bfloat16_stays_close_to_float32(folder, engine):
    half = ChatEngine.load(Checkpoint.open(str(folder)), dtype="bfloat16")
    assert half.dtype == torch.bfloat16
    assert np.abs(half.assess(pictures(4)).probabilities - engine.assess(pictures(4)).probabilities).max() < 0.05


def test_an_identity_holds_all_that_a_score_depends_on(folder, tmp_path):
    checkpoint = Checkpoint.open(str(folder))
    assert (checkpoint.backbone, checkpoint.image_size, checkpoint.is_mplug_owl2) == ("llava", SIZE, False)
    before = checkpoint.identity("float32")
    for name, old, new in (("processor_config.json", "0.4,", "0.41,"), ("chat_template.jinja", "message.role", "message['role']")):
        copy = shutil.copytree(folder, tmp_path / name / folder.name)
        (copy / name).write_text((copy / name).read_text().replace(old, new))
        after = Checkpoint.open(str(copy)).identity("float32")
        assert after.model_digest != before.model_digest
        assert (after.preprocessing_digest != before.preprocessing_digest) == (name == "processor_config.json")
    assert Checkpoint.open(str(shutil.copytree(folder, tmp_path / "same" / folder.name))).identity("float32") == before


def refused(folder: Path) -> str:
    from artquant.config import ScoreSpec
    from artquant.core.errors import UserError
    from tests.recipes import recipe_for

    with pytest.raises(UserError) as error:
        recipe_for(ScoreSpec(model=str(folder)))
    assert str(error.value).startswith(f"The model {folder} cannot be used: ") and "\n" not in str(error.value)
    return str(error.value)


def test_what_cannot_be_asked_is_refused_with_a_sentence(tmp_path):
    good = save_chat_checkpoint(tmp_path / "good", byte_level_tokenizer(), MARKED)

    def changed(name: str, edit) -> Path:
        copy = shutil.copytree(good, tmp_path / f"bad-{len(list(tmp_path.iterdir()))}")
        document = json.loads((copy / name).read_text())
        edit(document)
        (copy / name).write_text(json.dumps(document))
        return copy

    def forget(document: dict) -> None:
        merges = document["model"]["merges"]
        document["model"]["merges"] = [pair for pair in merges if "".join(pair) not in ("Ġfair", "Ġbad")]

    assert "the tokenizer has no single token for the level fair, bad" in refused(changed("tokenizer.json", forget))

    def shorten(document: dict) -> None:
        document["text_config"]["max_position_embeddings"] = 40

    assert "tokens, and it reads 40 with the answer" in refused(changed("config.json", shorten))
    assert "a checkpoint of 'llama', which is no image-text-to-text model" in refused(
        changed("config.json", lambda document: document.update(model_type="llama"))
    )
    (good / "chat_template.jinja").write_text(WITHOUT_PICTURES)
    assert "its chat template has no place for a picture" in refused(good)
    (good / "chat_template.jinja").unlink()
    assert "it has no chat template" in refused(good)


@pytest.mark.parametrize(
    ("image_processor", "vision", "size"),
    [
        ({"do_center_crop": True, "crop_size": {"height": 336, "width": 336}, "size": {"shortest_edge": 340}}, 224, 336),
        ({"do_center_crop": False, "crop_size": {"height": 224}, "size": {"height": 384, "width": 384}}, 224, 384),
        ({"size": {"longest_edge": 1536}}, 512, 512),
        ({"size": {"longest_edge": 1536}}, [448, 448], 448),
        ({"size": {"shortest_edge": 3136, "longest_edge": 12845056}}, None, 448),
    ],
    ids=["crop", "size", "vision tower", "a pair", "any size"],
)
def test_squares_are_of_the_size_that_the_checkpoint_takes_as_it_is(image_processor, vision, size):
    assert square_size(SimpleNamespace(**image_processor), SimpleNamespace(vision_config=SimpleNamespace(image_size=vision))) == size


def test_a_template_that_is_the_tokenizers_alone_will_do(folder):
    processor = AutoProcessor.from_pretrained(folder)
    processor.tokenizer.chat_template, processor.chat_template = processor.chat_template, None
    assert ChatProcessor(processor, SIZE, folder).chat("Good?\n<|image|> ASSISTANT:")


def test_a_processor_that_reads_films_too_needs_no_torchvision_for_pictures(tmp_path):
    """As the published folders of Qwen2-VL are, without the weights."""
    tokenizer, folder, copy = byte_level_tokenizer(), tmp_path / "qwen", tmp_path / "copy"
    marks = ["<|vision_start|>", "<|image_pad|>", "<|video_pad|>", "<|vision_end|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    tokenizer.save_pretrained(folder)
    copy.mkdir()
    (folder / "config.json").write_text('{"model_type": "qwen2_vl"}')
    pictures = {"image_processor_type": "Qwen2VLImageProcessor", "processor_class": "Qwen2VLProcessor", "patch_size": 14, "merge_size": 2}
    (folder / "preprocessor_config.json").write_text(json.dumps(pictures))
    (folder / "video_preprocessor_config.json").write_text('{"video_processor_type": "Qwen2VLVideoProcessor"}')
    (folder / "chat_template.jinja").write_text(MARKED.replace("<image>", "".join([*marks[:2], marks[3]])))
    processor = ChatProcessor.from_pretrained(folder)
    ids = processor.encode_prompt("Good?\n<|image|> ASSISTANT: It is")
    assert processor.image_size == 448 and ids.count(tokenizer.convert_tokens_to_ids("<|image_pad|>")) == (448 // 28) ** 2
    assert tokenizer.decode(ids[-3:]).endswith("It is")
    processor.save_pretrained(copy)
    assert ChatProcessor.from_pretrained(copy).encode_prompt("Good?\n<|image|> ASSISTANT: It is") == ids
    assert (copy / "video_preprocessor_config.json").is_file()
