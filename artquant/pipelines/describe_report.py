"""What a describe run shows and measures: gathered while artworks are decided, drawn when all are."""

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from artquant.agreement.metrics import Interval, bootstrap, srcc
from artquant.core import schema
from artquant.core.scale import Scale
from artquant.core.schema import CRITIQUE_PARTS, LEVELS
from artquant.descriptions.loop import State
from artquant.descriptions.measures import Reader, masked
from artquant.paintings import paint
from artquant.paintings.seeds import HELD_OUT
from artquant.records.description import LevelBias, RoundMark, Shown

MAX_MEASURED = 2000  # artworks: the first that were decided
SHOWN_PER_LEVEL = 6
SHEET_ROWS = 50
_TAUGHT = 800  # paintings that teach the reader
_MIN_RANKED = 10  # artworks, for a correlation


@dataclass(frozen=True)
class Decided:
    """An artwork with all its rounds. `outcome`: '' where it is kept, else its class."""

    artwork_id: str
    uri: str
    score: float
    level: str
    state: State
    outcome: str
    message: str

    def text_after(self, round_: int) -> str:
        return self.state.text_after(round_)


@dataclass
class Gathering:
    """Decided artworks, as many as are measured, and the first messages of each class."""

    scale: Scale
    rows: list[Decided] = field(default_factory=list)
    messages: dict[str, list[str]] = field(default_factory=dict)

    def add(self, row: Mapping[str, Any]) -> None:
        """`row`: of `wave_schema()`."""
        outcome, state = row[schema.VERDICT], State.of(json.loads(row[schema.STATE])["state"])
        if outcome and len(kept := self.messages.setdefault(outcome, [])) < 3:
            kept.append(row[schema.MESSAGE])
        if len(self.rows) < MAX_MEASURED:
            score = json.loads(row[schema.GIVEN])[schema.SCORE]
            level = str(self.scale.level(np.array([score]))[0])
            self.rows.append(Decided(row[schema.ARTWORK_ID], row[schema.URI], score, level, state, outcome, row[schema.MESSAGE]))

    def rounds(self, readers: tuple[Reader, Reader]) -> list[RoundMark]:
        """Return what the words tell of the score after each round, of all artworks that had a description by then."""
        last = max((len(row.state.verdicts) for row in self.rows), default=0)
        marks = []
        for number in range(1, last + 1):
            there = [(row.text_after(number), row.score) for row in self.rows if row.text_after(number)]
            agreed = sum(any(one.agreed for one in row.state.verdicts[:number]) for row in self.rows)
            marks.append(RoundMark(number, agreed, len(self.rows), *(_ranked(there, reader, how) for reader, how in _ways(readers))))
        return marks

    def drawn(self, num: int) -> list[Decided]:
        """Return so many kept descriptions, from each level in turn."""
        by_level = {level: [row for row in self.rows if row.level == level and not row.outcome] for level in LEVELS}
        turns = [row for rank in range(num) for rows in by_level.values() for row in rows[rank : rank + 1]]
        return turns[:num]

    def bias(self, reader: Reader) -> list[LevelBias]:
        """Return the score that the reader takes the kept texts for, minus people's, by level."""
        found = []
        for level in LEVELS:
            kept = [row for row in self.rows if row.level == level and not row.outcome]
            if not kept:
                continue
            implied = reader.read([row.text_after(len(row.state.verdicts)) for row in kept])
            human = np.array([row.score for row in kept])
            found.append(LevelBias(level, len(kept), bootstrap(lambda a, b: float((a - b).mean()), implied, human, rounds=300)))
        return found

    def shown(self, thumbnail: Callable[[str], bytes | None]) -> list[Shown]:
        """Return some artworks of each level, those that took several rounds first."""
        chosen = []
        for level in LEVELS:
            rows = sorted((row for row in self.rows if row.level == level), key=lambda row: (-len(row.state.verdicts), row.artwork_id))
            chosen += rows[:SHOWN_PER_LEVEL]
        return [_shown(row, thumbnail(row.uri)) for row in chosen]

    def sheet(self) -> bytes:
        """Return fifty rows for a person to check, as CSV, drawn by level and round: an empty column `fits` takes yes or no."""
        rng = np.random.default_rng(0)
        groups: dict[tuple[str, int], list[Decided]] = {}
        for row in self.rows:
            if row.text_after(len(row.state.verdicts)):
                groups.setdefault((row.level, len(row.state.verdicts)), []).append(row)
        for rows in groups.values():
            rng.shuffle(rows)
        drawn: list[Decided] = []
        while len(drawn) < SHEET_ROWS and any(groups.values()):
            drawn += [rows.pop() for _, rows in sorted(groups.items()) if rows]
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(["artwork_id", "uri", "score", "level", "round", *CRITIQUE_PARTS, "judge", "fits"])
        for row in drawn[:SHEET_ROWS]:
            assert row.state.last
            texts = next(one.texts for one in reversed(row.state.verdicts) if len(one.texts) == len(CRITIQUE_PARTS))
            told = [row.artwork_id, row.uri, row.score, row.level, len(row.state.verdicts)]
            writer.writerow([*told, *(texts[part] for part in CRITIQUE_PARTS), "no" if row.outcome else "yes", ""])
        return text.getvalue().encode()


def taught_readers() -> tuple[Reader, Reader]:
    """Return a reader of words, and one of masked words: both learnt from paintings that nobody judged."""
    paintings = [paint(seed) for seed in HELD_OUT[60_000 : 60_000 + _TAUGHT]]
    texts = [" ".join(getattr(one, part) for part in CRITIQUE_PARTS) for one in paintings]
    scores = [one.score for one in paintings]
    return Reader(texts, scores), Reader([masked(text) for text in texts], scores)


def _ways(readers: tuple[Reader, Reader]) -> list[tuple[Reader, Callable[[str], str]]]:
    return [(readers[0], str), (readers[1], masked)]


def _ranked(texts: list[tuple[str, float]], reader: Reader, how: Callable[[str], str]) -> Interval | None:
    if len(texts) < _MIN_RANKED:
        return None
    read = reader.read([how(text) for text, _ in texts])
    return bootstrap(srcc, read, np.array([score for _, score in texts]), rounds=300)


def _shown(row: Decided, thumbnail: bytes | None) -> Shown:
    verdicts, last = row.state.verdicts, row.state.last
    refused = [(one.texts, one.reason) for one in verdicts if not one.agreed]
    texts = last.texts if last and last.agreed else {}
    return Shown(row.artwork_id, row.level, row.score, thumbnail, texts, refused, row.outcome, last.probability if last else None)
