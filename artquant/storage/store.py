"""Objects by URI, in an object store (S3, Azure, Google) or a local folder: the only way in which the product reads and writes.

A `Store` is a root (`s3://bucket/prefix` or a folder) and keys below it, with `/` between the parts. It pickles as its URI and is opened
again from the environment on the other side, so no secret travels. All calls may come from many threads, block, and free the GIL while
they wait. Open a store inside the process that uses it: the native client does not survive a fork.

What fails for one object while reading raises `FetchError`, which is a `Reject`; what fails while listing or writing raises `UserError`.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote

from artquant.core.addresses import SCHEMES, is_object_store
from artquant.core.errors import Reject, UserError
from artquant.core.schema import RejectClass
from artquant.storage.buckets import ODD_KEY, TAKES, bucket_at, is_addressable
from artquant.storage.clients import Remote
from artquant.storage.errors import BrokenOff, classify, is_conflict, store_errors, user_message, write_errors
from artquant.storage.local import Local
from artquant.storage.patience import PATIENCE_SECONDS, Exhausted, Outage, briefly, patiently, sure_creation
from artquant.storage.ranges import Ranges

T = TypeVar("T")

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_READ_AHEAD_BYTES = 1 << 20


class ObjectInfo(NamedTuple):
    key: str
    size_bytes: int
    etag: str  # without quotes; '' where the store gives none


class Fetched(NamedTuple):
    data: bytes
    etag: str
    attempts: int


class FetchError(Reject):
    """An object that could not be read, after `attempts` tries."""

    def __init__(self, reject_class: RejectClass, message: str, attempts: int = 1):
        super().__init__(reject_class, message)
        self.attempts = attempts

    def __reduce__(self) -> tuple[Any, ...]:
        return FetchError, (self.reject_class, self.message, self.attempts)


class Conflict(Exception):
    """A conditional write lost: the object exists already, or is not the version that was named."""


def open_store(uri: str) -> Store:
    """Open the store at `uri` without sending anything yet. In a file: address %20 means a blank unless a folder has the literal name.

    Raises UserError for an address of another kind, and if no credentials are found.
    """
    scheme = _SCHEME.match(uri)
    if scheme is None or scheme[1] == "file":
        return _open_folder(uri, uri[scheme.end() :] if scheme else uri)
    if not is_object_store(uri):
        raise UserError(f"Cannot open {scheme[0]} addresses: {TAKES}.")
    return Store(*bucket_at(uri))


def _open_folder(uri: str, path: str) -> Store:
    if path.startswith("//") and not path.startswith("///"):
        raise UserError(f"{uri!r} names a host: {TAKES}.")
    if not path:
        raise UserError(f"An empty address names no store: {TAKES}.")
    folder = os.path.abspath(os.path.expanduser(path))
    if uri.startswith("file:") and not os.path.lexists(folder) and os.path.lexists(decoded := unquote(folder)):
        folder = decoded  # as in file:///data/my%20art; a folder that has this very name goes first
    return Store(f"file:///{folder.strip('/')}", folder.strip("/"), Local())


def open_parent(uri: str) -> tuple[Store, str]:
    """Return the store that holds the one object at `uri`, and its key: 's3://b/x/y.parquet' -> (the store s3://b/x, 'y.parquet')."""
    parent, slash, name = uri.rpartition("/")
    if uri.startswith("file:") and not slash:
        parent, name = "file:.", uri[len("file:") :]
    parent += "/" if parent in ("file:", "file://") else ""
    if not name or f"{parent.rstrip('/')}//" in SCHEMES:
        raise UserError(f"{uri!r} names no object: write it as s3://bucket/key or as the path of a file.")
    return open_store(parent or ("/" if slash else ".")), name


class Store:
    """See the module; made by `open_store`."""

    def __init__(self, uri: str, prefix: str, backend: Remote | Local, outage: Outage | None = None):
        self.uri = uri
        self._prefix = prefix
        self._backend = backend
        self._outage = outage or Outage()
        self.server: str = backend.server

    def __repr__(self) -> str:
        return f"Store({self.uri!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return open_store, (self.uri,)

    def uri_of(self, key: str) -> str:
        return self.uri + key if self.uri.endswith("/") else f"{self.uri}/{key}"

    def child(self, prefix: str) -> Store:
        """Return the store whose root is the folder `prefix` below this one; it shares the connections."""
        prefix = prefix.strip("/")
        return type(self)(self.uri_of(prefix), self._path(prefix), self._backend, self._outage)

    @property
    def is_byte_ordered(self) -> bool | None:
        """Whether listings are known to come in byte order of the keys; None for those that are listed from their beginning."""
        return getattr(self._backend, "is_byte_ordered", None)

    def list(self, prefix: str = "", after: str = "") -> Iterator[ObjectInfo]:
        """List every object below the folder `prefix`, page by page; nothing for a folder that does not exist. S3 can begin `after` a key.

        S3 and local folders answer in byte order of the keys; other stores may not (SeaweedFS gives `a/b` before `a.b`). Directory markers
        (an empty `dir/`) are left out. Raises UserError.
        """
        root = self._path(prefix.strip("/")) if prefix.strip("/") else self._prefix
        cut = len(self._prefix) + 1 if self._prefix else 0
        with self._doing(f"list {self.uri}"):
            for path, size_bytes, etag in self._backend.list(*((root, self._path(after)) if after else (root,))):
                yield ObjectInfo(path[cut:], size_bytes, etag)

    def get(self, key: str) -> bytes:
        return self.get_with_etag(key)[0]

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """Return the bytes and the etag they belong to. Raises FetchError, after PATIENCE_SECONDS if the failure may pass."""
        with self._reading(key) as path:
            return self._patiently("get", lambda attempt: self._backend.get(path, attempt, PATIENCE_SECONDS))

    def fetch(
        self,
        key: str,
        *,
        attempts: int = 4,
        patience_seconds: float = PATIENCE_SECONDS,
        timeout_seconds: float = 30.0,
        size_bytes: int | None = None,
        etag: str = "",
    ) -> Fetched:
        """One artwork's bytes; see `patiently` for what is tried again. Each attempt ends within `timeout_seconds`, or within 3, 6, 12, ...
        seconds without a byte. Where the version `etag` comes with another length than `size_bytes`, the answer broke off.

        Raises FetchError with the attempts used. Call it from some 32 threads: that is faster than one asyncio loop, at half the CPU time.
        """

        def get(attempt: int) -> tuple[bytes, str]:
            data, version = self._backend.get(path, attempt, timeout_seconds)
            if size_bytes is not None and etag and version == etag and len(data) != size_bytes:
                raise BrokenOff
            return data, version

        with self._reading(key) as path:
            if not self._backend.is_remote:
                return Fetched(*get(1), 1)
            (data, version), used = patiently(get, self._outage, attempts=attempts, patience_seconds=patience_seconds, operation="get")
            return Fetched(data, version, used)

    def head(self, key: str) -> ObjectInfo:
        """Return the object's key, size and etag. Raises FetchError."""
        with self._reading(key) as path:
            return ObjectInfo(key, *self._patiently("head", lambda attempt: self._backend.head(path, attempt)))

    def modified_at(self, key: str) -> datetime:
        """Return when the object was written, by the store's clock. Raises FetchError."""
        with self._reading(key) as path:
            return self._patiently("head", lambda attempt: self._backend.modified_at(path, attempt))

    def exists(self, key: str) -> bool:
        try:
            self.head(key)
        except FetchError as error:
            if error.reject_class is RejectClass.MISSING:
                return False
            raise
        return True

    def open_input(self, key: str) -> io.BufferedReader:
        """Return a seekable file that reads by ranges, as in `pyarrow.parquet.ParquetFile(store.open_input(key))`. Raises FetchError."""

        def read_range(start: int, length: int) -> bytes:
            with self._reading(key) as path:
                return self._patiently("get", lambda attempt: self._backend.get_range(path, start, length, attempt))

        return io.BufferedReader(Ranges(read_range, self.head(key).size_bytes), _READ_AHEAD_BYTES)

    def put(self, key: str, data: bytes | Path) -> str:
        """Write the whole object or nothing, and return its etag. Raises UserError."""
        with self._doing(f"write {self.uri_of(key)}"):
            path = self._path(key)
            return self._patiently("put", lambda attempt: self._backend.put(path, data, attempt))

    def put_file(self, key: str, path: str | os.PathLike[str]) -> str:
        """Do as `put`, from a file of up to 160 GB, in parts of 16 MiB."""
        return self.put(key, Path(path))

    def put_if_absent(self, key: str, data: bytes) -> str:
        """Write the object and return its etag, or raise Conflict if it exists.

        An attempt without an answer is tried again; an object that is there then, with these very bytes, is this call's own.
        """
        with self._doing(f"write {self.uri_of(key)}"):
            return self._patiently("create", sure_creation(self._backend, self._path(key), data))

    def put_if_match(self, key: str, data: bytes, etag: str) -> str:
        """Replace the version `etag` and return the new etag, or raise Conflict if the object is gone or has another version."""
        with self._doing(f"write {self.uri_of(key)}"):
            path = self._path(key)
            return self._patiently("replace", lambda attempt: self._backend.replace(path, data, etag, attempt), False)

    def delete(self, keys: str | Iterable[str]) -> None:
        """Delete the objects; those that are gone already are no error. Raises UserError."""
        paths = map(self._path, [keys] if isinstance(keys, str) else keys)
        with self._doing(f"delete below {self.uri}"):
            while batch := list(islice(paths, 1000)):
                self._patiently("delete", lambda attempt, batch=batch: self._backend.delete(batch, attempt))  # type: ignore[misc]

    def check_readable(self) -> None:
        """Raise UserError, within some 10 s, if the store cannot be listed or is a single object. An empty one is readable."""
        with self._doing(f"read {self.uri}"):
            is_object = self._briefly(lambda: self._backend.probe(self._prefix))
        if is_object:
            raise UserError(f"Cannot read {self.uri}: it is a file; give its {'prefix' if self._backend.is_remote else 'folder'}.")

    def check_writable(self) -> None:
        """Raise UserError, within some 10 s, if an object cannot be written and deleted again."""
        path = self._path(f".artquant-write-check-{secrets.token_hex(8)}")
        with self._doing(f"write to {self.uri}"):
            self._briefly(lambda: self._backend.probe_write(path))

    def _patiently(self, operation: str, call: Callable[[int], T], is_repeatable: bool = True) -> T:
        if not self._backend.is_remote:  # a disk's failure does not pass
            return call(1)
        return patiently(call, self._outage, patience_seconds=PATIENCE_SECONDS, is_repeatable=is_repeatable, operation=operation)[0]

    def _briefly(self, call: Callable[[], T]) -> T:
        return briefly(call) if self._backend.is_remote else call()

    def _path(self, key: str) -> str:
        if not is_addressable(key):
            raise ValueError(f"the key {key!r} {ODD_KEY}")
        return f"{self._prefix}/{key}" if self._prefix else key

    @contextlib.contextmanager
    def _reading(self, key: str) -> Iterator[str]:
        try:
            path = self._path(key)
        except ValueError as error:
            raise FetchError(RejectClass.UNSUPPORTED, f"{error}: rename the object") from error
        try:
            yield path
        except Exhausted as error:
            raise FetchError(*classify(error.cause), error.attempts) from error.cause
        except store_errors() as error:
            raise FetchError(*classify(error)) from error

    @contextlib.contextmanager
    def _doing(self, what: str) -> Iterator[None]:
        try:
            try:
                yield
            except Exhausted as error:
                raise error.cause from None
        except write_errors() as error:
            if is_conflict(error):
                raise Conflict(f"Cannot {what}: another writer was first.") from error
            raise UserError(user_message(error, what, self._backend.connection_hint)) from error
