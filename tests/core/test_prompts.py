"""The prompts of a checkpoint: what is published, what is kept, what is refused."""

import json
from dataclasses import fields, replace

import pytest

from artquant.core.prompts import FILE_NAME, IMAGE_PLACEHOLDER, Prompts, WrittenScore
from artquant.core.schema import CRITIQUE_PARTS
from tests.reference import document, needs_reference

OTHERS = {
    "score_words": {"low": 2.0, "high": 3.0},
    "score": f"USER: {IMAGE_PLACEHOLDER} How good is “it”? ASSISTANT: The quality is",
    "critique": {part: f"USER: Say {part}. {IMAGE_PLACEHOLDER} Go on:" for part in CRITIQUE_PARTS},
    "level_values": (5.0, 4.0, 3.0, 2.0, 1.0),
    "max_critique_tokens": 7,
}


@needs_reference
def test_the_default_score_prompt_is_the_published_one():
    assert Prompts().score == document("processor/expected")["prompt"]


@pytest.mark.parametrize("prompts", [Prompts(), Prompts(**OTHERS)], ids=["published", "others"])
def test_saved_prompts_are_loaded_with_the_same_digest(tmp_path, prompts):
    prompts.save(tmp_path)
    loaded = Prompts.load(tmp_path)
    assert loaded == prompts and loaded.digest == prompts.digest
    assert loaded.scale.values == prompts.level_values


def test_a_folder_without_prompts_has_the_published_ones(tmp_path):
    assert Prompts.load(tmp_path) == Prompts()


def test_the_digest_changes_with_every_field_that_is_asked_when_a_model_scores():
    written = replace(Prompts(), written_score=WrittenScore())  # the others have score words, and nobody has both
    assert OTHERS.keys() == {field.name for field in fields(Prompts)} - {"comment", "written_score"}
    assert replace(Prompts(), comment="USER: Your comment?<|image|> ASSISTANT:").digest == Prompts().digest
    digests = {replace(Prompts(), **{name: value}).digest for name, value in OTHERS.items()}
    assert len(digests | {Prompts().digest, written.digest}) == len(OTHERS) + 2


def test_the_digest_changes_with_one_character_of_one_part():
    critique = Prompts().critique
    changed = {**critique, "emotion": critique["emotion"].replace("viewer", "viewers")}
    assert Prompts(critique=changed).digest != Prompts().digest
    assert Prompts(critique=dict(reversed(critique.items()))).digest == Prompts().digest


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"score": "USER: How good is it?"}, "once, not 0 times"),
        ({"score": f"{IMAGE_PLACEHOLDER} or {IMAGE_PLACEHOLDER}?"}, "once, not 2 times"),
        ({"critique": {**OTHERS["critique"], "emotion": "Say it."}}, "once, not 0 times"),
        ({"critique": {"perception": IMAGE_PLACEHOLDER}}, "perception, cognition, emotion, not perception"),
        ({"critique": {**OTHERS["critique"], "humour": f"{IMAGE_PLACEHOLDER} Go on:"}}, "not perception, cognition, emotion, humour"),
        ({"critique": {**OTHERS["critique"], "emotion": f"{IMAGE_PLACEHOLDER} End:"}}, "the same text behind the image"),
        ({"level_values": (1.0, 2.0, 3.0, 4.0, 5.0)}, "strictly falling"),
        ({"level_values": (10.0, 5.0, 1.0)}, "5 strictly falling"),
    ],
)
def test_prompts_that_cannot_be_asked_are_refused_made_or_loaded(tmp_path, given, sentence):
    with pytest.raises(ValueError, match=sentence):
        Prompts(**given)
    (tmp_path / FILE_NAME).write_text(json.dumps({"level_values": [10.0, 7.5, 5.0, 3.5, 1.0], **given}))
    with pytest.raises(ValueError, match=sentence):
        Prompts.load(tmp_path)
