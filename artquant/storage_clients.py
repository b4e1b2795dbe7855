"""What differs between S3 and a local folder: how to connect, list, replace, and what an error means. Used by `artquant.storage` alone.

Paths here are whole: below the bucket, or below `/`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from artquant.errors import UserError
from artquant.schema import RejectClass

if TYPE_CHECKING:
    from obstore.store import LocalStore, S3Store

Listed = tuple[str, int, str]  # path, size in bytes, etag

PROBE_SECONDS = 5.0
_CONTROL_SECONDS = 120.0  # a part of 16 MiB on a slow line
_UNFINISHED = re.compile(r"#\d+$")  # how the native client names a local file until it is complete
_THROTTLES = {"SlowDown", "Throttling", "ThrottlingException", "RequestThrottled", "RequestLimitExceeded", "TooManyRequests"}
_EXPIRED = {"ExpiredToken", "InvalidToken", "TokenRefreshRequired", "RequestTimeTooSkewed"}


class Changed(Exception):
    """The object is not the version that was to be replaced."""


def etag_of(meta: Any) -> str:
    return (meta["e_tag"] or "").strip('"')


class S3:
    """Clients of one bucket, made from the environment when first needed: one for work, one for each deadline of `fetching`."""

    def __init__(self, bucket: str):
        self.bucket = bucket
        self.endpoint = _endpoint()
        self.reach = f"check AWS_ENDPOINT_URL ({self.endpoint}) and that the server runs" if self.endpoint else "check the network"
        self._fetching: dict[float, S3Store] = {}
        self.client = self._connect(_CONTROL_SECONDS, {"max_retries": 6, "retry_timeout": timedelta(seconds=60)})

    def fetching(self, timeout_seconds: float) -> S3Store:
        """A client that never retries and gives up on a request after `timeout_seconds`, its body included."""
        if timeout_seconds not in self._fetching:
            self._fetching[timeout_seconds] = self._connect(timeout_seconds, {"max_retries": 0})
        return self._fetching[timeout_seconds]

    def _connect(self, timeout_seconds: float, retries: Any) -> S3Store:
        from obstore.store import S3Store

        config: dict[str, Any] = {"region": "us-east-1"}
        timeout = timedelta(seconds=timeout_seconds)
        client: dict[str, Any] = {"timeout": timeout, "connect_timeout": min(timeout, timedelta(seconds=5))}
        if self.endpoint:
            config |= {"endpoint": self.endpoint, "virtual_hosted_style_request": False}
            client["allow_http"] = self.endpoint.startswith("http://")
        if bundle := os.environ.get("AWS_CA_BUNDLE"):
            try:
                with open(bundle, "rb") as file:
                    client["root_certificate"] = file.read()
            except OSError as error:
                raise UserError(f"AWS_CA_BUNDLE names {bundle!r}, which cannot be read: {error.strerror}.") from error
        provider = None
        if not os.environ.get("AWS_ACCESS_KEY_ID") and os.environ.get("AWS_SKIP_SIGNATURE", "").lower() not in ("1", "true"):
            provider = _credential_chain()
            config |= provider.config  # the profile's region
        if region := os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"):
            config["region"] = region
        return S3Store(self.bucket, config=config, client_options=client, retry_config=retries, credential_provider=provider)  # type: ignore[arg-type]

    def list(self, root: str) -> Iterator[Listed]:
        from obstore.exceptions import InvalidPathError

        last = ""
        try:
            for page in self.client.list(root or None, chunk_size=1000):
                for meta in page:
                    if meta["size"] or self._is_object(meta["path"]):
                        yield meta["path"], meta["size"], etag_of(meta)
                    last = meta["path"]
        except InvalidPathError:
            yield from self._list_odd(root, last)

    def _is_object(self, path: str) -> bool:
        # The native client strips the slash of an empty `dir/`; then there is nothing at `dir`.
        try:
            self.client.head(path)
        except FileNotFoundError:
            return False
        return True

    def _list_odd(self, root: str, after: str) -> Iterator[Listed]:
        """Goes on after `after` with boto3, ten times slower: the native client ends a listing at a key like `a//b`."""
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError

        client = boto3.client("s3", endpoint_url=self.endpoint, region_name=self.client.config.get("region"))
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=f"{root}/" if root else "", StartAfter=after)
        try:
            for page in pages:
                for entry in page.get("Contents", ()):
                    if entry["Size"] or not entry["Key"].endswith("/"):
                        yield entry["Key"], entry["Size"], entry["ETag"].strip('"')
        except (BotoCoreError, ClientError) as error:
            raise OSError(errno.EIO, str(error)) from error

    def probe(self, root: str) -> None:
        from obstore.exceptions import InvalidPathError

        with contextlib.suppress(InvalidPathError):
            next(iter(self.fetching(PROBE_SECONDS).list(root or None, chunk_size=1)), None)

    def replace(self, path: str, data: bytes, etag: str) -> str:
        try:
            return etag_of(self.client.put(path, data, mode={"e_tag": f'"{etag}"'}, use_multipart=False))
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise
            raise Changed(path) from error

    def delete(self, paths: Sequence[str]) -> None:
        self.client.delete(paths)


class Local:
    """The file system from `/` down. The native client writes beside the target and renames; listing and replacing are done here."""

    reach = "check the disk"

    def __init__(self) -> None:
        from obstore.store import LocalStore

        self.client = LocalStore()

    def fetching(self, timeout_seconds: float) -> LocalStore:
        return self.client

    def list(self, root: str) -> Iterator[Listed]:
        return _walk(f"/{root}", root, frozenset()) if os.path.isdir(f"/{root}") else iter(())

    def probe(self, root: str) -> None:
        os.scandir(f"/{root}").close()

    def replace(self, path: str, data: bytes, etag: str) -> str:
        try:
            folder = os.open(os.path.dirname(f"/{path}"), os.O_RDONLY)
            try:
                fcntl.flock(folder, fcntl.LOCK_EX)  # the folder itself, so that no lock file is left in it
                if etag_of(self.client.head(path)) != etag:
                    raise Changed(path)
                return etag_of(self.client.put(path, data))
            finally:
                os.close(folder)
        except FileNotFoundError as error:
            raise Changed(path) from error

    def delete(self, paths: Sequence[str]) -> None:
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                self.client.delete(path)


def _walk(folder: str, path: str, above: frozenset[tuple[int, int]]) -> Iterator[Listed]:
    """Files below `folder` in byte order of their paths, through links to folders but not in circles."""
    status = os.stat(folder)
    if (status.st_dev, status.st_ino) in above:
        return
    above |= {(status.st_dev, status.st_ino)}
    with os.scandir(folder) as entries:
        names = sorted((os.fsencode(entry.name) + (b"/" if entry.is_dir() else b""), entry.name) for entry in entries)
    for sort_key, name in names:
        # A name that is not UTF-8 gets a path under which nothing is found, and so becomes a row.
        below = f"{path}/{os.fsencode(name).decode('utf-8', 'replace')}".lstrip("/")
        if sort_key.endswith(b"/"):
            yield from _walk(f"{folder}/{name}", below, above)
        elif not _UNFINISHED.search(name):
            try:
                status = os.stat(f"{folder}/{name}")
            except FileNotFoundError:  # a link that leads nowhere
                yield below, 0, ""
                continue
            if stat.S_ISREG(status.st_mode):
                yield below, status.st_size, f"{status.st_ino:x}-{status.st_mtime_ns // 1000:x}-{status.st_size:x}"


class Ranges(io.RawIOBase):
    """A seekable view of one object of `size_bytes`; every read is one ranged request by `read_range(start, length)`."""

    def __init__(self, read_range: Callable[[int, int], bytes], size_bytes: int):
        self._read_range = read_range
        self._size_bytes = size_bytes
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size_bytes}[whence])
        return self._position

    def readinto(self, buffer: Any) -> int:
        length = min(len(buffer), self._size_bytes - self._position)
        if length <= 0:
            return 0
        buffer[:length] = self._read_range(self._position, length)
        self._position += length
        return length


@cache
def refusals() -> tuple[type[Exception], ...]:
    """What the native client and the file system raise when they refuse or fail."""
    from obstore.exceptions import BaseError

    return BaseError, OSError


def explain(error: Exception) -> tuple[RejectClass, str]:
    """The class and a few words. 5xx and 429 count as THROTTLED; no connection, no answer in time or half an answer as TIMEOUT."""
    text = str(error)
    status = int(found[1]) if (found := re.search(r"status code: (\d{3})", text)) else 0
    code = found[1] if (found := re.search(r"<Code>(\w+)</Code>", text)) else ""
    detail = " ".join(filter(None, (str(status or ""), code)))
    number = getattr(error, "errno", None) or (int(found[1]) if (found := re.search(r"os error (\d+)", text)) and not status else 0)
    if status == 429 or status >= 500 or code in _THROTTLES:  # some stores throttle with a 403
        return RejectClass.THROTTLED, f"the store is overloaded or failing ({detail})"
    if code == "NoSuchBucket":
        return RejectClass.MISSING, "the bucket does not exist"
    if isinstance(error, FileNotFoundError) or status == 404 or (not status and number in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)):
        return RejectClass.MISSING, "the object does not exist"
    if code in _EXPIRED:
        return RejectClass.DENIED, f"the credentials are out of date ({detail})"
    if status == 408 or "kind: Timeout" in text or "TimedOut" in text:
        return RejectClass.TIMEOUT, "no answer in time"
    if status in (301, 307, 400) or "BareRedirect" in text:
        return RejectClass.DENIED, f"the store refuses the request ({detail or 'redirect'}): is AWS_REGION the bucket's region?"
    if status >= 400 or "Unauthenticated" in type(error).__name__ or number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return RejectClass.DENIED, f"access is denied ({detail or 'by the file system'})"
    if number and "Generic S3 error" not in text:
        return RejectClass.TIMEOUT, os.strerror(number)
    if "certificate" in text.lower():
        return RejectClass.TIMEOUT, "the server's certificate is not trusted (AWS_CA_BUNDLE names those that are)"
    if "Connect" in text or "dns error" in text:
        return RejectClass.TIMEOUT, "no connection"
    if "IncompleteBody" in text or "kind: Interrupted" in text:
        return RejectClass.TIMEOUT, "the answer broke off"
    return RejectClass.TIMEOUT, text.partition("\n")[0][:200]


def sentence(error: Exception, doing: str, reach: str) -> str:
    """What a person reads when `doing` ('write s3://b/k') failed; `reach` is the advice where there was no answer."""
    reject_class, detail = explain(error)
    advice = {
        RejectClass.MISSING: "create it, or correct the address",
        RejectClass.DENIED: "check the credentials and what they allow",
        RejectClass.THROTTLED: "try again later",
        RejectClass.TIMEOUT: reach,
    }[reject_class]
    return f"Cannot {doing}: {detail.replace('the object', 'it')}; {advice}."


def _endpoint() -> str | None:
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        if value := os.environ.get(name):
            if not re.fullmatch(r"https?://[^/@]+/?", value):
                raise UserError(f"{name} takes http://host:port or https://host:port, without a path or credentials.")
            return value.rstrip("/")
    return None


def _credential_chain() -> Any:
    """Profile, SSO, web identity, container or instance role, in boto3's order."""
    from botocore.exceptions import BotoCoreError
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        return Boto3CredentialProvider(ttl=timedelta(minutes=5))  # boto3 renews ten minutes before the end, so a copy must be short-lived
    except (BotoCoreError, ValueError) as error:
        raise UserError(
            "No AWS credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run where a role "
            "is attached; for a public bucket set AWS_SKIP_SIGNATURE=true."
        ) from error
