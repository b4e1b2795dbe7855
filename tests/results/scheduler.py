"""A store in memory whose requests a seeded scheduler releases one by one, so that every interleaving and every fault can be replayed.

Each command is a thread of which one runs at a time. At a request the scheduler may end its process before or after it, lose the answer of
one that was carried out, answer 503 or 409 to one that was not, break an answer off, or let the others go first for as long as it likes.
"""

from __future__ import annotations

import hashlib
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from artquant.results.snapshots import Snapshot
from artquant.storage.errors import Changed
from artquant.storage.local import Listed
from artquant.storage.store import Store


class Killed(BaseException):
    """The process ends here, whatever it was about to do."""


class Command:
    """One command: a thread that stands at its next request until it is let go."""

    def __init__(self, name: str, action: Callable[[], object]):
        self.name, self.action = name, action
        self.outcome: object = None
        self.error: BaseException | None = None
        self.verdict = "go"
        self.pending = ""  # its next request: what, and where
        self.is_done = False
        self.may_go, self.stands = threading.Semaphore(0), threading.Semaphore(0)
        self.thread = threading.Thread(target=self._run, daemon=True, name=name)

    def _run(self) -> None:
        CURRENT.command = self
        self.may_go.acquire()
        try:
            self.outcome = self.action()
        except BaseException as error:  # noqa: B036  # Killed is none of Exception's
            self.error = error
        self.is_done = True
        self.stands.release()

    def request(self, what: str) -> str:
        self.pending = what
        self.stands.release()
        self.may_go.acquire()
        return self.verdict

    def step(self) -> None:
        """Carry its next request out, and stop at the one after it."""
        self.may_go.release()
        self.stands.acquire()

    def sleep_before(self, *what: str) -> None:
        """Start it, and let it fall asleep before the first request that begins with one of these."""
        self.thread.start()
        while not self.is_done and not self.pending.startswith(what):
            self.step()
        assert not self.is_done, f"{self.name} ended without {what}: {self.error}"

    def wake(self) -> None:
        """Let it go on to its end."""
        while not self.is_done:
            self.step()


class _Current(threading.local):
    command: Command | None = None


CURRENT = _Current()


class Memory:
    """A backend of :class:`artquant.storage.store.Store`."""

    is_remote = False
    connection_hint = "check the scheduler"
    server = "memory"

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.times: dict[str, datetime] = {}
        self.now = datetime(2026, 11, 27, tzinfo=UTC)
        self.met: Counter[str] = Counter()

    def _turn(self, what: str, path: str, act: Callable[[], object]) -> object:
        command = CURRENT.command
        if command is None:
            return act()
        verdict = command.request(f"{what} {path}")
        self.now += timedelta(seconds=1)
        if verdict == "kill before":
            raise Killed
        if verdict == "503":
            raise OSError("status code: 503 <Code>SlowDown</Code>")
        if verdict == "409" and what == "create":
            raise OSError("status code: 409 <Code>ConditionalRequestConflict</Code>")
        answer = act()
        if verdict == "kill after":
            raise Killed
        if verdict == "truncated" and what == "get":
            raise OSError("IncompleteBody")
        if verdict == "lost" and what in ("put", "create", "delete"):
            raise OSError("the connection broke before the answer came")
        return answer

    def _write(self, path: str, data: bytes | Path) -> str:
        self.objects[path] = data.read_bytes() if isinstance(data, Path) else bytes(data)
        self.times[path] = self.now
        return etag(self.objects[path])

    def get(self, path: str, attempt: int, timeout_seconds: float) -> tuple[bytes, str]:
        return self._turn("get", path, lambda: (self._there(path), etag(self._there(path))))  # type: ignore[return-value]

    def head(self, path: str, attempt: int) -> tuple[int, str]:
        return self._turn("head", path, lambda: (len(self._there(path)), etag(self._there(path))))  # type: ignore[return-value]

    def modified_at(self, path: str, attempt: int) -> datetime:
        return self._turn("head", path, lambda: self._there(path) and self.times[path] or self.times[path])  # type: ignore[return-value]

    def get_range(self, path: str, start: int, length: int, attempt: int) -> bytes:
        return self._there(path)[start : start + length]  # within an object that a head has just found

    def put(self, path: str, data: bytes | Path, attempt: int = 1) -> str:
        return self._turn("put", path, lambda: self._write(path, data))  # type: ignore[return-value]

    def create(self, path: str, data: bytes, attempt: int) -> str:
        def act() -> str:
            if path in self.objects:
                self._count_conflict(path, data)
                raise Changed(path)
            return self._write(path, data)

        return self._turn("create", path, act)  # type: ignore[return-value]

    def delete(self, paths: Sequence[str], attempt: int = 1) -> None:
        self._turn("delete", paths[0], lambda: [self.objects.pop(path, None) for path in paths])

    def list(self, root: str) -> Iterator[Listed]:
        def act() -> list[Listed]:
            beginning = f"{root}/" if root else ""
            return [(path, len(data), etag(data)) for path, data in sorted(self.objects.items()) if path.startswith(beginning)]

        return iter(self._turn("list", root, act))  # type: ignore[call-overload, no-any-return]

    def _count_conflict(self, path: str, data: bytes) -> None:
        if "/snapshots/" in path:
            ours = Snapshot.from_json(self.objects[path]).write_id == Snapshot.from_json(data).write_id
            self.met["conflict, ours" if ours else "conflict, other's"] += 1
        elif "/scores/" in path:
            self.met["name in the view taken"] += 1
        elif "/shards/" in path:
            self.met["shard recorded by another"] += 1

    def _there(self, path: str) -> bytes:
        if path not in self.objects:
            raise FileNotFoundError(2, "No such file", path)
        return self.objects[path]


def etag(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def memory_store(backend: Memory, prefix: str = "root") -> Store:
    return Store(f"memory://{prefix}", prefix, backend)  # type: ignore[arg-type]


class Scheduler:
    """Runs commands to their ends, one request at a time, with faults drawn from `faults` (verdict -> how many at most)."""

    def __init__(self, seed: int, faults: Counter[str], after_each: Callable[[], None]):
        self.random, self.faults, self.after_each = random.Random(seed), faults, after_each
        self.met: Counter[str] = Counter()
        self.restlessness = self.random.choice((0.02, 0.1, 0.3))

    def run(self, commands: Sequence[Command], max_requests: int = 5_000) -> None:
        for command in commands:
            command.thread.start()
        live = list(commands)
        favourite: Command | None = None
        for _ in range(max_requests):
            live = [command for command in live if not command.is_done]
            if not live:
                return
            # Mostly the same goes on: a process that sleeps over another's whole commit is where things go wrong.
            if favourite not in live or self.random.random() < self.restlessness:
                favourite = self.random.choice(live)
            favourite.verdict = self._verdict(favourite)
            favourite.step()
            self.after_each()
        raise AssertionError(f"{[command.name for command in live]} did not end within {max_requests} requests")

    def _verdict(self, command: Command) -> str:
        # Faults gather where they hurt: at the commit, and at the look after a failure.
        is_delicate = command.pending.startswith("create root/_artquant/snapshots") or command.verdict in ("lost", "409")
        if +self.faults and self.random.random() < (0.4 if is_delicate else 0.03):
            verdict = self.random.choice(sorted((+self.faults).elements()))
            self.faults[verdict] -= 1
            self.met[verdict] += 1
            return verdict
        return "go"
