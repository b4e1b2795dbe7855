"""Where a checkpoint lies: a folder, an `s3://` prefix (brought to a local cache first), or a hub name."""

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Self

from artquant.core.addresses import is_object_store

# Below a checkpoint's folder; `artquant.engines.golden` and `artquant.engines.domain` say what is in them.
GOLDEN = "golden/pictures.safetensors"
DOMAIN = "golden/domain.safetensors"


def cache_directory() -> Path:
    return Path(os.environ.get("ARTQUANT_CACHE", Path.home() / ".cache" / "artquant"))


def local_folder(location: str | os.PathLike[str]) -> str:
    """Return the local folder of a checkpoint; anything but an `s3://` or `file:` location is returned as it is.

    An S3 prefix is downloaded once for each state of its objects (names and etags) and shared by all processes of the machine. Raises
    FileNotFoundError if the prefix holds nothing, OSError if it cannot be read completely.
    """
    location = os.fspath(location)
    if location.startswith("file:"):
        return location.removeprefix("file:").removeprefix("//")
    if not is_object_store(location):
        return location
    from artquant.storage.store import FetchError, open_store

    store = open_store(location)
    objects = sorted(store.list(), key=lambda info: info.key)
    if not objects:
        raise FileNotFoundError(f"no objects below {location}")
    state = "\n".join([location, *(f"{info.key} {info.etag}" for info in objects)])
    folder = cache_directory() / "models" / hashlib.sha256(state.encode()).hexdigest()[:20]
    if folder.is_dir():
        return str(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder.parent))
    try:
        for info in objects:
            target = partial / info.key
            target.parent.mkdir(parents=True, exist_ok=True)
            with store.open_input(info.key) as source, target.open("wb") as file:
                shutil.copyfileobj(source, file, 16 << 20)
        if sorted(store.list(), key=lambda info: info.key) != objects:
            raise OSError(f"{location} changed while it was read: try again once it is written")
        os.replace(partial, folder)
    except FetchError as error:
        raise OSError(f"{location} cannot be read: {error.message}") from error
    except OSError:
        if not folder.is_dir():  # another process downloaded the same state first
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return str(folder)


def is_adapter(folder: str | os.PathLike[str]) -> bool:
    return (Path(folder) / "adapter_config.json").is_file()


def base_of(folder: str | os.PathLike[str]) -> str:
    """Return the base checkpoint that an adapter names. Raises ValueError if it names none."""
    base = json.loads((Path(folder) / "adapter_config.json").read_text()).get("base_model_name_or_path")
    if not base:
        raise ValueError(f"the adapter in {folder} names no base checkpoint: give one with base=")
    return str(base)


class FromAnywhere:
    """Lets a transformers class load from every location that :func:`local_folder` knows."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], *args: Any, **kwargs: Any) -> Self:
        return super().from_pretrained(  # type: ignore[misc, no-any-return]
            local_folder(pretrained_model_name_or_path), *args, **kwargs
        )
