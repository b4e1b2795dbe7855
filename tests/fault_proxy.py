"""A proxy before an S3 server that spoils some of the calls, by a seed: what networks and overloaded stores do.

It passes requests on byte for byte, so signatures stay true. Every connection is served by itself; a fault closes it.
"""

from __future__ import annotations

import asyncio
import random
import struct
import threading
from collections import Counter
from collections.abc import Callable
from socket import SO_LINGER, SOL_SOCKET
from types import TracebackType
from typing import Literal

Fault = Literal["503", "reset", "lost", "stall", "truncated"]
FAULTS: tuple[Fault, ...] = ("503", "reset", "lost", "stall", "truncated")
STALL_SECONDS = 4.0  # more than a client waits for a byte at its first try
_SLOW_DOWN = b"<Error><Code>SlowDown</Code></Error>"
_REFUSED = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n%s" % (
    len(_SLOW_DOWN),
    _SLOW_DOWN,
)


class FaultProxy:
    """Listens on `port` of loopback and passes on to `upstream`, which may move. A share `rate` of the calls meets a fault:

    503: refused, not carried out; reset: the connection breaks before; lost: it breaks after the request was carried out; stall: no byte
    for STALL_SECONDS, then a break; truncated: half of the answer. `on_write` is called with the number of each PUT, before it goes on.
    """

    def __init__(self, upstream: int, seed: int, rate: float = 0.2):
        self.upstream, self.rate, self.random = upstream, rate, random.Random(seed)
        self.met: Counter[str] = Counter()
        self.num_writes = 0
        self.on_write: Callable[[int], object] = lambda number: None
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="fault-proxy", daemon=True)

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _serve(self) -> None:
        async def listen() -> None:
            server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            self._ready.set()

        self._loop.run_until_complete(listen())
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._call(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):  # either side is gone: a client was killed, or the server is being restarted
            self.met["broken by others"] += 1
        except asyncio.CancelledError:  # the proxy ends
            pass
        finally:
            writer.close()

    def draw(self) -> Fault | None:
        """What happens to the next call."""
        return self.random.choice(FAULTS) if self.random.random() < self.rate else None

    async def _call(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Serve one request; False where the connection is to be closed."""
        head = await _head(reader)
        if not head:
            return False
        body = await reader.readexactly(_length(head))
        self.met["calls"] += 1
        fault = self.draw()
        if fault:
            self.met[fault] += 1
        if head.startswith(b"PUT "):
            self.num_writes += 1
            await asyncio.to_thread(self.on_write, self.num_writes)
        if fault == "503":
            writer.write(_REFUSED)
            await writer.drain()
            return True
        if fault == "reset":
            return _reset(writer)
        if fault == "stall" and self.random.random() < 0.5:  # half of the stalled requests are carried out
            await asyncio.sleep(STALL_SECONDS)
            return _reset(writer)
        answer = await self._answer(head, body)
        if fault == "stall":
            await asyncio.sleep(STALL_SECONDS)
        if fault in ("stall", "lost"):
            return _reset(writer)
        if fault == "truncated":
            writer.write(answer[: max(1, len(answer) * 2 // 3)])
            await writer.drain()
            return False
        writer.write(answer)
        await writer.drain()
        return True

    async def _answer(self, head: bytes, body: bytes) -> bytes:
        upstream, sender = await asyncio.open_connection("127.0.0.1", self.upstream)
        try:
            sender.write(head + body)
            await sender.drain()
            answer = await _head(upstream)
            while answer.startswith(b"HTTP/1.1 100"):
                answer = await _head(upstream)
            if not answer:
                raise ConnectionResetError("the server closed the connection")
            status = int(answer.split(b" ", 2)[1])
            if head.startswith(b"HEAD ") or status in (204, 304):
                return answer
            if b"transfer-encoding: chunked" in answer.lower():
                return answer + await _chunks(upstream)
            return answer + await upstream.readexactly(_length(answer))
        finally:
            sender.close()


async def _head(reader: asyncio.StreamReader) -> bytes:
    """Read a request's or an answer's first lines; empty where there is no further one."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return b""


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    read = b""
    while True:
        size = await reader.readline()
        data = await reader.readexactly(int(size, 16) + 2)
        read += size + data
        if len(data) == 2:
            return read


def _reset(writer: asyncio.StreamWriter) -> bool:
    """Break the connection as a network does: with RST, not with a farewell."""
    writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    return False
