"""When another round of describing is worth nothing: a reader of the texts alone learns no more of the score from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from artquant.agreement.metrics import Paired, bootstrap, paired_bootstrap, srcc
from artquant.core import schema
from artquant.core.format import figure
from artquant.descriptions.loop import State
from artquant.descriptions.measures import Reader

MIN_TOOK = 50  # artworks that took a round, before it is measured
MAX_READ = 2000  # artworks that are read
_ROUNDS = 300  # of the bootstrap


class RoundLimit:
    """How many rounds are made: `number`, which falls to that of the first round without a gain. `gains`: of each round that was measured.

    What it says depends on the waves' records alone and their order, so a run that goes on after a kill finds the same.
    """

    def __init__(self, max_rounds: int, is_adaptive: bool, reader: Callable[[], Reader]):
        self.number, self.is_adaptive, self.reader = max_rounds, is_adaptive, reader
        self.gains: dict[int, Paired] = {}
        self.is_lowered = False
        self._known: dict[str, tuple[float, State]] = {}

    def after_wave(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take a wave's rows, of `wave_schema()`, and measure each round that enough artworks took, once."""
        if not self.is_adaptive:
            return
        for row in rows:
            if row[schema.ARTWORK_ID] in self._known or len(self._known) < MAX_READ:
                score, state = json.loads(row[schema.GIVEN])[schema.SCORE], State.of(json.loads(row[schema.STATE])["state"])
                self._known[row[schema.ARTWORK_ID]] = (score, state)
        for number in range(2, self.number):
            if number not in self.gains and sum(len(state.verdicts) >= number for _, state in self._known.values()) >= MIN_TOOK:
                self._measure(number)

    def _measure(self, number: int) -> None:
        there = [(state, score) for score, state in self._known.values() if state.text_after(number - 1)]
        reader, human = self.reader(), np.array([score for _, score in there])
        before, after = (reader.read([state.text_after(k) for state, _ in there]) for k in (number - 1, number))
        self.gains[number] = gain = paired_bootstrap(srcc, after, before, human, rounds=_ROUNDS)
        can_read = bootstrap(srcc, after, human, rounds=_ROUNDS).low > 0  # one that reads nothing in such texts decides nothing
        if can_read and not gain.low > 0:
            self.number, self.is_lowered = number, True

    def sentence(self) -> str:
        """Say what was decided, for the page; '' where nothing was."""
        if not self.is_lowered:
            return ""
        gain = self.gains[self.number]
        interval = f"{figure(gain.difference)}, 95 % interval {figure(gain.low)} to {figure(gain.high)}"
        return f"No round after round {self.number} was made: a reader of its texts learnt no more of the score ({interval})."
