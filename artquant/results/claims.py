"""Who is at work on the next snapshot. A claim saves money, it is not what keeps the rows right: that is the snapshot's number.

An intent is created once and names the work; while its process lives, a beat beside it is overwritten. What is gone is taken over: at once
where the process was on this host, else when its beat is older than `stale_seconds` by the store's own clock.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path

from artquant.core.errors import AnotherRun, Reject, UserError
from artquant.results import layout
from artquant.storage.store import Conflict, FetchError, Store

BEAT_SECONDS = 10.0
NOTHING_DUE = "nothing was due"  # why a claim ended


@dataclass(frozen=True)
class Intent:
    """A claim on the snapshot `number`. `digest`: of what decides the rows; `work`: the folder that all epochs share; `run_date`,
    `rows_per_file`: what the work keeps, whoever goes on with it."""

    number: int
    epoch: int
    digest: str
    work: str
    run_id: str
    run_date: str
    rows_per_file: int
    host: str
    boot_id: str
    pid: int
    started: str

    @property
    def write_id(self) -> str:
        """The same for all epochs of one work: whoever of them commits, it is the same commit."""
        return self.work


def this_process() -> dict[str, str | int]:
    boot = Path("/proc/sys/kernel/random/boot_id")
    return {
        "host": socket.gethostname(),
        "boot_id": boot.read_text().strip() if boot.exists() else "",
        "pid": os.getpid(),
        "started": _started(os.getpid()) or "",
    }


def _started(pid: int) -> str | None:
    """When a process of this host began, in ticks since the host did; None where there is none, or it is dead and not put away."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return fields[18] if len(fields) > 18 and state not in "ZX" else None


def is_gone(intent: Intent) -> bool | None:
    """Whether the intent's process has ended; None where that cannot be known here, because it is another host's."""
    here = this_process()
    if not here["boot_id"] or (intent.host, intent.boot_id) != (here["host"], here["boot_id"]):
        return None
    return _started(intent.pid) != intent.started


def last_intent(store: Store, number: int) -> Intent | None:
    """Return the claim of the highest epoch on the snapshot `number`."""
    found = [info.key for info in store.list(layout.INTENTS) if info.key.startswith(f"{layout.INTENTS}/{number:012d}-")]
    keys = sorted(key for key in found if key.endswith(".json"))
    return Intent(**json.loads(store.get(keys[-1]))) if keys else None


def is_ended(store: Store, intent: Intent) -> bool:
    return store.exists(layout.end_key(intent.number, intent.epoch))


def end(store: Store, intent: Intent, why: str) -> None:
    """Nobody goes on with this work: the next run plans anew."""
    store.put(layout.end_key(intent.number, intent.epoch), json.dumps({"why": why}).encode())


def claim(
    store: Store,
    number: int,
    digest: str,
    run_id: str,
    run_date: str,
    rows_per_file: int,
    *,
    stale_seconds: float,
    say: Callable[[str], None],
) -> Intent:
    """Return the claim of this process on the snapshot `number`: a new one, or one whose process is gone, with its work.

    Raises AnotherRun where a run is at work on it, or one with other settings was broken off and is not abandoned yet.
    """
    while True:
        last = last_intent(store, number)
        if last is not None and not is_ended(store, last):
            _wait_until_gone(store, last, stale_seconds, say)
        is_same = last is not None and last.digest == digest and not is_ended(store, last)
        if last and not is_same and not is_ended(store, last) and has_shards(store, last):
            if store.exists(layout.held_key(last.work)):
                release = f"publish it with artquant snapshots release {store.uri} {last.run_id}"
                raise AnotherRun(f"The run {last.run_id} is held: {release}, or give it up with artquant snapshots abandon {store.uri}.")
            raise AnotherRun(
                f"The run {last.run_id} in {store.uri} was broken off, and was asked for something else: run it again as it was, or give "
                f"it up with artquant snapshots abandon {store.uri}."
            )
        if last and is_same:
            new = Intent(**asdict(last) | {"epoch": last.epoch + 1} | this_process())
        else:
            work, epoch = f"{run_id}-{secrets.token_hex(4)}", last.epoch + 1 if last else 1
            new = Intent(number, epoch, digest, work, run_id, run_date, rows_per_file, **this_process())  # type: ignore[arg-type]
        try:
            store.put_if_absent(layout.intent_key(number, new.epoch), json.dumps(asdict(new)).encode())
            return new
        except (Conflict, UserError) as error:
            if _is_ours(store, new):  # the answer was lost, the claim was not
                return new
            if isinstance(error, UserError):
                raise


def has_shards(store: Store, intent: Intent) -> bool:
    return next(store.list(layout.shards_prefix(intent.work)), None) is not None


def _is_ours(store: Store, new: Intent) -> bool:
    """Whether the claim that is there is this process's own: an answer may be lost."""
    try:
        return Intent(**json.loads(store.get(layout.intent_key(new.number, new.epoch)))) == new
    except FetchError:
        return False


def _wait_until_gone(store: Store, intent: Intent, stale_seconds: float, say: Callable[[str], None]) -> None:
    """Return when the intent's process is taken to be gone. Raises AnotherRun where it is alive."""
    gone = store.exists(layout.left_key(intent.number, intent.epoch)) or is_gone(intent)
    busy = AnotherRun(
        f"The run {intent.run_id} on {intent.host} (process {intent.pid}) is at work on {store.uri}: wait until it has ended, or stop it."
    )
    if gone:
        return
    if gone is False:
        raise busy
    first = _beat_age(store, intent)
    if first >= stale_seconds:
        return
    say(f"The run {intent.run_id} on {intent.host} was at work {first:.0f} s ago: waiting until {stale_seconds:.0f} s are over")
    time.sleep(max(0.0, min(stale_seconds, stale_seconds - first)) + 1)
    if _beat_age(store, intent) < stale_seconds:
        raise busy


def _beat_age(store: Store, intent: Intent) -> float:
    """Seconds since the last beat, by the store's clock alone."""
    now = time_of(store)
    beat = layout.beat_key(intent.number, intent.epoch)
    try:
        at = store.modified_at(beat)
    except FetchError:
        at = store.modified_at(layout.intent_key(intent.number, intent.epoch))
    return max(0.0, (now - at) / timedelta(seconds=1))


def time_of(store: Store) -> datetime:
    """Return the time by the store's own clock."""
    probe = f"{layout.INTENTS}/clock-{secrets.token_hex(8)}"
    store.put(probe, b"")
    try:
        return store.modified_at(probe)
    finally:
        store.delete(probe)


@contextmanager
def beating(store: Store, intent: Intent) -> Iterator[None]:
    """Others see for the block that the claim's process lives."""
    done = threading.Event()

    def beat() -> None:
        while not done.is_set():
            with suppress(UserError, Reject):  # the beat after it may get through; a stale one costs money, never rows
                store.put(layout.beat_key(intent.number, intent.epoch), b"")
            done.wait(BEAT_SECONDS)

    thread = threading.Thread(target=beat, name="beat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(timeout=5)
        with suppress(UserError, Reject):  # who comes next finds out by other means, later
            if store.exists(layout.intent_key(intent.number, intent.epoch)):
                store.put(layout.left_key(intent.number, intent.epoch), b"")
            else:
                store.delete(layout.beat_key(intent.number, intent.epoch))


@contextmanager
def withdrawn_if_refused(store: Store, intent: Intent) -> Iterator[None]:
    """Take a fresh claim back where the block raises UserError: what is refused leaves nothing behind."""
    try:
        yield
    except UserError:
        if intent.epoch == 1:
            store.delete(layout.intent_key(intent.number, intent.epoch))
        raise
