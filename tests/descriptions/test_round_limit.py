"""Another round is made as long as a reader of the texts learns more of the score from it."""

import json
from functools import cache

import numpy as np
import pytest

from artquant.core import schema
from artquant.core.schema import CRITIQUE_PARTS
from artquant.descriptions.loop import State, Verdict
from artquant.paintings import paint
from artquant.paintings.seeds import HELD_OUT
from artquant.pipelines.describe_report import taught_readers
from artquant.pipelines.describe_rounds import MIN_TOOK, RoundLimit

PAINTINGS = [paint(seed) for seed in HELD_OUT[:80]]
READERS = cache(taught_readers)
OWN, BLUNT, FOREIGN = "own", "blunt", "foreign"


def texts_of(number: int, kind: str) -> dict[str, str]:
    """The painting's own texts; those of any painting, which tell nothing; or words that the reader does not know."""
    if kind == FOREIGN:
        return dict.fromkeys(CRITIQUE_PARTS, f"zzz{np.random.default_rng(number).integers(1e9)} yyy")
    other = PAINTINGS[number if kind == OWN else (number * 7 + 13) % len(PAINTINGS)]
    return {part: getattr(other, part) for part in CRITIQUE_PARTS}


def rows(num: int, *kinds: str) -> list[dict]:
    made = []
    for number in range(num):
        verdicts = tuple(Verdict(k + 1, False, "no", texts=texts_of(number, kind)) for k, kind in enumerate(kinds))
        state = json.dumps({"state": State(verdicts).to_document()})
        made.append({schema.ARTWORK_ID: f"{number}", schema.GIVEN: json.dumps({"score": PAINTINGS[number].score}), schema.STATE: state})
    return made


def limit(is_adaptive: bool = True) -> RoundLimit:
    return RoundLimit(5, is_adaptive, lambda: READERS()[0])


@pytest.mark.parametrize(
    ("kinds", "number"),
    [((OWN, OWN), 2), ((BLUNT, OWN), 5), ((BLUNT, OWN, OWN), 3), ((FOREIGN, FOREIGN), 5)],
    ids=["no gain", "a gain", "no gain later", "texts that it cannot read"],
)
def test_the_round_without_a_gain_is_the_last(kinds, number):
    found = limit()
    for k in range(1, len(kinds) + 1):
        found.after_wave(rows(80, *kinds[:k]))
    assert found.number == number and found.is_lowered == (number < 5)
    assert found.sentence().startswith(f"No round after round {number} was made" if number < 5 else "") and bool(found.sentence()) == (
        number < 5
    )


def test_few_artworks_decide_nothing_and_a_setting_leaves_all_rounds():
    few = limit()
    few.after_wave(rows(MIN_TOOK - 1, OWN, OWN))
    off = limit(is_adaptive=False)
    off.after_wave(rows(80, OWN, OWN))
    assert few.number == off.number == 5


def test_what_was_decided_once_stays():
    found = limit()
    found.after_wave(rows(MIN_TOOK, BLUNT, OWN))
    gain = found.gains[2]
    found.after_wave(rows(80, OWN, OWN))
    assert found.gains[2] is gain and found.number == 5
