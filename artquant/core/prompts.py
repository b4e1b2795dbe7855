"""What the model is asked. The prompts travel with a checkpoint (`artquant.json`); the defaults are those of the published weights."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from artquant.core.scale import Scale
from artquant.core.schema import CRITIQUE_PARTS, LEVELS

FILE_NAME = "artquant.json"
IMAGE_PLACEHOLDER = "<|image|>"


def turns(prompt: str) -> tuple[str, str]:
    """Split a prompt into the question and the beginning of the answer, without its template, for a network with a template of its own.

    `turns("USER: Good?\\n<|image|> ASSISTANT: It is")` is `("Good?", "It is")`.
    """
    question, answer = prompt.split(IMAGE_PLACEHOLDER)
    return question.strip().removeprefix("USER:").strip(), answer.strip().removeprefix("ASSISTANT:").strip()


def _critique_prompts() -> dict[str, str]:
    aspects = {
        "perception": "its composition, colour, line and light",
        "cognition": "its subject, symbolism, technique and style",
        "emotion": "its mood and what it makes a viewer feel",
    }
    return {
        part: f"USER: Describe the {part} of this painting: {aspects[part]}.\n{IMAGE_PLACEHOLDER} ASSISTANT:" for part in CRITIQUE_PARTS
    }


@dataclass(frozen=True)
class WrittenScore:
    """How a model is asked that writes its score: so many answers, sampled at a temperature; one alone is the likeliest."""

    samples: int = 8
    temperature: float = 1.0
    max_tokens: int = 512

    def __post_init__(self) -> None:
        if self.samples < 1 or self.max_tokens < 1 or not 0 < self.temperature <= 10:
            raise ValueError("written_score takes samples and max_tokens from 1 on, and a temperature above 0 and up to 10")


@dataclass(frozen=True)
class Prompts:
    """One prompt for the score, one for each part of the critique. The image stands last: all before it is the same for every artwork.

    A model that learnt other words than the five levels has them in `score_words`, word -> score; one that writes its score as a number has
    `written_score`. Either way a score is shared out between the two levels that are nearest to it.

    Raises ValueError where a prompt has not just one image, where the critique's prompts, answered in one batch, do not end alike,
    where the level values are no scale, or where a word's score lies outside it.
    """

    score: str = f"USER: How would you rate the quality of this painting?\n{IMAGE_PLACEHOLDER} ASSISTANT: The quality of the painting is"
    critique: dict[str, str] = field(default_factory=_critique_prompts)
    level_values: tuple[float, ...] = Scale().values
    max_critique_tokens: int = 160
    comment: str = f"USER: Please comment on this painting.\n{IMAGE_PLACEHOLDER} ASSISTANT:"  # in training alone
    score_words: dict[str, float] | None = None
    written_score: WrittenScore | None = None

    def __post_init__(self) -> None:
        for prompt in (self.score, *self.critique.values(), self.comment):
            if prompt.count(IMAGE_PLACEHOLDER) != 1:
                raise ValueError(f"a prompt has {IMAGE_PLACEHOLDER} once, not {prompt.count(IMAGE_PLACEHOLDER)} times: {prompt!r}")
        if set(self.critique) != set(CRITIQUE_PARTS):
            raise ValueError(f"the critique has the parts {', '.join(CRITIQUE_PARTS)}, not {', '.join(self.critique)}")
        if len({prompt.split(IMAGE_PLACEHOLDER)[1] for prompt in self.critique.values()}) != 1:
            raise ValueError("the critique's prompts must have the same text behind the image")
        if self.score_words is not None and (len(self.score_words) < 2 or self.written_score):
            raise ValueError("score_words are two or more, and a model that has them does not write its score")
        self.scale.shares(np.array(self.word_values))

    @property
    def words(self) -> tuple[str, ...]:
        """The words that a score is read off: the five levels where a checkpoint has none of its own."""
        return LEVELS if self.score_words is None else tuple(self.score_words)

    @property
    def word_values(self) -> tuple[float, ...]:
        return tuple(self.level_values) if self.score_words is None else tuple(self.score_words.values())

    @property
    def scale(self) -> Scale:
        return Scale(tuple(self.level_values))

    @property
    def by_part(self) -> dict[str, str]:
        """The prompts for texts: the critique's, and that for a comment."""
        return {**self.critique, "comment": self.comment}

    @property
    def digest(self) -> str:
        """Changes with every character that the model is asked when it scores, with the levels and with their values."""
        asked = {name: value for name, value in asdict(self).items() if name != "comment" and value is not None}
        return hashlib.sha256(json.dumps([asked, LEVELS], sort_keys=True).encode()).hexdigest()[:16]

    def save(self, folder: str | Path) -> None:
        said = {name: value for name, value in asdict(self).items() if value is not None}
        (Path(folder) / FILE_NAME).write_text(json.dumps(said, indent=1) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> "Prompts":
        """Load the prompts of a checkpoint folder, or the published ones if it has none."""
        path = Path(folder) / FILE_NAME
        if not path.is_file():
            return cls()
        document = json.loads(path.read_text())
        if "level_values" in document:
            document["level_values"] = tuple(document["level_values"])
        if (written := document.get("written_score")) is not None:
            document["written_score"] = WrittenScore(**written)
        return cls(**document)
