"""Objects by their whole address, wherever they are."""

from functools import cache
from urllib.parse import unquote, urlsplit

from artquant.core.addresses import is_object_store
from artquant.storage.store import Store, open_store


def locate(uri: str) -> tuple[Store, str]:
    """Return the store of an object and its key there: `s3://bucket/a/b.jpg` -> (the bucket, `a/b.jpg`); files are below the root.

    Raises UserError for an address of another kind.
    """
    if is_object_store(uri):
        kind, (bucket, _, key) = uri[:5], uri[5:].partition("/")
        return _store(f"{kind}{bucket}"), key
    path = unquote(urlsplit(uri).path) if uri.startswith("file:") else uri
    return _store("file:///" if path.startswith("/") else uri), path.lstrip("/")


@cache
def _store(uri: str) -> Store:
    return open_store(uri)
