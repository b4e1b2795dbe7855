"""Files below `/` as objects: written whole or not at all, listed in byte order, each odd entry a row of its own."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from artquant.storage.errors import Changed, readable_name

Listed = tuple[str, int, str]  # path, size in bytes, etag
_UNFINISHED = re.compile(r"\.artquant-[0-9a-f]{16}\.part")  # our own name for a file until it is complete


class Local:
    """The file system from `/` down."""

    connection_hint = "check the disk"
    server = "a file system"
    is_remote = False

    def get(self, path: str, attempt: int, timeout_seconds: float) -> tuple[bytes, str]:
        with open(f"/{path}", "rb") as file:
            data = file.read()
            return data, _etag(os.fstat(file.fileno()))

    def head(self, path: str, attempt: int) -> tuple[int, str]:
        status = os.stat(f"/{path}")
        if stat.S_ISDIR(status.st_mode):
            raise FileNotFoundError(2, "it is a folder", f"/{path}")
        return status.st_size, _etag(status)

    def modified_at(self, path: str, attempt: int) -> datetime:
        return datetime.fromtimestamp(os.stat(f"/{path}").st_mtime, UTC)

    def get_range(self, path: str, start: int, length: int, attempt: int) -> bytes:
        with open(f"/{path}", "rb") as file:
            file.seek(start)
            return file.read(length)

    def put(self, path: str, data: bytes | Path, attempt: int = 1) -> str:
        return _write(path, data, os.replace)

    def create(self, path: str, data: bytes, attempt: int) -> str:
        def link(unfinished: str, target: str) -> None:
            try:
                os.link(unfinished, target)  # unlike a rename, refuses where the target is
            except FileExistsError as error:
                raise Changed(path) from error
            os.unlink(unfinished)

        return _write(path, data, link)

    def replace(self, path: str, data: bytes, etag: str, attempt: int) -> str:
        try:
            folder = os.open(os.path.dirname(f"/{path}"), os.O_RDONLY)
            try:
                fcntl.flock(folder, fcntl.LOCK_EX)  # the folder itself, so that no lock file is left in it
                if _etag(os.stat(f"/{path}")) != etag:
                    raise Changed(path)
                return self.put(path, data)
            finally:
                os.close(folder)
        except FileNotFoundError as error:
            raise Changed(path) from error

    def delete(self, paths: Sequence[str], attempt: int = 1) -> None:
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"/{path}")

    def list(self, root: str) -> Iterator[Listed]:
        return _walk(f"/{root}", root, frozenset()) if os.path.isdir(f"/{root}") else iter(())

    def probe(self, root: str) -> bool:
        """Tell whether there is one file and no folder."""
        if os.path.isfile(f"/{root}"):
            return True
        os.scandir(f"/{root}").close()
        return False

    def probe_write(self, path: str) -> None:
        self.put(path, b"")
        self.delete([path])


def _etag(status: os.stat_result) -> str:
    return f"{status.st_ino:x}-{status.st_mtime_ns // 1000:x}-{status.st_size:x}"


def _write(path: str, data: bytes | Path, finish: Callable[[str, str], None]) -> str:
    """Write beside the target under a name of our own, then move; an unfinished file is removed. Returns the etag."""
    folder = os.path.dirname(f"/{path}")
    os.makedirs(folder, exist_ok=True)
    unfinished = f"{folder}/.artquant-{secrets.token_hex(8)}.part"
    try:
        with open(unfinished, "xb") as file:
            _fill(file, data)
            file.flush()
            etag = _etag(os.fstat(file.fileno()))
        finish(unfinished, f"/{path}")
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(unfinished)
        raise
    return etag


def _fill(file: BinaryIO, data: bytes | Path) -> None:
    if isinstance(data, Path):
        with open(data, "rb") as source:
            shutil.copyfileobj(source, file, 1 << 20)
    else:
        file.write(data)


def _walk(folder: str, path: str, above: frozenset[tuple[int, int]]) -> Iterator[Listed]:
    """List files below `folder` in byte order of their paths, through links to folders but not in circles.

    What cannot be listed is one row under its own path: reading it will say why. Only the root itself raises OSError.
    """
    try:
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in above:
            return
        with os.scandir(folder) as entries:
            names = sorted((os.fsencode(entry.name) + (b"/" if _is_folder(entry) else b""), entry.name) for entry in entries)
    except OSError:
        if not above:
            raise
        yield path, 0, ""
        return
    above |= {(status.st_dev, status.st_ino)}
    for sort_key, name in names:
        below = f"{path}/{readable_name(name)}".lstrip("/")
        if sort_key.endswith(b"/"):
            yield from _walk(f"{folder}/{name}", below, above)
        elif not _UNFINISHED.fullmatch(name):
            try:
                status = os.stat(f"{folder}/{name}")
            except OSError:  # a link that leads nowhere, a folder that is locked
                yield below, 0, ""
                continue
            if stat.S_ISREG(status.st_mode):
                yield below, status.st_size, _etag(status)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself or through a file
        return False
