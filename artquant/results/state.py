"""What a store says of itself, for whoever watches it without running a job."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from artquant.core.errors import Reject
from artquant.results import layout
from artquant.results.claims import NOTHING_DUE, is_ended, last_intent
from artquant.results.snapshots import Snapshot, read_snapshot
from artquant.storage.store import Store

PUBLISHING = ("run", "release")  # kinds of snapshots that bring a run's rows


def last_published(store: Store, last: Snapshot | None) -> Snapshot | None:
    """Return the newest snapshot, from `last` back, that brought rows of a run. Raises FetchError."""
    return next((one for one in _back(store, last) if one.kind in PUBLISHING), None)


def _back(store: Store, last: Snapshot | None) -> Iterator[Snapshot]:
    while last is not None:
        yield last
        last = read_snapshot(store, last.parent) if last.parent else None


def unix_time(snapshot: Snapshot) -> float:
    """Return when the snapshot was made, in Unix seconds."""
    return datetime.fromisoformat(snapshot.created_at).timestamp()


def view_number(store: Store) -> int:
    """Return the snapshot that the view was last brought to, as CURRENT says; 0 where there is none. Raises FetchError."""
    try:
        return int(json.loads(store.get(layout.CURRENT))["snapshot"]) if store.exists(layout.CURRENT) else 0
    except (ValueError, KeyError, TypeError):
        return 0


def metrics_of(store: Store, run_id: str) -> Mapping[str, Any]:
    """Return what the run wrote into its metrics.json; nothing where it cannot be read."""
    try:
        return dict(json.loads(store.get(layout.run_key(run_id, "metrics.json"))))
    except (Reject, ValueError):
        return {}


def quiet_nights(store: Store) -> list[datetime]:
    """Return when runs found that nothing was due, by the store's clock, as far as their claims are still there."""
    found = []
    for info in store.list(layout.INTENTS):
        if info.key.endswith(".end") and json.loads(store.get(info.key)).get("why") == NOTHING_DUE:
            found.append(store.modified_at(info.key))
    return sorted(found)


def held_run_of(store: Store, last: Snapshot | None) -> str | None:
    """Return the run that is finished and waits for a person."""
    intent = last_intent(store, last.number + 1 if last else 1)
    return intent.run_id if intent and not is_ended(store, intent) and store.exists(layout.held_key(intent.work)) else None
