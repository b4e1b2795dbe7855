"""Where the environment says that S3 is, and how a bucket is named there."""

from __future__ import annotations

import contextlib
import os
import re

from artquant.core.errors import UserError


def endpoint_of_environment() -> str | None:
    """Return the address of variables or of the AWS profile; None for Amazon's own. Raises UserError where it is none."""
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        if value := os.environ.get(name):
            return _checked(name, value)
    if os.environ.get("AWS_ACCESS_KEY_ID") or is_set("AWS_SKIP_SIGNATURE"):
        return None
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    with contextlib.suppress(BotoCoreError):  # a profile that does not exist is refused where its credentials are sought
        if value := Session().get_scoped_config().get("endpoint_url"):
            return _checked("endpoint_url of the AWS profile", value)
    return None


def _checked(name: str, value: str) -> str:
    if not re.fullmatch(r"https?://[^/@]+/?", value):
        raise UserError(f"{name} takes http://host:port or https://host:port, without a path or credentials.")
    return value.rstrip("/")


def is_bucket_in_host() -> bool:
    """Return whether the store is asked as bucket.host, and not as host/bucket."""
    return is_set("AWS_VIRTUAL_HOSTED_STYLE_REQUEST")


def bucket_address(endpoint: str, bucket: str) -> str:
    """Return the endpoint as clients of object_store take it: with the bucket, where that stands in the host."""
    return endpoint.replace("://", f"://{bucket}.", 1) if is_bucket_in_host() else endpoint


def is_set(name: str) -> bool:
    return os.environ.get(name, "").lower() in ("1", "true")
