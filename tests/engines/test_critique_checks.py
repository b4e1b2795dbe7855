"""Critiques that went wrong are told from good ones, and written once more."""

import numpy as np
import pytest

from artquant.core.prompts import Prompts
from artquant.core.schema import CRITIQUE_PARTS, CritiqueStatus
from artquant.engines import Assessment
from artquant.engines.critique_checks import status_of
from artquant.engines.halving import assess_each
from artquant.paintings import paint

QUESTIONS = Prompts().critique
GOOD = {
    "perception": "A diagonal composition in brown earth tones, with crisp contours in dim night light; it looks well balanced.",
    "cognition": "This classical still life with fruit uses thin oil glazes, and the hand shows good skill.",
    "emotion": "The mood is tender; the picture touches the viewer and invites a longer look.",
}
EXCELLENT, FAIR, BAD = [0.8, 0.2, 0.0, 0.0, 0.0], [0.0, 0.2, 0.6, 0.2, 0.0], [0.0, 0.0, 0.1, 0.2, 0.7]

FAULTS = [
    ("empty", {"emotion": ""}),
    ("empty", {"perception": " \n"}),
    ("empty", {"cognition": "... 12 !"}),
    ("looping", {"emotion": "The mood is calm, the mood is calm, the mood is calm, the mood"}),
    ("looping", {"emotion": "so very very very very very very good"}),
    ("looping", {"perception": "The light is soft. " + "The colours are warm and the line is broken. " * 3}),
    ("looping", {"perception": "静かな" * 5}),
    (
        "looping",
        {"perception": " ".join(("calm", "sea")[i.bit_count() % 2] for i in range(64))},
    ),  # Thue and Morse: nothing comes three times
    ("wrong_language", {part: "Das Bild zeigt eine Landschaft mit Bergen und ist von einem warmen Licht erfüllt." for part in GOOD}),
    ("wrong_language", {part: "La composition est équilibrée et les couleurs sont chaudes dans une lumière du soir." for part in GOOD}),
    ("wrong_language", {part: "La composición es diagonal y los colores del cuadro son cálidos, con una luz suave." for part in GOOD}),
    ("wrong_language", dict.fromkeys(GOOD, "这幅画的构图很平衡，色彩温暖。")),
    ("wrong_language", dict.fromkeys(GOOD, "Картина показывает спокойное море в мягком свете.")),
    ("copied_prompt", {"perception": "Describe the perception of this painting: its composition, colour, line and light."}),
    ("copied_prompt", {"emotion": "I feel its mood and what it makes a viewer feel."}),
    ("copied_prompt", {"emotion": "It is calm. USER: How would you rate it?"}),
    ("copied_prompt", {"cognition": "<|im_start|> A still life."}),
]
SOUND = [
    {},
    {"emotion": "Calm."},
    {"emotion": "It is very, very, very, very calm, and calm and calm again; more and more one sees the light, the light of an evening."},
    {"perception": "Its composition, colour, line and light are all of one piece."},  # takes the question up
    {"cognition": "The subject, symbolism, technique and style recall Die Brücke and Les Nabis; “La mer est calme” is written below."},
    {"cognition": "A village by Egon Schiele: Haus mit Schindeldach, in the style of the Wiener Secession."},
    {"perception": "Bold colours, dramatic light, strong diagonals."},
    {"perception": "晴 — the character for clear weather — stands in the upper left of the sheet, and the brush is dry."},
]


@pytest.mark.parametrize("status, parts", FAULTS)
def test_what_went_wrong_is_named(status, parts):
    assert status_of(GOOD | parts, False, QUESTIONS, FAIR) == status


@pytest.mark.parametrize("parts", SOUND)
def test_a_good_critique_passes_at_each_score_that_it_does_not_speak_against(parts):
    for probabilities in (EXCELLENT, FAIR):
        assert status_of(GOOD | parts, False, QUESTIONS, probabilities) == CritiqueStatus.OK
    assert status_of(GOOD | parts, True, QUESTIONS, FAIR) == CritiqueStatus.TRUNCATED


@pytest.mark.parametrize(
    "text, probabilities, is_contradiction",
    [
        ("A superb work with masterly brushwork.", BAD, True),
        ("A superb work with masterly brushwork.", FAIR, False),
        ("A superb work with masterly brushwork.", EXCELLENT, False),
        ("A clumsy drawing, the light poorly observed.", EXCELLENT, True),
        ("A clumsy drawing, the light poorly observed.", BAD, False),
        ("A superb sky and a masterly sea over a clumsy boat.", BAD, False),  # weighs both
        ("A clumsy boat, poorly lit, under a superb sky.", EXCELLENT, False),
        ("This is not a superb work, nor a masterly one.", BAD, False),
        ("The brushwork lacks the masterly and superb touch of the school.", BAD, False),
        ("An excellent idea.", BAD, False),  # one word is none
        ("An abandoned farm in a chaotic storm, the shattered mast of a lifeless ship.", EXCELLENT, False),  # what is painted
    ],
)
def test_praise_of_a_bad_score_and_blame_of_a_good_one_contradict_it(text, probabilities, is_contradiction):
    critique = dict.fromkeys(CRITIQUE_PARTS, "The sea at night.") | {"cognition": text}
    assert status_of(critique, False, QUESTIONS, probabilities) == ("contradicts_score" if is_contradiction else "ok")


def test_a_question_in_another_language_is_answered_in_it():
    german = dict.fromkeys(QUESTIONS, "USER: Beschreibe das Bild und was es mit dem Betrachter macht.\n<|image|> ASSISTANT:")
    texts = dict.fromkeys(GOOD, "Das Bild zeigt eine Landschaft mit Bergen und ist von einem warmen Licht erfüllt.")
    assert status_of(texts, False, german, FAIR) == "ok" and status_of(GOOD, False, german, FAIR) == "wrong_language"
    chinese = dict.fromkeys(QUESTIONS, "USER: 请描述这幅画。\n<|image|> ASSISTANT:")
    assert status_of(dict.fromkeys(GOOD, "这幅画的构图很平衡，色彩温暖。"), False, chinese, FAIR) == "ok"
    assert status_of(GOOD, False, chinese, FAIR) == "wrong_language"


def test_no_text_of_the_painters_is_flagged():
    """They are templates: all levels, all subjects."""
    for seed in range(200):
        painting = paint(seed)
        texts = {part: getattr(painting, part) for part in CRITIQUE_PARTS}
        level = int(painting.score < 8) + int(painting.score < 6) + int(painting.score < 4) + int(painting.score < 2)
        assert status_of(texts, False, QUESTIONS, np.eye(5)[level].tolist()) == "ok", (painting.score, texts)


class Author:
    """Writes by a picture's red: 0 well, 1 in a loop and then well, 2 in a loop twice, 3 cut off."""

    prompts, scale, image_size = Prompts(), Prompts().scale, 2
    LOOP = GOOD | {"emotion": "calm and " * 9}

    def __init__(self):
        self.asked_again: list[int] = []

    def assess(self, pixels: np.ndarray, critique: bool = False) -> Assessment:
        reds = pixels[:, 0, 0, 0].tolist()
        texts = [(GOOD if red in (0, 3) else self.LOOP) if critique else None for red in reds]
        statuses = ["truncated" if red == 3 else "ok" for red in reds] if critique else ["not_requested"] * len(reds)
        return Assessment(np.array([FAIR] * len(reds)), np.ones(len(reds)), texts, statuses)

    def rewrite(self, pixels: np.ndarray):
        reds = pixels[:, 0, 0, 0].tolist()
        self.asked_again += reds
        return [GOOD | {"emotion": f"second {red}"} if red != 2 else dict.fromkeys(GOOD, "") for red in reds], ["ok"] * len(reds)


def test_a_critique_that_fails_is_written_once_more_and_stays_where_that_is_no_better():
    engine, pixels = Author(), np.zeros((4, 2, 2, 3), np.uint8)
    pixels[:, 0, 0, 0] = range(4)
    outcomes = assess_each(engine, pixels, critique=True)
    written = [(assessment.critiques[row]["emotion"], assessment.critique_statuses[row]) for assessment, row in outcomes]
    assert written == [(GOOD["emotion"], "ok"), ("second 1", "ok"), (Author.LOOP["emotion"], "looping"), ("second 3", "ok")]
    assert engine.asked_again == [1, 2, 3]
    outcomes = assess_each(engine, pixels, critique=False)
    assert {assessment.critique_statuses[row] for assessment, row in outcomes} == {"not_requested"} and engine.asked_again == [1, 2, 3]
