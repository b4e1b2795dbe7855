"""Published models and which of them is current: one prefix a model, never changed once its card is there, and one small pointer.

    <root>/<model_id>/...           a checkpoint, file by file
    <root>/<model_id>/card.json     written last: a prefix without it is no model
    <root>/current                  {"model_id", "at", "previous": [ids, newest first]}
    <root>/_publishing/<model_id>   there while a model is being published, or was when that broke off

Many may read, promote and roll back at once. One id is published by one process at a time.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from artquant.config.section import checked_name
from artquant.core.errors import UserError
from artquant.core.schema import RejectClass
from artquant.storage.embedded import BUCKET
from artquant.storage.store import Conflict, FetchError, Store

CARD, CURRENT = "card.json", "current"
_TRIES = 50  # of a promotion: in each round one of those who promote at once gets through


class Entry(NamedTuple):
    """One published model. `card` holds what its publisher said about it, and `model_id`, `digest`, `created_at`, `files`."""

    model_id: str
    digest: str
    created_at: datetime  # UTC
    card: dict[str, Any]


class Pointer(NamedTuple):
    """Which model is current, since when, and which were before it, newest first."""

    model_id: str
    at: datetime  # UTC
    previous: tuple[str, ...]


class Registry:
    """The models below the root of `store`. Every method raises UserError where the store cannot be read or written."""

    def __init__(self, store: Store):
        self._store = store

    def uri_of(self, model_id: str) -> str:
        """Return where the model's checkpoint lies, or would lie. Raises UserError for what cannot be an id."""
        return self._store.uri_of(_checked(model_id))

    def publish(self, model_id: str, folder: Path, card: dict[str, Any], beside: Mapping[str, bytes] | None = None) -> Entry:
        """Upload the files below `folder` and those `beside` it, then the card, which makes the model visible: all of it or nothing.

        The entry's digest is `card["model_digest"]`, or one of the files if the card has none; numbers in the card that are not finite
        become null. A card.json in `folder`, from a model that was published before, is left out. An interrupted publish can be tried
        again. Raises UserError if the id is taken or invalid, its prefix holds other files, or `folder` has no files.
        """
        prefix, marker = _checked(model_id), f"_publishing/{model_id}"
        if self._read(f"{prefix}/{CARD}"):
            raise self._taken(model_id)
        names = sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())
        beside = beside or {}
        names = [name for name in names if name != CARD and name not in beside]
        if not names:
            raise UserError(f"There are no files in {folder}: name the folder of a checkpoint.")
        there = {info.key for info in self._store.list(prefix)}
        if there and self._read(marker) is None:
            raise UserError(f"{self.uri_of(model_id)} holds files that are no published model: move them away, or choose another id.")
        self._store.put(marker, b"")
        self._store.delete(there - {f"{prefix}/{name}" for name in [*names, *beside]})
        files = {}
        for name in names:
            path = Path(folder) / name
            with path.open("rb") as file:
                files[name] = {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "num_bytes": path.stat().st_size}
            self._store.put_file(f"{prefix}/{name}", path)
        for name, content in beside.items():
            files[name] = {"sha256": hashlib.sha256(content).hexdigest(), "num_bytes": len(content)}
            self._store.put(f"{prefix}/{name}", content)
        digest = card.get("model_digest") or hashlib.sha256(json.dumps(files).encode()).hexdigest()[:16]
        own = {"model_id": model_id, "digest": digest, "created_at": _now(), "files": files}
        data = json.dumps(_plain({**card, **own}), indent=1, default=str, allow_nan=False).encode() + b"\n"
        try:
            self._store.put_if_absent(f"{prefix}/{CARD}", data)
        except Conflict as error:
            stored = self._read(f"{prefix}/{CARD}")
            if stored is None or stored[0] != data:  # else it is ours, and the answer was lost
                raise self._taken(model_id) from error
        self._store.delete(marker)
        return self._entry(model_id, data)

    def entries(self) -> list[Entry]:
        """List all models, the newest first; none if there is no registry yet."""
        keys = [info.key.split("/") for info in self._store.list()]
        ids = [parts[0] for parts in keys if len(parts) == 2 and parts[1] == CARD and _is_id(parts[0])]
        with ThreadPoolExecutor(16) as pool:
            entries = list(pool.map(self.entry, ids))
        return sorted(entries, key=lambda entry: (entry.created_at, entry.model_id), reverse=True)

    def entry(self, model_id: str) -> Entry:
        """Return the model's entry. Raises UserError if there is no such model, naming those that there are."""
        if (card := self._read(f"{_checked(model_id)}/{CARD}")) is None:
            ids = [entry.model_id for entry in self.entries()]
            choice = f"it has {', '.join(ids[:10])}" + (f" and {len(ids) - 10} more" if ids[10:] else "") if ids else "it has none yet"
            raise UserError(f"{self._store.uri} has no model {model_id!r}: {choice}.")
        return self._entry(model_id, card[0])

    def current(self) -> str | None:
        pointer = self.pointer()
        return pointer.model_id if pointer else None

    def current_uri(self) -> str:
        """Return the current model's address, which never changes, whatever is promoted later.

        Raises UserError if none is current, or it is gone.
        """
        if (model_id := self.current()) is None:
            where = "" if self._store.uri == f"s3://{BUCKET}/models" else f" REGISTRY={self._store.uri}"
            raise UserError(f"{self._store.uri} has no current model: make promote MODEL=id{where}, or name a checkpoint as model.")
        self.entry(model_id)
        return self.uri_of(model_id)

    def pointer(self) -> Pointer | None:
        """Return the pointer, or None if nothing was ever promoted."""
        pointer = self._pointer()
        return pointer[0] if pointer else None

    def promote(self, model_id: str) -> None:
        """Make the model current, whatever else is promoted meanwhile: the last one wins, and those before it are in `previous`.

        Nothing is written if it is current already. Raises UserError if there is no such model.
        """
        self.entry(model_id)
        for _ in range(_TRIES):
            stored = self._pointer()
            if stored and stored[0].model_id == model_id:
                return
            try:
                self._point(model_id, (stored[0].model_id, *stored[0].previous) if stored else (), stored[1] if stored else None)
                return
            except Conflict:
                time.sleep(random.uniform(0, 0.05))
        raise UserError(f"Others kept promoting models in {self._store.uri}: look at what is current, and promote again.")

    def rollback(self) -> str:
        """Make the newest of `previous` that is still in the registry current, take it from `previous`, and return its id.

        The model that was current stays published, but is no longer in `previous`: a second rollback goes one step further back. Raises
        UserError if there is nothing to go back to, or if `current` was moved meanwhile, since what would be undone then is not what the
        caller has seen. Of two simultaneous rollbacks, one is done.
        """
        stored = self._pointer()
        if stored is None:
            raise UserError(f"Nothing is current in {self._store.uri}, so there is nothing to go back from: promote a model.")
        (current, _, previous), etag = stored
        standing = next((index for index, before in enumerate(previous) if self._read(f"{before}/{CARD}")), None)
        if standing is None:
            raise UserError(f"There is no model before {current} in {self._store.uri} to go back to: promote one by its name.")
        try:
            self._point(previous[standing], previous[standing + 1 :], etag)
        except Conflict as error:
            raise UserError(
                f"{self._store.uri_of(CURRENT)} was moved by somebody else: look at what is current before going back."
            ) from error
        return previous[standing]

    def _point(self, model_id: str, previous: tuple[str, ...], etag: str | None) -> None:
        data = json.dumps({"model_id": model_id, "at": _now(), "previous": previous}).encode() + b"\n"
        try:
            if etag is None:
                self._store.put_if_absent(CURRENT, data)
            else:
                self._store.put_if_match(CURRENT, data, etag)
        except Conflict:
            stored = self._read(CURRENT)
            if stored is None or stored[0] != data:  # else it is ours, and the answer was lost
                raise

    def _pointer(self) -> tuple[Pointer, str] | None:
        if (stored := self._read(CURRENT)) is None:
            return None
        try:
            document = json.loads(stored[0])
            pointer = Pointer(
                checked_name(document["model_id"]),
                datetime.fromisoformat(document["at"]),
                tuple(checked_name(name) for name in document["previous"]),
            )
        except (ValueError, LookupError, TypeError) as error:
            where = self._store.uri_of(CURRENT)
            raise UserError(f"{where} is damaged and names no model: delete it, and promote the right one again.") from error
        return pointer, stored[1]

    def _entry(self, model_id: str, data: bytes) -> Entry:
        try:
            card = json.loads(data)
            return Entry(model_id, card["digest"], datetime.fromisoformat(card["created_at"]).astimezone(UTC), card)
        except (ValueError, LookupError, TypeError) as error:
            where = self._store.uri_of(f"{model_id}/{CARD}")
            raise UserError(f"{where} is damaged: restore it, or delete it to take the model out of the registry.") from error

    def _read(self, key: str) -> tuple[bytes, str] | None:
        """Return the object and its etag, or None if there is none."""
        try:
            return self._store.get_with_etag(key)
        except FetchError as error:
            if error.reject_class is not RejectClass.MISSING:
                is_denied = error.reject_class is RejectClass.DENIED
                advice = "check the address and what the credentials allow" if is_denied else "try again when the store answers"
                raise UserError(f"Cannot read {self._store.uri_of(key)}: {error.message}; {advice}.") from error
        next(self._store.list("_publishing"), None)  # refuses where the whole bucket is missing
        return None

    def _taken(self, model_id: str) -> UserError:
        return UserError(f"{self._store.uri} has a model {model_id} already, and a published model never changes: choose another id.")


def _is_id(text: str) -> bool:
    try:
        checked_name(text)
    except ValueError:
        return False
    return text != CURRENT


def _checked(model_id: str) -> str:
    try:
        checked_name(model_id)
    except ValueError as error:
        raise UserError(f"{model_id!r} is no model's id: an id {error}, 100 at most, and begins with a letter or digit.") from error
    if model_id == CURRENT:
        raise UserError(f"A model cannot be called {CURRENT!r}, which stands for the one that was promoted: choose another id.")
    return model_id


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _plain(value: Any) -> Any:
    """Replace each number that is not finite, which JSON cannot hold, by null."""
    if isinstance(value, dict):
        return {name: _plain(below) for name, below in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(below) for below in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
