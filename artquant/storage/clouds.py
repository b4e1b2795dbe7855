"""Containers of Azure Blob Storage and buckets of Google Cloud Storage, with what their environment variables say."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from artquant.core.errors import UserError
from artquant.storage.clients import CONTROL_SECONDS, Remote, etag_of
from artquant.storage.errors import NO_BUCKET, Changed, classify
from artquant.storage.local import Listed

_AZURE = "AZURE_STORAGE_ACCOUNT_NAME, and AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_KEY or a managed identity"
_GOOGLE = "GOOGLE_APPLICATION_CREDENTIALS, or run where a service account is attached"


class Cloud(Remote):
    """See :class:`Remote`. In what order they list, and whether they begin behind a key, is not known of all their kinds (Azure's accounts
    with folders, its emulator): each listing is taken whole, in whatever order, and is not gone on with where it breaks off."""

    def delete(self, paths: Sequence[str], attempt: int) -> None:
        try:
            super().delete(paths, attempt)
        except FileNotFoundError as error:  # unlike S3 for a key that is gone; the rest may be there still
            if classify(error)[1] == NO_BUCKET:
                raise
            for path in paths:
                with suppress(FileNotFoundError):
                    super().delete([path], attempt)

    def _list_odd(self, root: str, after: str) -> Iterator[Listed]:
        raise UserError(
            f"{self.server} lists a key behind {after or root!r} that has an empty part, '.' or '..', or a control character: rename it."
        )


class Azure(Cloud):
    def __init__(self, bucket: str):
        self.server = os.environ.get("AZURE_STORAGE_ENDPOINT") or "Azure Blob Storage"
        super().__init__(bucket)

    def _connect(self, client: dict[str, Any], retries: Any) -> Any:
        from obstore.exceptions import BaseError
        from obstore.store import AzureStore

        client = client | {"allow_http": self.server.startswith("http://")}
        try:
            return AzureStore(self.bucket, client_options=client, retry_config=retries)  # type: ignore[arg-type]
        except (BaseError, ValueError) as error:
            raise UserError(f"The settings for az:// are not complete ({_first_line(error)}): set {_AZURE}.") from error


class Google(Cloud):
    def __init__(self, bucket: str):
        self.server = "Google Cloud Storage"
        super().__init__(bucket)

    def _connect(self, client: dict[str, Any], retries: Any) -> Any:
        from obstore.exceptions import BaseError
        from obstore.store import GCSStore

        try:
            return GCSStore(self.bucket, client_options=client, retry_config=retries)  # type: ignore[arg-type]
        except (BaseError, OSError, ValueError) as error:
            raise UserError(f"The settings for gs:// are not complete ({_first_line(error)}): set {_GOOGLE}.") from error

    def replace(self, path: str, data: bytes, etag: str, attempt: int) -> str:
        """Replace the version `etag`: the condition is its generation's, which Google compares in place of the etag."""
        client = self._client(CONTROL_SECONDS)
        try:
            found = client.head(path)
        except FileNotFoundError as error:
            raise Changed(path) from error
        if etag_of(found) != etag:
            raise Changed(path)
        mode: Any = {"e_tag": found["e_tag"], "version": found["version"]}
        return etag_of(client.put(path, data, mode=mode, use_multipart=False))


def _first_line(error: Exception) -> str:
    return " ".join(str(error).partition("\n")[0].split())[:200].rstrip(".")
