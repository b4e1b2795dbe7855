"""Buckets of Amazon S3, and of every store that speaks its language."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from artquant.core.errors import UserError
from artquant.storage.budget import BUDGET
from artquant.storage.clients import CONTROL_SECONDS, Remote
from artquant.storage.endpoint import bucket_address, endpoint_of_environment, is_bucket_in_host, is_set
from artquant.storage.local import Listed
from artquant.storage.requests import OK, REQUESTS


class S3(Remote):
    """See :class:`Remote`."""

    def __init__(self, bucket: str):
        self.endpoint = endpoint_of_environment()
        self.server = self.endpoint or "Amazon S3"
        if self.endpoint:
            self.connection_hint = f"check AWS_ENDPOINT_URL ({self.endpoint}) and that the server runs"
        # S3 lists by the bytes of the keys, but for its directory buckets; of a server elsewhere that is not known.
        self.is_byte_ordered = (not self.endpoint or ".amazonaws." in self.endpoint) and not bucket.endswith("--x-s3")
        super().__init__(bucket)

    def _connect(self, client: dict[str, Any], retries: Any) -> Any:
        from obstore.store import S3Store

        config: dict[str, Any] = {"region": "us-east-1"}
        if self.endpoint:
            config |= {"endpoint": bucket_address(self.endpoint, self.bucket), "virtual_hosted_style_request": is_bucket_in_host()}
            client = client | {"allow_http": self.endpoint.startswith("http://")}
        provider = None
        if not os.environ.get("AWS_ACCESS_KEY_ID") and not is_set("AWS_SKIP_SIGNATURE"):
            provider = _credential_chain()
            config |= provider.config  # the profile's region
        if region := os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"):
            config["region"] = region
        return S3Store(self.bucket, config=config, client_options=client, retry_config=retries, credential_provider=provider)  # type: ignore[arg-type]

    def _list_odd(self, root: str, after: str) -> Iterator[Listed]:
        """Continue after `after` with boto3, ten times slower: the native client ends a listing at a key like `a//b`."""
        import boto3
        from botocore import UNSIGNED
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        signing = Config(signature_version=UNSIGNED) if is_set("AWS_SKIP_SIGNATURE") else None
        client = boto3.client(
            "s3", endpoint_url=self.endpoint, region_name=self._client(CONTROL_SECONDS).config.get("region"), config=signing
        )
        payer = {"RequestPayer": "requester"} if is_set("AWS_REQUEST_PAYER") else {}
        prefix = f"{root}/" if root else ""
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix, StartAfter=after, **payer)
        try:
            for page in pages:
                BUDGET.take()
                REQUESTS.add("list", OK)
                for entry in page.get("Contents", ()):
                    if entry["Size"] or not entry["Key"].endswith("/"):
                        yield entry["Key"], entry["Size"], entry["ETag"].strip('"')
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            raise OSError(f"status code: {status} <Code>{error.response.get('Error', {}).get('Code', '')}</Code>") from error
        except BotoCoreError as error:
            raise OSError(errno.EIO, str(error)) from error


def _credential_chain() -> Any:
    """Return the credentials of profile, SSO, web identity, container or instance role, in boto3's order."""
    from botocore.exceptions import BotoCoreError
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        return Boto3CredentialProvider(ttl=timedelta(minutes=5))  # boto3 renews ten minutes before the end, so a copy must be short-lived
    except (BotoCoreError, ValueError) as error:
        raise UserError(
            "No AWS credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run where a role "
            "is attached; for a public bucket set AWS_SKIP_SIGNATURE=true."
        ) from error
