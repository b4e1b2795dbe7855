from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from artquant.config import ScoreSpec, load_spec
from artquant.core.errors import UserError
from artquant.registry import Registry
from artquant.storage.store import Conflict, Store, open_store
from tests.stores import contents

FILES = {"config.json": b"{}", "model.safetensors": b"weights", "deep/er/vocab.txt": b"a\nb\n"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return filled(tmp_path / "checkpoint", FILES)


def filled(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def published(store: Store, folder: Path, *ids: str) -> Registry:
    registry = Registry(store)
    for model_id in ids:
        registry.publish(model_id, folder, {"model_digest": f"digest of {model_id}"})
    return registry


def previous(registry: Registry) -> tuple[str, ...]:
    pointer = registry.pointer()
    assert pointer
    return pointer.previous


class Meddled:
    """A real store in which something happens before, or instead of, one of the calls."""

    def __init__(self, store: Store, call: str, meddle: Callable[..., Any]):
        self._store, self._call, self._meddle = store, call, meddle

    def __getattr__(self, name: str) -> Any:
        own = getattr(self._store, name)
        return (lambda *arguments: self._meddle(own, *arguments)) if name == self._call else own


def meddled(store: Store, call: str, meddle: Callable[..., Any]) -> Registry:
    return Registry(Meddled(store, call, meddle))  # type: ignore[arg-type]


def once_before(action: Callable[[], Any]) -> Callable[..., Any]:
    """For `Meddled`: the call, but the first time `action` first."""
    actions = [action]

    def meddle(own: Callable[..., Any], *arguments: Any) -> Any:
        while actions:
            actions.pop()()
        return own(*arguments)

    return meddle


def test_what_is_published_beside_a_folder_takes_the_place_of_a_file_of_that_name(store: Store, folder: Path) -> None:
    entry = Registry(store).publish("first", folder, {}, beside={"golden/set.bin": b"new", "deep/er/vocab.txt": b"other"})
    assert store.get("first/golden/set.bin") == b"new" and store.get("first/deep/er/vocab.txt") == b"other"
    assert entry.card["files"]["golden/set.bin"] == {"sha256": hashlib.sha256(b"new").hexdigest(), "num_bytes": 3}
    assert set(entry.card["files"]) == {*FILES, "golden/set.bin"}


def test_what_is_published_is_found_whole_with_a_card_that_says_what_it_is(store: Store, folder: Path) -> None:
    started = datetime.now(UTC)
    card = {"model_digest": "d1", "metrics": {"srcc": {"value": 0.8, "low": float("nan")}}, "seen": (1, Path("x")), "files": "mine"}
    entry = Registry(store).publish("first", folder, card)
    assert (entry.model_id, entry.digest) == ("first", "d1")
    assert timedelta(0) <= entry.created_at - started < timedelta(minutes=1)
    assert entry.card["metrics"] == {"srcc": {"value": 0.8, "low": None}} and entry.card["seen"] == [1, "x"]
    assert entry.card["files"] == {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "num_bytes": len(data)} for name, data in FILES.items()
    }
    there = contents(store)
    assert json.loads(there.pop("first/card.json")) == entry.card
    assert there == {f"first/{name}": data for name, data in FILES.items()}
    assert Registry(store).entry("first") == entry == Registry(store).entries()[0]
    assert Registry(store).uri_of("first") == store.uri_of("first")


def test_models_are_listed_the_newest_first_and_only_those_with_a_card(store: Store, folder: Path) -> None:
    assert Registry(store).entries() == []
    registry = published(store, folder, "b", "c", "a")
    registry.promote("c")
    for key in ("half/model.safetensors", "a/deep/card.json", "card.json", "no id/card.json"):
        store.put(key, b"{}")
    assert [entry.model_id for entry in registry.entries()] == ["a", "c", "b"]
    with pytest.raises(UserError, match=r"has no model 'half': it has a, c, b\.$"):
        registry.entry("half")
    with pytest.raises(UserError, match="has no model 'half'"):
        registry.promote("half")
    assert registry.current() == "c"


def test_without_a_digest_in_the_card_it_is_one_of_the_files(store: Store, folder: Path, tmp_path: Path) -> None:
    other = filled(tmp_path / "other", {**FILES, "config.json": b"[]"})
    digests = [Registry(store).publish(name, source, {}).digest for name, source in (("a", folder), ("b", folder), ("c", other))]
    assert digests[0] == digests[1] != digests[2] and all(len(digest) == 16 for digest in digests)


def test_a_published_model_never_changes(store: Store, folder: Path, tmp_path: Path) -> None:
    registry = published(store, folder, "first")
    before = contents(store)
    with pytest.raises(UserError, match="has a model first already.*choose another id"):
        registry.publish("first", filled(tmp_path / "other", {"config.json": b"else"}), {})
    assert contents(store) == before


@pytest.mark.parametrize("call", ["put_file", "put_if_absent"])
def test_a_publish_that_breaks_off_shows_nothing_and_can_be_tried_again(store: Store, folder: Path, tmp_path: Path, call: str) -> None:
    def breaks(own: Callable[..., Any], key: str, *_: Any) -> Any:
        if key.endswith("model.safetensors") or key.endswith("card.json"):
            raise UserError("Cannot write: no connection.")
        return own(key, *_)

    other = filled(tmp_path / "other", {**FILES, "left-over.bin": b"of the first try"})
    with pytest.raises(UserError, match="no connection"):
        meddled(store, call, breaks).publish("first", other, {})
    assert any(key.startswith("first/") for key in contents(store))
    assert Registry(store).entries() == []
    entry = Registry(store).publish("first", folder, {})
    assert Registry(store).entries() == [entry]
    assert set(contents(store)) == {"first/card.json", *(f"first/{name}" for name in FILES)}


def test_a_checkpoint_that_somebody_put_there_by_hand_is_not_touched(store: Store, folder: Path) -> None:
    store.put("artquant-7b/model.safetensors", b"mine")
    with pytest.raises(UserError, match="artquant-7b holds files that are no published model"):
        Registry(store).publish("artquant-7b", folder, {})
    assert contents(store) == {"artquant-7b/model.safetensors": b"mine"}


def test_of_two_that_publish_one_id_the_second_is_refused_by_the_card(store: Store, folder: Path) -> None:
    first: list[Any] = []
    registry = meddled(store, "put_if_absent", once_before(lambda: first.append(Registry(store).publish("x", folder, {"by": 1}))))
    with pytest.raises(UserError, match="has a model x already"):
        registry.publish("x", folder, {"by": 2})
    assert Registry(store).entry("x") == first[0]


def test_a_model_that_was_published_before_can_be_published_under_another_id(store: Store, folder: Path) -> None:
    (folder / "card.json").write_text('{"model_id": "elder"}')
    entry = Registry(store).publish("younger", folder, {"parent": "elder"})
    assert (entry.card["model_id"], "card.json" in entry.card["files"]) == ("younger", False)


def test_a_folder_without_files_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There are no files in"):
        Registry(store).publish("first", tmp_path / "nowhere", {})
    assert contents(store) == {}


def test_promotions_and_rollbacks_keep_the_line_of_those_before(store: Store, folder: Path) -> None:
    registry = published(store, folder, "a", "b", "c")
    assert registry.current() is None and registry.pointer() is None
    for model_id in ("a", "b", "c", "c", "a"):
        registry.promote(model_id)
        assert registry.current() == model_id
    assert previous(registry) == ("c", "b", "a")
    pointer = registry.pointer()
    assert pointer and timedelta(0) <= datetime.now(UTC) - pointer.at < timedelta(minutes=1)
    assert [registry.rollback(), registry.current(), previous(registry)] == ["c", "c", ("b", "a")]
    assert [registry.rollback(), registry.rollback(), previous(registry)] == ["b", "a", ()]
    with pytest.raises(UserError, match="There is no model before a"):
        registry.rollback()
    assert registry.current() == "a"
    assert [entry.model_id for entry in registry.entries()] == ["c", "b", "a"], "a rollback unpublishes nothing"


def test_a_rollback_passes_over_models_that_are_gone(store: Store, folder: Path) -> None:
    registry = published(store, folder, "a", "b", "c")
    for model_id in ("a", "b", "c"):
        registry.promote(model_id)
    store.delete("b/card.json")
    assert [registry.rollback(), previous(registry)] == ["a", ()]


def test_without_a_promotion_there_is_nothing_to_roll_back(store: Store, folder: Path) -> None:
    registry = published(store, folder, "a")
    with pytest.raises(UserError, match="Nothing is current in"):
        registry.rollback()


def test_of_many_promotions_at_once_one_wins_whole_and_all_others_are_in_its_past(store: Store, folder: Path) -> None:
    ids = [f"m{number}" for number in range(6)]
    published(store, folder, *ids)
    barrier = threading.Barrier(len(ids))

    def promote(model_id: str) -> None:
        barrier.wait()
        Registry(store).promote(model_id)

    with ThreadPoolExecutor(len(ids)) as pool:
        list(pool.map(promote, ids))
    registry = Registry(store)
    assert sorted([str(registry.current()), *previous(registry)]) == ids


@pytest.mark.parametrize(("first", "call"), [([], "put_if_absent"), (["a"], "put_if_match")])
def test_a_promotion_that_was_overtaken_comes_after_the_other(store: Store, folder: Path, first: list[str], call: str) -> None:
    registry = published(store, folder, "a", "b", "c")
    for model_id in first:
        registry.promote(model_id)
    meddled(store, call, once_before(lambda: registry.promote("b"))).promote("c")
    assert (registry.current(), previous(registry)) == ("c", ("b", *first))


def test_a_rollback_that_was_overtaken_is_refused_and_takes_nothing_back(store: Store, folder: Path) -> None:
    registry = published(store, folder, "a", "b", "c")
    registry.promote("a")
    registry.promote("b")
    with pytest.raises(UserError, match="moved by somebody else"):
        meddled(store, "put_if_match", once_before(lambda: registry.promote("c"))).rollback()
    assert (registry.current(), previous(registry)) == ("c", ("b", "a"))
    with pytest.raises(UserError, match="moved by somebody else"):
        meddled(store, "put_if_match", once_before(registry.rollback)).rollback()
    assert (registry.current(), previous(registry)) == ("b", ("a",)), "two rollbacks at once went back two steps"


def test_a_write_whose_answer_was_lost_is_told_from_that_of_another(store: Store, folder: Path) -> None:
    def loses(own: Callable[..., Any], *arguments: Any) -> Any:
        own(*arguments)
        raise Conflict("the second try of the client found the first one's object")

    meddled(store, "put_if_absent", loses).publish("a", folder, {})
    published(store, folder, "b")
    meddled(store, "put_if_absent", loses).promote("a")
    meddled(store, "put_if_match", loses).promote("b")
    assert previous(Registry(store)) == ("a",)
    assert meddled(store, "put_if_match", loses).rollback() == "a"
    assert previous(Registry(store)) == ()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "a b", "-a", "_publishing", "ä", "a\n", "x" * 101, "current"])
def test_a_bad_id_is_refused_with_the_rule_of_run_ids(store: Store, folder: Path, name: str) -> None:
    registry = Registry(store)
    calls: list[Callable[[], Any]] = [lambda: registry.publish(name, folder, {}), lambda: registry.entry(name)]
    for call in [*calls, lambda: registry.promote(name), lambda: registry.uri_of(name)]:
        with pytest.raises(UserError, match="is no model's id|cannot be called") as error:
            call()
        assert str(error.value).endswith(".") and "\n" not in str(error.value)
    assert contents(store) == {}
    if name not in ("", "current"):
        with pytest.raises(UserError):
            load_spec(ScoreSpec, None, [f"run_id={name}"])


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"model_id": "a"}', b'{"model_id": "../a", "at": "2026-11-21", "previous": []}'])
def test_a_damaged_pointer_or_card_is_named(store: Store, folder: Path, data: bytes) -> None:
    registry = published(store, folder, "a")
    store.put("current", data)
    for call in (registry.current, registry.rollback, lambda: registry.promote("a")):
        with pytest.raises(UserError, match="/current is damaged"):
            call()
    assert store.get("current") == data
    store.put("a/card.json", data)
    with pytest.raises(UserError, match=r"/a/card\.json is damaged"):
        registry.entries()


def test_a_registry_that_cannot_be_read_or_written_is_refused(
    s3_store: Store, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = Registry(open_store("s3://no-such-bucket/models"))
    for call in (absent.current, absent.entries, absent.rollback, lambda: absent.publish("a", folder, {}), lambda: absent.promote("a")):
        with pytest.raises(UserError, match="s3://no-such-bucket/models.*bucket does not exist"):
            call()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="Cannot write"):
        Registry(open_store(str(tmp_path / "file"))).publish("a", folder, {})
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    denied = Registry(open_store(s3_store.uri_of("models")))
    for call in (denied.current, denied.entries, lambda: denied.publish("a", folder, {}), lambda: denied.promote("a")):
        with pytest.raises(UserError, match="access is denied.*what.* allow"):
            call()
