"""Addresses of buckets: whose they are, what a name may be, and which keys can be addressed in them."""

from __future__ import annotations

import re

from artquant.core.errors import UserError
from artquant.storage.clients import Remote
from artquant.storage.clouds import Azure, Google
from artquant.storage.s3 import S3

TAKES = "a store is s3://bucket[/prefix], az://container[/prefix], gs://bucket[/prefix], file:///folder, file:folder or a path"
ODD_KEY = "has an empty part, '.' or '..', or a control character"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BUCKETS = {  # scheme -> its clients, what a bucket's name is, and what holds credentials in place of the address
    "s3://": (
        S3,
        r"(?!\d+\.\d+\.\d+\.\d+$)(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]",
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    ),
    "az://": (Azure, r"(?!.*--)[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY"),
    "gs://": (Google, r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]", "GOOGLE_APPLICATION_CREDENTIALS"),
}


def bucket_at(uri: str) -> tuple[str, str, Remote]:
    """Return the address without a last slash, the prefix in it, and the clients of its bucket. Raises UserError."""
    clients, name, credentials = _BUCKETS[kind := uri[:5]]
    bucket, _, prefix = uri[len(kind) :].removesuffix("/").partition("/")
    if "@" in bucket:
        raise UserError(f"An {kind} address must not hold credentials: set {credentials}.")
    if not re.fullmatch(name, bucket):
        raise UserError(f"{uri!r} has no valid bucket name (3 to 63 lower-case letters, digits, dots and hyphens): {TAKES}.")
    if prefix and not is_addressable(prefix):
        raise UserError(f"The prefix of {uri!r} {ODD_KEY}: correct it.")
    return f"{kind}{bucket}/{prefix}".rstrip("/"), prefix, clients(bucket)


def is_addressable(key: str) -> bool:
    return not _CONTROL.search(key) and all(part not in ("", ".", "..") for part in key.split("/"))
