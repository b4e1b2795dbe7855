"""What a model has seen is known again, by its bytes or by its looks, and is not what the model is judged on."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import artquant
from artquant.annotations.copies import Signature, signature
from artquant.annotations.seen import Seen, read_seen, without_seen
from artquant.annotations.split import split_annotations, split_of
from artquant.config import ResolvedAnnotationSpec
from artquant.core.errors import UserError
from artquant.core.identity import SEEN
from artquant.paintings import jpeg, paint
from artquant.paintings.exam import picture
from artquant.paintings.seeds import ANNOTATED, HELD_OUT
from artquant.storage.store import open_store


def look(bits: int) -> Signature:
    return Signature(bits, np.zeros(256, np.uint8))


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def test_the_same_bytes_and_a_hash_that_is_near_are_known_again() -> None:
    seen = Seen.of([md5("a"), md5("b")], [look(0xF0F0_1234_5678_9ABC)])
    content = {name: md5(name) for name in "axyz"}
    looks = {
        "x": look(0xF0F0_1234_5678_9ABC ^ 0x8000_0100_0000_0001),
        "y": look(0xF0F0_1234_5678_9ABC ^ 0x8001_0100_0000_0001),
        "z": look(7),
    }
    assert seen.among(content, looks) == {"a", "x"}
    assert Seen().among(content, looks) == set()
    assert len(seen | Seen.of([md5("b"), md5("c")], [])) == 3


def test_a_list_is_read_as_it_was_written_and_a_model_without_one_has_seen_nothing_that_is_known(tmp_path: Path) -> None:
    seen = Seen.of([md5(str(number)) for number in range(50)], [look(number << 40) for number in range(9)])
    path = tmp_path / SEEN
    path.parent.mkdir()
    path.write_bytes(seen.to_bytes())
    again = read_seen(tmp_path, tmp_path)
    assert np.array_equal(again.digests, seen.digests) and np.array_equal(again.hashes, seen.hashes)
    assert len(read_seen(tmp_path / "elsewhere")) == 0


def test_a_parents_training_artworks_are_not_judged_on_and_none_left_is_refused(tmp_path: Path) -> None:
    """Other fractions, another seed or another data set's split would have made most of these a part of what the parent learnt."""
    store = open_store(str(tmp_path / "art"))
    for seed in range(60):
        store.put(f"{seed}.jpg", jpeg(paint(seed), 64))
    (tmp_path / "r.csv").write_text("id,score\n" + "".join(f"{seed}.jpg,{seed % 9}\n" for seed in range(60)))
    spec = ResolvedAnnotationSpec(uri=str(tmp_path / "r.csv"), images=str(tmp_path / "art"), validation_fraction=0.2, test_fraction=0.3)
    splits = split_annotations(spec)
    held_out = splits.test["artwork_id"].to_pylist()
    again = io.BytesIO()
    Image.open(io.BytesIO(store.get(held_out[1]))).save(again, "PNG")
    seen = Seen.of([splits.content[held_out[0]], md5("else")], [signature(again.getvalue())])
    left, num = without_seen(splits, seen, "parent")
    assert num == 2 and left.test["artwork_id"].to_pylist() == held_out[2:]
    everything = Seen.of(splits.content.values(), splits.signatures.values())
    with pytest.raises(
        UserError, match=r"All \d+ held-out artworks were trained or validated on by parent, so nothing is left to judge on"
    ):
        without_seen(splits, everything, "parent")


def test_the_shipped_weights_know_the_paintings_that_they_were_trained_on_and_no_others() -> None:
    shipped = read_seen(Path(artquant.__file__).parent / "checkpoints" / "artquant-tiny")

    def seen(seeds: range) -> tuple[set[str], dict[str, str]]:
        data = {str(seed): picture(seed) for seed in seeds}
        content = {name: hashlib.md5(some).hexdigest() for name, some in data.items()}
        return shipped.among(content, looks_of(data)), content

    known, content = seen(ANNOTATED[:12])
    held_out = {name for name, digest in content.items() if split_of(digest, 0, 0.04, 0.1) == "test"}  # as the recipe does
    assert held_out and not known & held_out
    assert len(known) >= len(content) - len(held_out) - 1  # what looks like one that is held out was left out too
    assert seen(HELD_OUT[:6])[0] == set()


def looks_of(data: dict[str, bytes]) -> dict[str, Signature]:
    return {name: signature(some) for name, some in data.items()}
