"""The published training JSON: exchanges of one image become one artwork."""

from __future__ import annotations

import json
from typing import Any

import pytest

from artquant.annotations.conversations import part_of
from artquant.annotations.votes import level_shares
from artquant.config import LossSpec
from artquant.core.errors import UserError
from artquant.core.prompts import Prompts
from artquant.core.scale import Scale
from artquant.training.lessons import soft_labels
from tests.annotations.conftest import Read, column, refused

LAYOUT = {"layout": "conversations"}
ASKED = "How would you rate the quality of this painting?\n<|image|>"


def exchange(image: str | None, task: str | None, prompt: str = ASKED, answer: str = "Good.", **others: Any) -> dict[str, Any]:
    turns = [{"from": "human", "value": prompt}, {"from": "gpt", "value": answer}]
    return {"id": f"{image}-{task}", "image": image, "task_type": task, "conversations": turns, **others}


def score(image: str, value: Any, **others: Any) -> dict[str, Any]:
    return exchange(image, "score", gt_score=value, level_probs=[0.1, 0.5, 0.2, 0.1, 0.1], **others)


def describe(image: str, prompt: str, answer: str, **others: Any) -> dict[str, Any]:
    return exchange(image, "description", prompt, answer, **others)


ENTRIES = [
    describe("b.jpg", "<|image|>Describe the emotion of this painting.", "Calm."),
    score("a.jpg", 6.5, genre="landscape"),
    score("b.jpg", "3", genre="portrait"),
    describe("a.jpg", "<|image|>Describe the cognitive level.", " A harbour. ", gt_score=1),
    describe("a.jpg", "<|image|>Describe its composition and colours.", "Blue."),
    describe("a.jpg", "<|image|>Please comment on it.", "I like it."),
    describe("c.jpg", "<|image|>What mood is it in?", "Gloomy.", gt_score=2),
]


@pytest.mark.parametrize("text", [json.dumps(ENTRIES), "\n".join(map(json.dumps, ENTRIES))])
def test_the_exchanges_of_an_image_are_one_artwork(read: Read, text: str) -> None:
    annotations, told = read(LAYOUT, train_json=text), {"file_split": "train"}
    shares = [{"value": value, "count": share} for value, share in ((1.0, 0.1), (3.5, 0.1), (5.0, 0.2), (7.5, 0.5), (10.0, 0.1))]
    more = told | {"votes": shares}
    assert annotations.table.to_pylist() == [
        {"artwork_id": "a.jpg", "score": 6.5, "sigma": None, "num_raters": None, "perception": "Blue.", "cognition": "A harbour."}
        | {"emotion": None, "comment": "I like it.", "genre": "landscape", **more},
        {"artwork_id": "b.jpg", "score": 3.0, "sigma": None, "num_raters": None, "perception": None, "cognition": None}
        | {"emotion": "Calm.", "comment": None, "genre": "portrait", **more},
        {"artwork_id": "c.jpg", "score": 2.0, "sigma": None, "num_raters": None, "perception": None, "cognition": None}
        | {"emotion": "Gloomy.", "comment": None, "genre": None, "votes": None, **told},
    ]
    assert (annotations.num_rows, annotations.num_merged, refused(annotations)) == (7, 4, [])


def test_bad_exchanges_are_refused_with_row_and_reason(read: Read) -> None:
    bad = [
        exchange(None, "score", gt_score=5),
        exchange("a.jpg", "chat"),
        score("x.jpg", None),
        score("x.jpg", "high"),
        score("x.jpg", 11),
        describe("a.jpg", "Describe the emotion.", " "),
        score("a.jpg", 7),
        describe("a.jpg", "Its emotion?", "Sad."),
        describe("x.jpg", "Its emotion?", "Sad."),
        "nothing",
    ]
    good = [score("a.jpg", 5), score("b.jpg", 6), describe("a.jpg", "Its emotion?", "Glad.")]
    annotations = read(LAYOUT, good_json=json.dumps(good), more_json=json.dumps(bad))
    assert refused(annotations) == [
        ("more.json", 1, "no artwork is named"),
        ("more.json", 2, "the task_type is neither score nor description: 'chat'"),
        ("more.json", 3, "there is no score"),
        ("more.json", 4, "the score is not a number: 'high'"),
        ("more.json", 5, "the score is outside 0 to 10: '11'"),
        ("more.json", 6, "the description is empty"),
        ("more.json", 7, "the artwork is annotated already: 'score' in row 1 of good.json"),
        ("more.json", 8, "the artwork is annotated already: 'emotion' in row 3 of good.json"),
        ("more.json", 9, "the artwork has texts and no score: 'x.jpg'"),
        ("more.json", 10, "the row is no JSON object"),
    ]
    assert column(annotations, "emotion") == ["Glad.", None]


def test_the_part_is_told_by_its_name_or_else_by_its_topics() -> None:
    for part, prompt in Prompts().critique.items():
        assert part_of(prompt) == part
    assert part_of("What does it make you feel?") == "emotion"
    assert part_of("Which symbols, and which style?") == "cognition"
    assert part_of("Describe perception, cognition and emotion.") == "comment"
    assert part_of("Is there light and a mood?") == "comment"
    assert part_of("Say something.") == "comment"


def test_the_published_soft_label_is_learnt_wherever_it_stands(read: Read) -> None:
    entries = [describe("a.jpg", "Its emotion?", "Sad."), score("a.jpg", 7), score("b.jpg", 5)]
    row, _ = read(LAYOUT, train_json=json.dumps(entries)).table.to_pylist()
    assert level_shares(row["votes"], Scale()).tolist() == pytest.approx([0.1, 0.5, 0.2, 0.1, 0.1]) and row["score"] == 7
    (label,) = soft_labels([row], Scale(), LossSpec())
    assert label.tolist() == pytest.approx([0.1, 0.5, 0.2, 0.1, 0.1])


@pytest.mark.parametrize("given", [[0.5, 0.5], [0.9, 0.4, -0.3, 0, 0], [1, 1, 1, 1, 1], "high", [True, 0, 0, 0, 0], ["1", 0, 0, 0, 0]])
def test_a_soft_label_that_is_none_is_refused(given: object, read: Read) -> None:
    annotations = read(LAYOUT, good_json=json.dumps([score("a.jpg", 7) | {"level_probs": given}, score("b.jpg", 5), score("c.jpg", 6)]))
    ((_, row, reason),) = refused(annotations)
    assert row == 1 and reason.startswith("level_probs are not five shares that add up to 1, best level first")


def test_another_layout_is_a_sentence(read: Read) -> None:
    with pytest.raises(UserError, match="a.csv is no JSON, which the layout conversations is: set annotations.layout=table."):
        read(LAYOUT, a_csv="id,score\na,5\nb,6\n")


def test_json_without_conversations_is_a_sentence(read: Read) -> None:
    with pytest.raises(UserError, match="has no conversations: set annotations.layout=table"):
        read(LAYOUT, a_json='[{"id": "a", "score": 5}]')
