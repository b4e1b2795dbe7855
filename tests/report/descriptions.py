"""A describe run's facts, made up, for its page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np

from artquant.agreement.drift import Check
from artquant.agreement.metrics import Interval
from artquant.images.square import Picture, thumbnail
from artquant.records.description import DescriptionReport, LevelBias, RoundMark, Shown

BEGAN = datetime(2026, 11, 27, 1, 2, 3, tzinfo=UTC)
TEXTS = {"perception": "Blue and grey.", "cognition": "A harbour.", "emotion": "It is calm."}


def picture() -> bytes:
    return thumbnail(Picture(np.full((96, 96, 3), 120, np.uint8), 96, 96), 96)


def report(**changes: Any) -> DescriptionReport:
    facts: dict[str, Any] = {
        "run_id": "20261127T010203Z",
        "status": "published",
        "started_at": BEGAN,
        "finished_at": BEGAN.replace(minute=9),
        "generator": "writer",
        "judge": "critic",
        "is_one_family": True,
        "template_digest": "abc123",
        "num_planned": 100,
        "num_kept": 90,
        "num_set_aside": 10,
        "num_reused": 5,
        "by_round": {1: 60, 2: 30},
        "aside": {"not_agreed": (7, ["it praises too much"]), "unparsed": (3, ["the generator answered 'x'"])},
        "exam": {"threshold": 0.5, "false accepts": 0.05, "auc": 0.93},
        "accepted_by_fault": {"right": 0.9, "another picture": 0.1},
        "tokens": 123_456,
        "money": 1.5,
        "tokens_in_all": 223_456,
        "money_in_all": 2.5,
        "rounds": [
            RoundMark(1, 60, 100, Interval(0.8, 0.7, 0.9), None),
            RoundMark(2, 90, 100, Interval(0.82, 0.7, 0.9), Interval(0.5, 0.3, 0.6)),
        ],
        "bias": [LevelBias("good", 40, Interval(0.3, 0.1, 0.5))],
        "diversity": {"distinct_1": 0.2, "distinct_2": 0.6, "openings": 0.1, "duplicates": 0.02},
        "checks": [Check("near-duplicates", 0.02, 0.2, 90, 0, "ok")],
        "shown": [
            Shown("a/1.jpg", "good", 7.0, picture(), TEXTS, [({**TEXTS, "emotion": "It is wild."}, "it contradicts itself")]),
            Shown("b/2.jpg", "bad", 1.5, None, {}, [(TEXTS, "it praises too much")] * 3, "not_agreed", 0.1),
        ],
        "config": {"max_rounds": 3},
    }
    return DescriptionReport(**(facts | changes))


BARE = report(
    num_kept=0, num_set_aside=0, by_round={}, aside={}, rounds=[], bias=[], diversity={}, checks=[], shown=[], money=0.0, message="held"
)


def hostile(text: str) -> DescriptionReport:
    texts = dict.fromkeys(TEXTS, text)
    shown = [Shown(text, "good", 7.0, None, texts, [(texts, text)], text)]
    return report(run_id=text, generator=text, judge=text, template_digest=text, aside={text: (1, [text])}, shown=shown, message=text)
