"""The admin listener, in the data plane's process: it answers probes, and forwards all else to the analyzer.

So a probe tells of the data plane, however the analyzer fares, and what strangers may hold open is bounded
before it gets there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import socket
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path

from exporter.receivers.proxy.listener import allow_open_files
from exporter.sidecar.messages import PROBES, AdminAddress, Report
from exporter.sidecar.server import address_of, listening

log = logging.getLogger(__name__)

MAX_WAITING = 64
"""Connections that have not said yet what they want; one more closes the oldest of them."""
MAX_FORWARDED = 128
"""Connections to the analyzer; one more closes the one that has been quiet for longest."""
# Of the head of a connection's first request.
HEAD_BYTES, HEAD_SECONDS = 64 * 1024, 5.0
# A connection to the analyzer on which no byte moves for so long is closed.
IDLE_SECONDS = 60.0

_SWEEP_SECONDS = 0.5
_CHUNK_BYTES = 64 * 1024
_SPARE_FILES = 512


class AdminListener:
    """Listens on ``listen``: ``HOST:PORT`` or ``unix:/path``. All methods belong to the event loop.

    ``report`` gives how the data plane stands, ``analyzer`` where the analyzer serves the admin application;
    None while there is none.
    """

    def __init__(
        self, listen: str, report: Callable[[], Report], analyzer: Callable[[], AdminAddress | None]
    ) -> None:
        self.address = self._listen = listen
        self._report = report
        self._analyzer = analyzer
        self._waiting = _Clients(MAX_WAITING, HEAD_SECONDS)
        self._forwarded = _Clients(MAX_FORWARDED, IDLE_SECONDS)
        self._server: asyncio.Server | None = None
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen and serve; a ConfigError says that the address cannot be listened on."""
        listener = listening(self._listen, "admin.listen")
        self.address = address_of(listener)
        allow_open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[0] + _SPARE_FILES)
        serve = asyncio.start_unix_server if listener.family == socket.AF_UNIX else asyncio.start_server
        self._server = await serve(self._serve, sock=listener, limit=HEAD_BYTES)
        self._sweeping = asyncio.get_running_loop().create_task(self._sweep())

    def stop(self) -> None:
        """Close everything."""
        if self._server is None or self._sweeping is None:
            return
        self._sweeping.cancel()
        self._server.close()
        for clients in (self._waiting, self._forwarded):
            clients.close_quiet(0.0)
        if self._listen.startswith("unix:"):
            Path(self._listen.removeprefix("unix:")).unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with self._waiting.holding(writer):
                head = await reader.readuntil(b"\r\n\r\n")
            await self._respond(head, reader, writer)
        except asyncio.LimitOverrunError:
            writer.write(_response(431, f"the head is longer than {HEAD_BYTES} bytes"))
        except (OSError, EOFError):  # the client is gone
            pass
        except Exception:
            log.exception("a request at the admin listener failed")
        finally:
            writer.close()

    async def _respond(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0].decode("latin-1")
        if path in PROBES and method in (b"GET", b"HEAD"):
            able, why = (True, "healthy") if path == PROBES[0] else self._report().readiness()
            writer.write(_response(200 if able else 503, why, with_body=method == b"GET"))
            return
        with self._forwarded.holding(writer):
            responded = await self._forward(head, reader, writer)
        if not responded:
            text = "the process that answers this is being started again; requests are served meanwhile"
            writer.write(_response(503, text))

    async def _forward(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Forward everything both ways; whether the analyzer said anything."""
        try:
            from_analyzer, to_analyzer = await _connect(self._analyzer())
        except OSError:
            return False
        to_analyzer.write(head)
        upward = asyncio.get_running_loop().create_task(self._copy(reader, to_analyzer, writer))
        try:
            return await self._copy(from_analyzer, writer, writer)
        finally:
            upward.cancel()
            to_analyzer.close()

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, client: asyncio.StreamWriter
    ) -> bool:
        """Forward what comes until it ends, and say that it did to the analyzer; whether anything came."""
        came = False
        with contextlib.suppress(OSError):  # either end is gone
            while data := await reader.read(_CHUNK_BYTES):
                came = True
                self._forwarded.heard_of(client)
                writer.write(data)
                await writer.drain()
            if writer is not client:
                writer.write_eof()
        return came

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            for clients in (self._waiting, self._forwarded):
                clients.close_quiet(clients.seconds)


class _Clients:
    """Connections of clients: ``limit`` at the most, each for so many seconds after it was last heard of."""

    def __init__(self, limit: int, seconds: float) -> None:
        self.seconds = seconds
        self._limit = limit
        self.heard_at: dict[asyncio.StreamWriter, float] = {}

    @contextlib.contextmanager
    def holding(self, writer: asyncio.StreamWriter) -> Iterator[None]:
        """Count one in while the body runs, instead of the one that has been quiet for longest if need be."""
        if len(self.heard_at) >= self._limit:
            self._close(min(self.heard_at, key=self.heard_at.__getitem__))
        self.heard_at[writer] = time.monotonic()
        try:
            yield
        finally:
            self.heard_at.pop(writer, None)

    def heard_of(self, writer: asyncio.StreamWriter) -> None:
        """A byte moved, unless it was closed meanwhile."""
        if writer in self.heard_at:
            self.heard_at[writer] = time.monotonic()

    def close_quiet(self, seconds: float) -> None:
        """Close those that were last heard of so long ago."""
        for writer in [writer for writer, at in self.heard_at.items() if time.monotonic() - at >= seconds]:
            self._close(writer)

    def _close(self, writer: asyncio.StreamWriter) -> None:
        del self.heard_at[writer]
        writer.transport.abort()


async def _connect(address: AdminAddress | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if address is None:
        raise ConnectionRefusedError("there is no analyzer")
    if isinstance(address, tuple):
        return await asyncio.open_connection(*address)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        # This is done at once, or, where too many wait already, not at all.
        sock.connect(address)
        return await asyncio.open_unix_connection(sock=sock)
    except OSError:
        sock.close()
        raise


def _response(status: int, text: str, *, with_body: bool = True) -> bytes:
    body = f"{text}\n".encode()
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (body if with_body else b"")
