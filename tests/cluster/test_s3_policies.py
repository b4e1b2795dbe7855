"""What each role may do to the store is what its commands do, request by request, and no more than that where it matters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from artquant.agreement.drift import Check
from artquant.core.errors import Held
from artquant.results import operations
from artquant.results.compact import compact
from artquant.results.gates import Judged
from artquant.results.nights import Work
from artquant.results.shards import ShardCollector
from artquant.results.trust import remember, trusted
from artquant.storage.store import Store, open_store
from tests.cluster.manifests import CLUSTER
from tests.results import nights
from tests.results.scheduler import Memory, memory_store

ROLES = ("run", "operate", "train", "read")
OUTPUT = "arn:aws:s3:::results/scores"
ACTIONS = {"get": "s3:GetObject", "put": "s3:PutObject", "create": "s3:PutObject", "delete": "s3:DeleteObject", "list": "s3:ListBucket"}
Request = tuple[str, str]  # what, and the path below the bucket `results`


def statements(name: str) -> list[dict[str, Any]]:
    document = json.loads((CLUSTER / "s3" / f"{name}.json").read_text())
    assert document["Version"] == "2012-10-17"
    return document["Statement"]


def matches(statement: dict[str, Any], what: str, path: str) -> bool:
    actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
    if not any(fnmatchcase(ACTIONS[what], action) for action in actions):
        return False
    condition = statement.get("Condition", {})
    if "Bool" in condition:  # everything here is sent over TLS
        return False
    if what == "list":
        prefixes = condition.get("StringLike", {}).get("s3:prefix", ["*"])
        return "arn:aws:s3:::results" in statement["Resource"] and any(fnmatchcase(path, prefix) for prefix in prefixes)
    if condition.get("Null", {}).get("s3:if-none-match") == "true" and what == "create":
        return False  # the header is there
    return any(fnmatchcase(f"arn:aws:s3:::results/{path}", resource) for resource in statement["Resource"])


def is_allowed(role: str, what: str, path: str) -> bool:
    denied = any(matches(one, what, path) for one in statements("bucket"))
    return not denied and any(matches(one, what, path) for one in statements(role))


class Noting(Memory):
    """Notes every request."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: set[Request] = set()

    def _turn(self, what: str, path: str, act: Any) -> object:
        self.requests.add(("get" if what == "head" else what, path))
        return super()._turn(what, path, act)

    def delete(self, paths: Sequence[str], attempt: int = 1) -> None:
        self.requests |= {("delete", path) for path in paths}
        super().delete(paths, attempt)


@pytest.fixture
def places(tmp_path: Path) -> tuple[Store, Noting, Store]:
    source, backend = open_store(str(tmp_path / "art")), Noting()
    for number in range(5):
        source.put(f"{number}.jpg", b"x" * (number + 1))
    return source, backend, memory_store(backend, "scores")


def held(*given: Any) -> Judged:
    return Judged((Check("psi", 1.0, 0.25, 400, 400, "beyond"),))


def scored_by_another(work: Work) -> None:
    """The first shard has a record when the run comes to it, whose own attempt is deleted then."""
    collector = ShardCollector(work.store, work.intent.work, work.plan)
    collector.add(nights.outcomes(work, 0))
    collector.finish()


def a_few_nights(source: Store, store: Store) -> None:
    """A first one, one that is held, broken off, taken over, forced."""
    store, trust = trusted(store, False, print)
    nights.night(store, nights.asked(source), "first", after_planning=scored_by_another)
    remember(store, trust)
    source.put("new.jpg", b"new")
    with pytest.raises(KeyboardInterrupt):
        nights.night(store, nights.asked(source), "second", stop_after=0)
    with pytest.raises(Held):
        nights.night(store, nights.asked(source), "second", judge=held)
    nights.night(store, nights.asked(source), "second")
    nights.night(store, nights.asked(source, force=True), "third")
    nights.night(store, nights.asked(source), "nothing due")


def test_the_run_may_do_what_its_nights_do(places: tuple[Store, Noting, Store]) -> None:
    source, backend, store = places
    a_few_nights(source, store)
    store.put("runs/third/report.html", b"a page")
    assert {what for what, _ in backend.requests} == ACTIONS.keys()
    assert [request for request in backend.requests if not is_allowed("run", *request)] == []


def test_who_operates_may_do_what_the_commands_on_snapshots_do(places: tuple[Store, Noting, Store]) -> None:
    source, backend, store = places
    a_few_nights(source, store)
    store.put("runs/first/report.html", b"a page")
    source.put("late.jpg", b"late")
    with pytest.raises(KeyboardInterrupt):
        nights.night(store, nights.asked(source), "fourth", stop_after=0)
    backend.requests.clear()
    operations.abandon(store)
    operations.rollback(store)
    operations.release(store, "third")
    compact(store, 100)
    operations.forget(store, ["1.jpg"])
    operations.clean(store)
    assert [request for request in backend.requests if not is_allowed("operate", *request)] == []
    deleted = {path for what, path in backend.requests if what == "delete"}
    assert deleted and any(not is_allowed("run", "delete", path) for path in deleted), "deleting is for who operates"


@pytest.mark.parametrize("role", ROLES)
def test_nobody_changes_or_deletes_a_snapshot_that_is_there(role: str) -> None:
    snapshot = "scores/_artquant/snapshots/000000000001.json"
    assert not is_allowed(role, "delete", snapshot) and not is_allowed(role, "put", snapshot)
    assert is_allowed(role, "create", snapshot) == (role in ("run", "operate"))


def test_the_run_deletes_no_data_and_who_reads_writes_nothing() -> None:
    for path in (
        "scores/_artquant/runs/a/data/scores-00000.parquet",
        "scores/_artquant/runs/a/shards/000000-x.json",
        "scores/scores/x.parquet",
    ):
        assert not is_allowed("run", "delete", path)
        assert not any(is_allowed("read", what, path) for what in ("put", "create", "delete"))
    for path in ("collection", "elsewhere/x"):
        assert not any(is_allowed(role, what, path) for role in ROLES for what in ("put", "create", "delete"))


@pytest.mark.parametrize("role", ROLES)
def test_the_collection_is_read_only_and_no_statement_is_wider_than_its_prefixes(role: str) -> None:
    for one in statements(role):
        assert one["Effect"] == "Allow" and "*" not in one["Action"] and "s3:*" not in one["Action"]
        assert not {"*", "arn:aws:s3:::*", "arn:aws:s3:::results/*"} & set(one["Resource"])
        if any(resource.startswith("arn:aws:s3:::collection") for resource in one["Resource"]):
            assert set(one["Action"]) <= {"s3:GetObject", "s3:ListBucket"}
