from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from artquant.config import PlayerSpec
from artquant.descriptions import Request
from artquant.descriptions.purse import Limit, Purse
from artquant.storage.store import Store, open_store

TEXTS = {"perception": "A calm blue field.", "cognition": "The sea at dusk.", "emotion": "It is serene."}


def flat(red: int) -> np.ndarray:
    return np.full((32, 32, 3), (red, 60, 90), np.uint8)


KNOWN = [
    (flat(20 * number), {"artwork_id": str(number), "score": float(number), **{k: f"{v} {number}" for k, v in TEXTS.items()}})
    for number in range(1, 11)
]


def asking(number: int, question: str = "Describe it in English", form: Any = "texts", seed: int = 0) -> Request:
    return Request(str(number), question, KNOWN[number - 1][0], f"etag-{number}", form, seed)


def spec_of(url: str, **changes: Any) -> PlayerSpec:
    given = {"base_url": url, "model": "m", "timeout_seconds": 1.0, "picture_tokens": 100, "max_tokens": 200}
    return PlayerSpec.model_validate(given | changes)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(f"file:{tmp_path}/out")


@pytest.fixture
def purse(store: Store) -> Purse:
    return Purse(store, Limit())
