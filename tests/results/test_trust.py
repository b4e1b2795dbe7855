"""A store is believed after it was tried: a real server, one that ignores If-None-Match, and folders."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from artquant.core.errors import AnotherRun, UserError
from artquant.results import trust as trusting
from artquant.results.plan import PlanSummary
from artquant.results.snapshots import Snapshot, history
from artquant.results.trust import Trust, as_trusted, remembered, trusted
from artquant.storage.embedded import EmbeddedStore
from artquant.storage.probe import Promises, SingleWriterStore, probe
from artquant.storage.store import Conflict, Store, open_store
from tests.pipelines.engines import RED
from tests.pipelines.runs import spec_for
from tests.results.nights import asked, night, rows_by_glob
from tests.s3_proxy import worse_store


def test_both_homes_keep_what_publishing_rests_on_and_nothing_stays_of_the_trial(store: Store) -> None:
    promises = probe(store, "_artquant/probe")
    assert promises.creates_once and promises.shows_writes
    is_embedded = store.uri.startswith("s3:")
    assert promises.lists_in_order != is_embedded, "SeaweedFS lists a/b before a.b"
    assert not is_embedded or promises == trusting.EMBEDDED
    assert list(store.list()) == []


def test_a_store_is_tried_once_for_a_server(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    monkeypatch.setattr(trusting, "probe", lambda *given: tried.append(given) or Promises(True, True, True))
    for _ in range(2):
        same, trust = trusted(store, False, print)
        trusting.remember(store, trust)
    assert same is store and len(tried) == 1
    document = json.loads(store.get("_artquant/probe.json"))
    assert document["server"] == store.server and document["probed_at"].endswith("+00:00")
    trusting.remember(store, replace(trust, server="another"))
    assert remembered(store) is None
    trusted(store, False, print)
    assert len(tried) == 2, "what another server kept says nothing of this one"


def test_a_store_that_does_not_show_what_was_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "list", lambda self, prefix="": iter(()))
    with pytest.raises(UserError, match="does not show what was just written or deleted"):
        trusted(open_store(str(tmp_path)), True, print)


def published(made: Snapshot | PlanSummary) -> Snapshot:
    assert isinstance(made, Snapshot)
    return made


def test_a_store_that_ignores_conditions_is_refused_or_used_by_one_writer(
    s3_server: EmbeddedStore, s3_folder: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from artquant.pipelines.score import claimed_night  # and Ray with it

    source = s3_folder.child("art")
    for number in range(4):
        source.put(f"{number}.jpg", b"x" * (number + 1))
    with worse_store(s3_server, monkeypatch, drops=("if-none-match",)):
        output = open_store(f"{s3_folder.uri}/out")
        spec = spec_for(source, output)
        with (
            pytest.raises(UserError, match="does not keep create-if-absent .* say single_writer=true") as refused,
            claimed_night(spec, RED),
        ):
            pass
        assert refused.value.exit_code == 2 and not list(output.list()), "what is refused leaves nothing behind"
        with claimed_night(spec.model_copy(update={"single_writer": True}), RED) as work:
            assert isinstance(work.store, SingleWriterStore) and isinstance(work.store.child("x"), SingleWriterStore)
        assert capfd.readouterr().err.count("two at once may publish over each other") == 1
        found = remembered(output)
        assert isinstance(found, Trust) and found.single_writer and not found.promises.creates_once
        one = as_trusted(output)
        with pytest.raises(Conflict):
            one.put_if_absent("_artquant/probe.json", b"")
        output.put("_artquant/intents/000000000001-0001.end", b"")

        snapshots = [published(night(one, asked(source), "first"))]
        source.put("new.jpg", b"new")
        snapshots.append(published(night(one, asked(source), "second")))
        assert history(one) == snapshots and len(rows_by_glob(one)) == 5

        def another(_: object) -> None:
            one.put("_artquant/intents/000000000003-0001.end", b"")
            night(one, asked(source, limit=1), "quick")

        for name in ("a.jpg", "b.jpg"):
            source.put(name, name.encode())
        with pytest.raises(AnotherRun, match="The run quick was first"):  # one after the other, it is still noticed
            night(one, asked(source), "slow", before_publishing=another)


def test_a_writer_that_comes_between_the_look_and_the_write_is_noticed_when_read_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = SingleWriterStore.of(store)
    put = Store.put

    def overtaken(self: Store, key: str, data: bytes) -> str:
        etag = put(self, key, data)
        put(self, key, b"another's")
        return etag

    monkeypatch.setattr(Store, "put", overtaken)
    with pytest.raises(Conflict, match="another writer was last"):
        one.put_if_absent("snapshot", b"ours")


def test_plain_s3_is_used_as_it_is(store: Store) -> None:
    assert as_trusted(store) is store


def test_a_store_on_which_two_of_many_win_does_not_create_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def create(self: Store, key: str, data: bytes) -> str:
        if data not in (b"0", b"1"):
            raise Conflict(key)
        return self.put(key, b"0")

    monkeypatch.setattr(Store, "put_if_absent", create)
    assert not probe(open_store(str(tmp_path)), "probe").creates_once


def test_a_store_that_looks_before_it_creates_does_not_create_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def create(self: Store, key: str, data: bytes) -> str:
        if self.exists(key):
            raise Conflict(key)
        time.sleep(0.02)
        return self.put(key, data)

    monkeypatch.setattr(Store, "put_if_absent", create)
    assert not probe(open_store(str(tmp_path)), "probe").creates_once


def test_a_store_that_replaces_what_was_there_before_does_not_create_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create = Store.put_if_absent
    monkeypatch.setattr(Store, "put_if_absent", lambda self, key, data: (self.put if data == b"late" else partial(create, self))(key, data))
    assert not probe(open_store(str(tmp_path)), "probe").creates_once
