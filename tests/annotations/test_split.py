"""The split follows content and nothing else; content is the MD5 of the bytes, wherever it comes from."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from artquant.annotations.content import content_digests
from artquant.annotations.copies import clusters, signatures
from artquant.annotations.split import Artwork, assign, split_annotations, split_of
from artquant.config import ResolvedAnnotationSpec
from artquant.core.errors import UserError
from artquant.core.schema import RejectClass
from artquant.paintings import jpeg, paint
from artquant.storage.embedded import BUCKET
from artquant.storage.store import FetchError, ObjectInfo, Store, open_store


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


CONTENT = [md5(str(number).encode()) for number in range(20_000)]


def test_splits_have_the_sizes_asked_for() -> None:
    count = Counter(split_of(content, 0, 0.1, 0.2) for content in CONTENT)
    assert count["validation"] == pytest.approx(2_000, rel=0.1) and count["test"] == pytest.approx(4_000, rel=0.1)
    assert sum(count.values()) == len(CONTENT)
    assert {split_of(content, 0, 0, 0) for content in CONTENT} == {"train"}


def test_a_split_is_fixed_by_content_and_seed_for_ever() -> None:
    # Literal answers: a change here would move artworks between the splits of collections that exist.
    assert "".join(split_of(content, 0, 0.2, 0.2)[1] for content in CONTENT[:12]) == "rerarrrraera"  # tRain, vAlidation, tEst
    assert [split_of(content, 1, 0.2, 0.2) for content in CONTENT] != [split_of(content, 0, 0.2, 0.2) for content in CONTENT]


def test_a_larger_validation_split_takes_nothing_from_test_and_a_larger_test_split_loses_nothing() -> None:
    def members(split: str, *fractions: float) -> set[str]:
        return {content for content in CONTENT if split_of(content, 0, *fractions) == split}

    assert members("test", 0.1, 0.1) == members("test", 0.3, 0.1) < members("test", 0.1, 0.2)


@pytest.mark.parametrize("fractions", [(0.5, 0.5), (-0.1, 0.1), (0.1, -0.1)])
def test_fractions_that_leave_nothing_to_train_on_are_a_sentence(fractions: tuple[float, float]) -> None:
    with pytest.raises(UserError, match="must be at least 0 and stay below 1 together"):
        split_of(CONTENT[0], 0, *fractions)


def test_digests_are_of_the_bytes_and_missing_artworks_are_left_out(store: Store) -> None:
    images = {"a.jpg": b"one", "b/c d.jpg": b"two", "again.jpg": b"one", "unasked.jpg": b"three", "empty": b""}
    for key, data in images.items():
        store.put(key, data)
    ids = ["b/c d.jpg", "missing.jpg", "a.jpg", "again.jpg", "b", "empty", "a.jpg"]
    digests = content_digests(store, ids)
    assert digests == {key: md5(images[key]) for key in ("b/c d.jpg", "a.jpg", "again.jpg", "empty")}
    assert list(digests) == ["b/c d.jpg", "a.jpg", "again.jpg", "empty"]
    assert split_of(digests["a.jpg"], 3, 0.3, 0.3) == split_of(digests["again.jpg"], 3, 0.3, 0.3)
    store.put("added.jpg", b"four")
    assert content_digests(store, [*ids, "added.jpg"]) == {**digests, "added.jpg": md5(b"four")}
    assert content_digests(store.child("nowhere"), ids) == {}


def test_an_object_of_several_parts_has_the_digest_of_its_bytes(s3_folder: Store, tmp_path: Path) -> None:
    data = bytes(17 << 20)
    (tmp_path / "large").write_bytes(data)
    s3_folder.put_file("large.tif", tmp_path / "large")
    s3_folder.put("small.jpg", b"small")
    etags = {info.key: info.etag for info in s3_folder.list()}
    assert etags["large.tif"] != md5(data) and etags["small.jpg"] == md5(b"small"), "the premise"
    assert content_digests(s3_folder, etags) == {"large.tif": md5(data), "small.jpg": md5(b"small")}


class Encrypted(Store):
    """A bucket whose etags look like MD5 sums and are none, as under a KMS key."""

    def list(self, prefix: str = ""):
        for info in super().list(prefix):
            yield ObjectInfo(info.key, info.size_bytes, md5(info.key.encode()))


def test_etags_that_only_look_like_md5_are_not_believed(s3_folder: Store) -> None:
    s3_folder.put("a.jpg", b"one")
    s3_folder.put("b.jpg", b"one")
    store = Encrypted(s3_folder.uri, s3_folder.uri.removeprefix(f"s3://{BUCKET}/"), s3_folder._backend)
    assert content_digests(store, ["a.jpg", "b.jpg"]) == {"a.jpg": md5(b"one"), "b.jpg": md5(b"one")}


class Denied(Store):
    def fetch(self, key: str, *, attempts: int = 4, timeout_seconds: float = 30.0):
        raise FetchError(RejectClass.DENIED, "access is denied (403)")


def test_an_artwork_that_is_there_and_cannot_be_read_is_a_sentence(s3_folder: Store) -> None:
    s3_folder.put("a.jpg", b"one")
    store = Denied(s3_folder.uri, s3_folder.uri.removeprefix(f"s3://{BUCKET}/"), s3_folder._backend)
    with pytest.raises(UserError, match=r"Cannot read the artwork .*/a.jpg: access is denied \(403\); check annotations.images"):
        content_digests(store, ["a.jpg"])


def test_every_row_falls_to_the_split_that_the_settings_draw_and_scores_lie_within_the_levels(tmp_path: Path) -> None:
    digests = {}
    for number in range(60):
        open_store(str(tmp_path / "art")).put(f"{number}.jpg", str(number).encode())
        digests[f"{number}.jpg"] = md5(str(number).encode())
    (tmp_path / "ratings.csv").write_text("artwork_id,score\n" + "".join(f"{number}.jpg,{number % 11}\n" for number in range(60)))
    given = {"uri": str(tmp_path / "ratings.csv"), "images": str(tmp_path / "art")}
    for seed, validation, test in ((0, 0.5, 0.2), (0, 0.2, 0.5), (7, 0.5, 0.2)):
        spec = ResolvedAnnotationSpec(**given, split_seed=seed, validation_fraction=validation, test_fraction=test)
        splits = split_annotations(spec)
        for name in ("train", "validation", "test"):
            found = set(getattr(splits, name).column("artwork_id").to_pylist())
            assert found == {key for key, digest in digests.items() if split_of(digest, seed, validation, test) == name}
    assert splits.num_clamped == 6  # those of 0: the worst level is 1
    narrow = split_annotations(ResolvedAnnotationSpec(**given, level_values=(6.0, 5.0, 4.0, 3.0, 2.0)))
    scores = [score for part in (narrow.train, narrow.validation, narrow.test) for score in part.column("score").to_pylist()]
    assert (min(scores), max(scores), narrow.num_clamped) == (2.0, 6.0, sum(not 2 <= number % 11 <= 6 for number in range(60)))


def test_who_is_held_out_is_as_the_annotators_say_it_or_drawn(tmp_path: Path) -> None:
    """What an annotator calls test is never trained on; what nobody holds out is drawn from what was given for training."""
    for number in range(200):
        open_store(str(tmp_path / "art")).put(f"{number}.jpg", str(number).encode())
    said = {f"{number}.jpg": "test" if number % 2 else "train" for number in range(200)}
    for name, part in (("ratings/train_set.csv", range(100)), ("ratings/test_set.csv", range(100, 200))):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("artwork_id,score,split\n" + "".join(f"{n}.jpg,{n % 9},{said[f'{n}.jpg']}\n" for n in part))

    def parts(**changes) -> dict[str, set[str]]:
        spec = ResolvedAnnotationSpec(uri=str(tmp_path / "ratings"), images=str(tmp_path / "art"), **changes)
        splits = split_annotations(spec)
        assert splits.source == (spec.split if spec.split != "auto" else "column") and splits.num_left_out == 0
        return {name: set(getattr(splits, name).column("artwork_id").to_pylist()) for name in ("train", "validation", "test")}

    odd = {f"{number}.jpg" for number in range(1, 200, 2)}
    for split in ("auto", "column"):
        found = parts(split=split)
        assert found["test"] == odd and found["validation"] and found["train"] | found["validation"] == set(said) - odd
    assert parts(split="file")["test"] == {f"{number}.jpg" for number in range(100, 200)}
    drawn = parts(split="content")
    assert drawn["test"] == {name for name in said if split_of(md5(name[:-4].encode()), 0, 0.1, 0.1) == "test"}
    (tmp_path / "ratings" / "train_set.csv").write_text("artwork_id,score\n1.jpg,3\n2.jpg,4\n")
    (tmp_path / "ratings" / "test_set.csv").unlink()
    with pytest.raises(UserError, match="split=column needs a column split .* set annotations.split=content"):
        parts(split="column")


def artworks(num: int, **columns) -> list[Artwork]:
    return [
        Artwork(str(n), md5(str(n).encode()), **{name: value(n) if callable(value) else value for name, value in columns.items()})
        for n in range(num)
    ]


def test_a_group_is_never_cut_and_stays_where_it_is_when_it_grows() -> None:
    split = assign(artworks(2000, group=lambda n: f"artist {n % 100}"), 0, 0.2, 0.2)
    by_artist = [{split[str(n)] for n in range(artist, 2000, 100)} for artist in range(100)]
    assert all(len(some) == 1 for some in by_artist) and {name for some in by_artist for name in some} == {"train", "validation", "test"}
    assert assign(artworks(300, group=lambda n: f"artist {n % 100}"), 0, 0.2, 0.2).items() <= split.items()


def test_copies_go_with_the_one_that_is_held_out() -> None:
    alone = assign(artworks(400), 0, 0.2, 0.2)
    pairs = assign(artworks(400, copies=lambda n: n // 2), 0, 0.2, 0.2)
    order = ["test", "validation", "train"]
    for n in range(0, 400, 2):
        assert pairs[str(n)] == pairs[str(n + 1)] == min((alone[str(n)], alone[str(n + 1)]), key=order.index)


def test_a_copy_or_a_groups_other_works_do_not_teach_what_the_annotators_hold_out() -> None:
    said = {0: "test", 1: "train", 2: "train", 3: "validation", 4: None, 5: "train"}
    some = artworks(6, said=said.get, copies=lambda n: {0: 0, 1: 0}.get(n), group=lambda n: {3: "a", 4: "a"}.get(n))
    assert assign(some, 0, 0, 0) == {"0": "test", "1": None, "2": "train", "3": "validation", "4": None, "5": "train"}


def test_one_picture_in_two_files_is_in_one_split(tmp_path: Path) -> None:
    """Saved anew in another format and at half the size, each of 60 pairs would be apart in about a third."""
    store, rows = open_store(str(tmp_path / "art")), ["artwork_id,score\n"]
    for seed in range(60):
        picture = Image.open(io.BytesIO(jpeg(paint(seed), 160)))
        png, webp = io.BytesIO(), io.BytesIO()
        picture.save(png, "PNG")
        picture.resize((picture.width // 2, picture.height // 2)).save(webp, "WEBP", quality=80)
        for name, data in ((f"{seed}.png", png), (f"{seed}.webp", webp)):
            store.put(name, data.getvalue())
            rows.append(f"{name},{seed % 9}\n")
    (tmp_path / "r.csv").write_text("".join(rows))

    def num_cut(**changes) -> int:
        given = {"uri": str(tmp_path / "r.csv"), "images": str(tmp_path / "art"), "validation_fraction": 0.2, "test_fraction": 0.2}
        splits = split_annotations(ResolvedAnnotationSpec(**given, **changes))
        where = {
            name: split for split in ("train", "validation", "test") for name in getattr(splits, split).column("artwork_id").to_pylist()
        }
        assert len(where) == 120
        return sum(where[f"{seed}.png"] != where[f"{seed}.webp"] for seed in range(60))

    assert num_cut() == 0 and num_cut(near_copies=False) > 10


def test_different_pictures_are_no_copies_and_a_broken_one_has_none(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    content = {}
    for seed in range(80):
        store.put(f"{seed}.jpg", jpeg(paint(seed), 96))
        content[f"{seed}.jpg"] = str(seed)
    store.put("broken.jpg", b"\xff\xd8nothing")
    for colour in ("red", "maroon", "black", "white"):  # they have no shapes by which to know them
        picture = io.BytesIO()
        Image.new("RGB", (40, 40), colour).save(picture, "PNG")
        store.put(f"{colour}.png", picture.getvalue())
        content[f"{colour}.png"] = colour
    looks = signatures(store, content | {"broken.jpg": "x"})
    assert set(looks) == set(content) and clusters(looks) == {}
