"""The native clients of one bucket: how to read, list, replace, whoever's store it is (see `s3` and `clouds`).

Paths here are whole: below the bucket.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from artquant.core.errors import UserError
from artquant.storage.budget import BUDGET
from artquant.storage.errors import BROKEN_OFF, NO_BUCKET, Changed, classify, store_errors
from artquant.storage.local import Listed
from artquant.storage.patience import PATIENCE_SECONDS
from artquant.storage.requests import OK, REQUESTS

_PROBE_SECONDS = 5.0
CONTROL_SECONDS = 120.0  # a part of 16 MiB on a slow line
_LIST_SECONDS = 30.0
_STALL_SECONDS = 3.0  # without a byte, at the first try
_PART_BYTES = 16 << 20
_SLOW_LINE = 1 << 20  # bytes a second


def etag_of(meta: Any) -> str:
    return (meta["e_tag"] or "").strip('"')


class Remote:
    """Clients of one bucket, made from the environment when first needed: one for each deadline. Only those of listings and of large
    files try again by themselves, a page or a part at a time; everything else is tried again by the caller."""

    is_remote = True
    is_byte_ordered: bool | None = None  # whether listings come in byte order of the keys; None: they are taken from their beginning
    server: str
    connection_hint = "check the network"

    def __init__(self, bucket: str):
        self.bucket = bucket
        self._clients: dict[tuple[float, float, bool], Any] = {}
        self._client(CONTROL_SECONDS)  # refuses bad settings at once

    def _connect(self, client: dict[str, Any], retries: Any) -> Any:
        """Return a native client with these options. Raises UserError for bad settings."""
        raise NotImplementedError

    def _list_odd(self, root: str, after: str) -> Iterator[Listed]:
        """Continue a listing that the native client ended at a key like `a//b`."""
        raise NotImplementedError

    def _client(self, seconds: float, stall_seconds: float = math.inf, is_patient: bool = False) -> Any:
        """Return a client that gives up on a request after `seconds`, its body included, and after `stall_seconds` without a byte."""
        key = (seconds, min(seconds, stall_seconds), is_patient)
        if key not in self._clients:
            retries: dict[str, Any] = {"max_retries": 0}
            if is_patient:
                # The time ends the tries, not their number: a refused connection costs none.
                retries = {"max_retries": 1000, "retry_timeout": timedelta(seconds=PATIENCE_SECONDS)}
                retries["backoff"] = {"init_backoff": timedelta(seconds=0.2), "max_backoff": timedelta(seconds=5), "base": 2}
            self._clients[key] = self._connect(self._options(*key[:2]), retries)
        return self._clients[key]

    def _reader(self, attempt: int, seconds: float = CONTROL_SECONDS) -> Any:
        # A request that was lost costs seconds at first; a store that is only slow gets longer and longer.
        return self._client(seconds, _STALL_SECONDS * 2 ** min(attempt - 1, 10))

    def _writer(self, attempt: int, num_bytes: int = 0) -> Any:
        # Powers of two, so that there are few clients.
        patient = 2.0 ** math.ceil(math.log2(5 + num_bytes / _SLOW_LINE) + attempt - 1) if attempt < 10 else CONTROL_SECONDS
        return self._client(min(CONTROL_SECONDS, patient))

    def _options(self, timeout_seconds: float, stall_seconds: float) -> dict[str, Any]:
        timeout = timedelta(seconds=timeout_seconds)
        client: dict[str, Any] = {"timeout": timeout, "connect_timeout": min(timeout, timedelta(seconds=5))}
        if stall_seconds < timeout_seconds:
            client["read_timeout"] = timedelta(seconds=stall_seconds)
        if bundle := os.environ.get("AWS_CA_BUNDLE"):
            try:
                with open(bundle, "rb") as file:
                    client["root_certificate"] = file.read()
            except OSError as error:
                raise UserError(f"AWS_CA_BUNDLE names {bundle!r}, which cannot be read: {error.strerror}.") from error
        return client

    def get(self, path: str, attempt: int, timeout_seconds: float) -> tuple[bytes, str]:
        result = self._reader(attempt, timeout_seconds).get(path)
        return bytes(result.bytes()), etag_of(result.meta)

    def head(self, path: str, attempt: int = 1) -> tuple[int, str]:
        meta = self._reader(attempt).head(path)
        return meta["size"], etag_of(meta)

    def modified_at(self, path: str, attempt: int) -> datetime:
        at: datetime = self._reader(attempt).head(path)["last_modified"]
        return at

    def get_range(self, path: str, start: int, length: int, attempt: int) -> bytes:
        return bytes(self._reader(attempt).get_range(path, start=start, length=length))

    def put(self, path: str, data: bytes | Path, attempt: int) -> str:
        if isinstance(data, Path):
            if (num_bytes := data.stat().st_size) > _PART_BYTES:
                client = self._client(CONTROL_SECONDS, is_patient=True)
                _take(1 + num_bytes // _PART_BYTES)
                return etag_of(client.put(path, data, chunk_size=_PART_BYTES, max_concurrency=4))
            with data.open("rb") as file:
                data = file.read(num_bytes)
        if len(data) > _PART_BYTES:
            _take(1 + len(data) // _PART_BYTES)
            return etag_of(self._client(CONTROL_SECONDS, is_patient=True).put(path, data))
        return etag_of(self._writer(attempt, len(data)).put(path, data, use_multipart=False))

    def create(self, path: str, data: bytes, attempt: int) -> str:
        return etag_of(self._writer(attempt, len(data)).put(path, data, mode="create", use_multipart=False))

    def replace(self, path: str, data: bytes, etag: str, attempt: int) -> str:
        try:
            return etag_of(self._client(CONTROL_SECONDS).put(path, data, mode={"e_tag": f'"{etag}"'}, use_multipart=False))
        except FileNotFoundError as error:
            if classify(error)[1] == NO_BUCKET:
                raise
            raise Changed(path) from error

    def delete(self, paths: Sequence[str], attempt: int) -> None:
        self._writer(attempt + 1).delete(paths)

    def list(self, root: str, after: str = "") -> Iterator[Listed]:
        """List the entries below `root`, behind the path `after`, with the last slash of a key restored, which the native client strips.

        So an empty `dir/` (a marker) is recognised by asking whether there is a `dir`, and of two entries with one path the second is
        `path/`.
        """
        from obstore.exceptions import InvalidPathError

        last = after
        open_paths: list[str] = []  # those of which `path/` may still come, in the order of the keys
        try:
            for page in self._pages(root, after):
                BUDGET.take()
                REQUESTS.add("list", OK)
                for meta in page:
                    path, size, etag = meta["path"], meta["size"], etag_of(meta)
                    last = path
                    if after.startswith(path):  # it is `path/`: `path` alone comes before
                        if size:
                            yield f"{path}/", size, etag
                        continue
                    while open_paths and not path.startswith(open_paths[-1]):
                        open_paths.pop()
                    if path == root:
                        # `root` lies beside the collection, `root/` in it: a row only if it holds something.
                        if size and not self._is_object(path, etag):
                            yield f"{root}//", size, etag
                    elif open_paths and open_paths[-1] == path:
                        if size:
                            yield f"{path}/", size, etag
                    elif size or self._is_object(path):
                        open_paths.append(path)
                        yield path, size, etag
        except InvalidPathError:
            yield from self._list_odd(root, last)

    def _pages(self, root: str, after: str) -> Iterator[Any]:
        """Go on after the last key where a page broke off: the client tries again by itself only before an answer has begun."""
        last, num_broken = after or None, 0
        while True:
            try:
                for page in self._client(_LIST_SECONDS, is_patient=True).list(root or None, offset=last, chunk_size=1000):
                    yield page
                    last, num_broken = (page[-1]["path"] if page else last), 0
                return
            except store_errors() as error:
                num_broken += 1
                if classify(error)[1] != BROKEN_OFF or num_broken > 8 or self.is_byte_ordered is None:  # in a row
                    raise

    def _is_object(self, path: str, etag: str = "") -> bool:
        try:
            found = self._client(_LIST_SECONDS, is_patient=True).head(path)
        except FileNotFoundError:
            return False
        return not etag or etag_of(found) == etag

    def probe(self, root: str) -> bool:
        """Tell whether there is nothing below `root` but one object of that name."""
        from obstore.exceptions import InvalidPathError

        client = self._client(_PROBE_SECONDS)
        with contextlib.suppress(InvalidPathError):
            if any(meta["path"] != root for page in client.list(root or None, chunk_size=2) for meta in page[:2]) or not root:
                return False
            with contextlib.suppress(FileNotFoundError, PermissionError):
                client.head(root)
                return True
        return False

    def probe_write(self, path: str) -> None:
        client = self._client(_PROBE_SECONDS)
        client.put(path, b"")
        client.delete(path)


def _take(num_requests: int) -> None:
    for _ in range(num_requests):
        BUDGET.take()
