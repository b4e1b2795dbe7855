"""The run of this process as others see it: a port that Prometheus scrapes, a file for the node exporter, a push gateway, a heartbeat.

Whoever counts tells `WATCH`; where nobody watches it costs a few additions.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.client import HTTPException
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest, pushadd_to_gateway, start_http_server
from prometheus_client.core import Metric

from artquant.config.watch import WatchSpec
from artquant.progress import log
from artquant.progress.counts import StageCount
from artquant.progress.metrics import RunState, families, registry_of
from artquant.storage.requests import REQUESTS

PUSH_SECONDS = 5.0
PUSH_ERRORS = (OSError, ValueError, KeyError, HTTPException)


class RunWatch:
    """Keeps the state of the one run; any thread may tell and ask. `port`: where it is served, None where it is not."""

    def __init__(self, clock: Callable[[], float] = time.time):
        self._clock, self._lock = clock, threading.Lock()
        self.state = RunState()
        self.port: int | None = None

    def add(self, reject_classes: Iterable[str | None]) -> None:
        """Count finished artworks: the reject class of each, nothing where it is scored."""
        with self._lock:
            state, now = self.state, self._clock()
            for reject_class in reject_classes:
                if reject_class:
                    state.rejects[reject_class] += 1
                else:
                    state.num_scored += 1
            state.progress_at = now
            state.first_done_at = state.first_done_at or now

    def see(self, stages: Mapping[str, StageCount]) -> dict[str, StageCount]:
        """Keep what the workers have done so far, and return it."""
        with self._lock:
            self.state.stages = dict(stages)
            return self.state.stages

    def know(self, **facts: object) -> None:
        """Set fields of the state."""
        with self._lock:
            for name, value in facts.items():
                assert hasattr(self.state, name), name
                setattr(self.state, name, value)

    def collect(self) -> list[Metric]:
        with self._lock:
            self.state.requests.update(REQUESTS.drain())
            return list(families(self.state, self._clock()))

    @contextmanager
    def shown(self, spec: WatchSpec, say: Callable[[str], None]) -> Iterator[None]:
        """Show a fresh state for the block in every way that the spec names. A way that does not work is said once, and fails nothing."""
        now = self._clock()
        self.state = RunState(began_at=now, progress_at=now)
        registry, done = registry_of(self.collect), threading.Event()
        out = _Out(spec, registry, say)

        def renew() -> None:  # on a thread of its own: a gateway that hangs holds nobody up
            while not done.wait(spec.heartbeat_seconds):
                out.renew()
                state = self.state
                log.tell("heartbeat", num_done=state.num_done, num_planned=state.num_planned, num_rejected=state.rejects.total())

        with ExitStack() as stack:
            self.port = out.serve(stack)
            out.renew()
            thread = threading.Thread(target=renew, name="watch", daemon=True)
            thread.start()
            try:
                yield
            finally:
                done.set()
                thread.join(PUSH_SECONDS + 1)
                self.know(is_active=False)
                out.renew()
                self.port = None


class _Out:
    def __init__(self, spec: WatchSpec, registry: CollectorRegistry, say: Callable[[str], None]):
        self._spec, self._registry, self._say = spec, registry, say
        self._told: set[str] = set()

    def serve(self, stack: ExitStack) -> int | None:
        if self._spec.metrics_port is None:
            return None
        try:
            server, _ = start_http_server(self._spec.metrics_port, self._spec.metrics_host, self._registry)
        except OSError as error:
            self._trouble(f"The metrics cannot be served at {self._spec.metrics_host}:{self._spec.metrics_port}", error)
            return None
        stack.callback(server.server_close)
        stack.callback(server.shutdown)
        return server.server_port

    def renew(self) -> None:
        if self._spec.metrics_file:
            try:
                replace_file(Path(self._spec.metrics_file), generate_latest(self._registry))
            except OSError as error:
                self._trouble(f"The metrics file {self._spec.metrics_file} cannot be written", error)
        if self._spec.push_gateway:
            try:
                address = resolved_address(self._spec.push_gateway)
                pushadd_to_gateway(address, self._spec.job, self._registry, timeout=PUSH_SECONDS)
            except PUSH_ERRORS as error:
                self._trouble("The push gateway does not take the metrics", error)

    def _trouble(self, what: str, error: Exception) -> None:
        if what not in self._told:
            self._told.add(what)
            self._say(f"artquant: {what}, and the run goes on without: {cause(error)}.")


def replace_file(path: Path, data: bytes) -> None:
    """Write the whole file or nothing: whoever reads it meanwhile sees the old one."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")  # the collector reads *.prom only
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh.write_bytes(data)
    fresh.chmod(0o644)
    fresh.replace(path)


def resolved_address(address: str) -> str:
    """Return the address, from the environment where it is `$NAME`. Raises KeyError naming the variable that is not set."""
    if not address.startswith("$"):
        return address
    name = address[1:].strip("{}")
    if not os.environ.get(name):
        raise KeyError(f"{name} is not set")
    return os.environ[name]


def cause(error: Exception) -> str:
    """Return what went wrong in a few words; an address, which may hold a secret, is not among them."""
    reason = getattr(error, "reason", None)  # urllib's: an error of its own, or a word
    if isinstance(reason, Exception):
        return cause(reason)
    text = error.args[0] if isinstance(error, KeyError) else reason or getattr(error, "strerror", None)
    return " ".join(str(text or error).split())[:200].rstrip(".") or type(error).__name__


WATCH = RunWatch()  # of this process
