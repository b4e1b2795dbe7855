"""Whether an output's store keeps what exactly once rests on: tried once, and remembered beside format.json."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from artquant.core.errors import UserError
from artquant.core.schema import RejectClass
from artquant.results import layout
from artquant.storage.probe import Promises, SingleWriterStore, probe
from artquant.storage.store import FetchError, Store

EMBEDDED = Promises(creates_once=True, shows_writes=True, lists_in_order=False)  # held by its tests
LOST = (
    "{uri} does not keep create-if-absent, and single_writer=true is set: as long as one command at a time writes there, each row is "
    "published once; two at once may publish over each other, and neither is told."
)


@dataclass(frozen=True)
class Trust:
    """What was found, when and on which server; `single_writer`: that a person said how the output is used."""

    promises: Promises
    server: str
    probed_at: str
    single_writer: bool

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), indent=1).encode() + b"\n"


def remembered(store: Store) -> Trust | None:
    """Return what was found before on this very server."""
    try:
        document = json.loads(store.get(layout.PROBE))
    except FetchError as error:
        if error.reject_class is RejectClass.MISSING:
            return None
        raise UserError(f"Cannot read {store.uri_of(layout.PROBE)}: {error.message}.") from error
    trust = Trust(**document | {"promises": Promises(**document["promises"])})
    return trust if trust.server == store.server else None


def trusted(store: Store, single_writer: bool, say: Callable[[str], None]) -> tuple[Store, Trust]:
    """Return the store as a run may use it, tried where it was not yet; :func:`remember` keeps what was found. Raises UserError."""
    found = remembered(store)
    promises = found.promises if found else probe(store, layout.PROBE_FOLDER)
    if not promises.shows_writes:
        raise UserError(f"{store.uri} does not show what was just written or deleted, so no run can go on there: choose another store.")
    if not promises.creates_once and not single_writer:
        raise UserError(
            f"{store.uri} does not keep create-if-absent (If-None-Match on PUT), so two runs at once could publish over each other: choose "
            "another store, or make sure that one command at a time writes there and say single_writer=true."
        )
    at = found.probed_at if found else datetime.now(UTC).isoformat(timespec="seconds")
    trust = Trust(promises, store.server, at, not promises.creates_once)
    if promises.creates_once:
        return store, trust
    say(LOST.format(uri=store.uri))
    return SingleWriterStore.of(store), trust


def remember(store: Store, trust: Trust) -> None:
    """Keep what was found: the next run on the same server does not try again."""
    if remembered(store) != trust:
        store.put(layout.PROBE, trust.to_json())


def remember_embedded(store: Store) -> None:
    """Keep what is known of the embedded store, on whose server the losers of the first races wait for a second."""
    if not remembered(store):
        remember(store, Trust(EMBEDDED, store.server, datetime.now(UTC).isoformat(timespec="seconds"), False))


def as_trusted(store: Store) -> Store:
    """Return the store as the last run used it, for commands beside the runs."""
    found = remembered(store)
    return SingleWriterStore.of(store) if found and found.single_writer else store
