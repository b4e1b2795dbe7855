"""What can be said of many descriptions by their words alone: how different they are, and what a reader would take the score for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from artquant.agreement.drift import Check, Outcome
from artquant.core.schema import LEVELS

_WORD = re.compile(r"[^\W_]+(?:['’][^\W\d_]+)*")
_SAMPLE = 1000  # descriptions that are compared with each other
_ALIKE = 0.8  # share of three-word runs that two have in common
_MIN_COUNT = 50  # with fewer descriptions, a difference is reported only
_BUCKETS = 4096
_LEVEL_WORDS = frozenset(LEVELS) | frozenset(
    _WORD.findall(
        "excellence masterly superb superbly outstanding great goodness fairly mediocre average poorly weak weakly badly awful terrible "
        "score scores rating rated level ten nine eight seven six five four three two one zero"
    )
)
MASK = "x"


@dataclass(frozen=True)
class Diversity:
    """`distinct_2`: different pairs of words among all pairs; `openings`: the share of the ten commonest first three words; `duplicates`:
    the share of descriptions that are nearly equal to another (three-word runs, of a sample)."""

    distinct_1: float
    distinct_2: float
    openings: float
    duplicates: float
    num: int


def words_of(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def masked(text: str) -> str:
    """Return the text with numbers and the words for levels taken out: what is left must carry the judgement."""
    return " ".join(MASK if word in _LEVEL_WORDS or any(c.isdigit() for c in word) else word for word in words_of(text))


def diversity(texts: Sequence[str]) -> Diversity:
    words = [words_of(text) for text in texts]
    ones = Counter(word for one in words for word in one)
    twos = Counter(pair for one in words for pair in zip(one, one[1:], strict=False))
    openings = Counter(tuple(one[:3]) for one in words)
    commonest = sum(count for _, count in openings.most_common(10))
    return Diversity(
        len(ones) / max(1, sum(ones.values())),
        len(twos) / max(1, sum(twos.values())),
        commonest / max(1, len(texts)),
        _duplicates(words),
        len(texts),
    )


def _duplicates(words: Sequence[Sequence[str]]) -> float:
    rows = words if len(words) <= _SAMPLE else [words[i] for i in np.random.default_rng(0).choice(len(words), _SAMPLE, replace=False)]
    sets = [frozenset(zip(one, one[1:], one[2:], strict=False)) for one in rows]
    by_run: dict[tuple[str, str, str], list[int]] = {}
    is_double = [False] * len(sets)
    for number, own in enumerate(sets):
        shared = Counter(other for run in own for other in by_run.get(run, ()))
        for other, count in shared.items():
            if count >= _ALIKE * (len(own) + len(sets[other]) - count):
                is_double[number] = is_double[other] = True
        for run in own:
            by_run.setdefault(run, []).append(number)
    return sum(is_double) / max(1, len(sets))


def diversity_check(found: Diversity, max_duplicates: float) -> Check:
    """Hold the run where more descriptions than that are nearly equal to another."""
    outcome: Outcome = "reported" if found.num < _MIN_COUNT else "beyond" if found.duplicates > max_duplicates else "ok"
    return Check("near-duplicates", found.duplicates, max_duplicates, found.num, 0, outcome)


class Reader:
    """Reads a score from words alone: ridge regression on which words and pairs of words are there. Taught with texts that no judge saw."""

    def __init__(self, texts: Sequence[str], scores: Sequence[float], penalty: float = 3.0):
        features = word_features(texts)
        self.mean = float(np.mean(scores))
        gram = features @ features.T + penalty * np.eye(len(texts))
        self.weights = features.T @ np.linalg.solve(gram, np.asarray(scores, np.float64) - self.mean)

    def read(self, texts: Sequence[str]) -> np.ndarray:
        """Return what the texts would score (N,)."""
        return np.asarray(self.mean + word_features(texts) @ self.weights)


def word_features(texts: Sequence[str]) -> np.ndarray:
    """Return (N, F) of zeros and ones: which words and pairs of words each text has, by hash."""
    made = np.zeros((len(texts), _BUCKETS))
    for row, text in enumerate(texts):
        words = words_of(text)
        for term in {*words, *(f"{a} {b}" for a, b in zip(words, words[1:], strict=False))}:
            made[row, _bucket(term)] = 1.0
    return made


def _bucket(term: str) -> int:
    from zlib import crc32

    return crc32(term.encode()) % _BUCKETS
