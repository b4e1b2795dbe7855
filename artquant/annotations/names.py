"""What the name of a file says of the split that its rows belong to."""

from __future__ import annotations

import re

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def split_named(name: str) -> str | None:
    """Return the split that a file's name says, or else a folder's, the nearest first; None where none does, or two at once.

    `train_set.csv`, `PARA-GiaaTrain.csv`, `split=train/part-0.parquet` and `data/test-00000-of-00001.parquet` say one.
    """
    for part in reversed(name.split("/")):
        said = {SPLITS[word.lower()] for word in _WORD.findall(part) if word.lower() in SPLITS}
        if said:
            return said.pop() if len(said) == 1 else None
    return None
