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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from exporter.receivers.proxy.listener import allow_open_files
from exporter.sidecar.guard import PROBES
from exporter.sidecar.messages import AdminAddress, Report
from exporter.sidecar.server import address_of, listening

log = logging.getLogger(__name__)

_SWEEP_SECONDS = 0.5
_CHUNK_BYTES = 64 * 1024
_SPARE_FILES = 512
_PHRASES = {200: "OK", 431: "Request Header Fields Too Large", 503: "Service Unavailable"}


@dataclass(frozen=True, slots=True)
class AdminLimits:
    """What the admin listener allows strangers. Times are in seconds.

    Parameters
    ----------
    waiting
        Connections that have not said yet what they want; one more closes the oldest of them.
    forwarded
        Connections to the analyzer; one more closes the one that has been quiet for longest.
    head_bytes, head_seconds
        Of the head of a connection's first request.
    idle_seconds
        A connection to the analyzer on which no byte moves for so long is closed.
    """

    waiting: int = 64
    forwarded: int = 128
    head_bytes: int = 64 * 1024
    head_seconds: float = 5.0
    idle_seconds: float = 60.0


class AdminListener:
    """Listens on ``admin.listen``. All methods belong to the event loop.

    Parameters
    ----------
    listen
        ``HOST:PORT`` or ``unix:/path``.
    report
        How the data plane stands.
    analyzer
        Where the analyzer serves the admin application; None while there is none.
    limits
        Bounds.
    """

    def __init__(
        self,
        listen: str,
        report: Callable[[], Report],
        analyzer: Callable[[], AdminAddress | None],
        limits: AdminLimits | None = None,
    ) -> None:
        self._listen = listen
        self._report = report
        self._analyzer = analyzer
        self._limits = limits or AdminLimits()
        # When each of them was last heard of.
        self._waiting: dict[asyncio.StreamWriter, float] = {}
        self._forwarded: dict[asyncio.StreamWriter, float] = {}
        self._server: asyncio.Server | None = None
        self._sweeping: asyncio.Task[None] | None = None
        self.address = listen

    async def start(self) -> None:
        """Listen and serve.

        Raises
        ------
        ConfigError
            The address cannot be listened on.
        """
        listener = listening(self._listen, "admin.listen")
        self.address = address_of(listener)
        allow_open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[0] + _SPARE_FILES)
        size = self._limits.head_bytes
        if listener.family == socket.AF_UNIX:
            self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=size)
        else:
            self._server = await asyncio.start_server(self._serve, sock=listener, limit=size)
        self._sweeping = asyncio.get_running_loop().create_task(self._sweep())

    def stop(self) -> None:
        """Close everything."""
        if self._server is None or self._sweeping is None:
            return
        self._sweeping.cancel()
        self._server.close()
        for writer in (*self._waiting, *self._forwarded):
            writer.transport.abort()
        if self._listen.startswith("unix:"):
            Path(self._listen.removeprefix("unix:")).unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await self._head(reader, writer)
            if head is not None:
                await self._answer(head, reader, writer)
        except (OSError, EOFError):  # the client is gone
            pass
        except Exception:
            log.exception("a request at the admin listener failed")
        finally:
            writer.close()

    async def _head(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes | None:
        """The head of the first request, once it is complete."""
        if len(self._waiting) >= self._limits.waiting:
            _close_quietest(self._waiting)
        self._waiting[writer] = self._now()
        try:
            return await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            writer.write(_response(431, f"the head is longer than {self._limits.head_bytes} bytes"))
            return None
        finally:
            self._waiting.pop(writer, None)

    async def _answer(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0].decode("latin-1")
        if path in PROBES and method in (b"GET", b"HEAD"):
            able, why = (True, "healthy") if path == PROBES[0] else self._report().readiness()
            writer.write(_response(200 if able else 503, why, with_body=method == b"GET"))
            return
        analyzer = self._analyzer()
        if analyzer is None or not await self._forward(head, analyzer, reader, writer):
            writer.write(
                _response(
                    503, "the process that answers this is being started again; requests are served meanwhile"
                )
            )

    async def _forward(
        self,
        head: bytes,
        analyzer: AdminAddress,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """Forward everything both ways; whether the analyzer said anything."""
        if len(self._forwarded) >= self._limits.forwarded:
            _close_quietest(self._forwarded)
        self._forwarded[writer] = self._now()
        answered = False
        upward: asyncio.Task[None] | None = None
        try:
            from_analyzer, to_analyzer = await _connect(analyzer)
            try:
                to_analyzer.write(head)
                upward = asyncio.get_running_loop().create_task(self._upward(reader, to_analyzer, writer))
                while data := await from_analyzer.read(_CHUNK_BYTES):
                    answered = True
                    self._heard_of(writer)
                    writer.write(data)
                    await writer.drain()
            finally:
                if upward is not None:
                    upward.cancel()
                to_analyzer.close()
        except OSError:  # either end is gone
            pass
        finally:
            self._forwarded.pop(writer, None)
        return answered

    async def _upward(
        self, reader: asyncio.StreamReader, to_analyzer: asyncio.StreamWriter, client: asyncio.StreamWriter
    ) -> None:
        """Forward what the client sends, until it ends; then the analyzer ends the connection."""
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK_BYTES):
                self._heard_of(client)
                to_analyzer.write(data)
                await to_analyzer.drain()
            to_analyzer.write_eof()

    def _heard_of(self, writer: asyncio.StreamWriter) -> None:
        if writer in self._forwarded:
            self._forwarded[writer] = self._now()

    async def _sweep(self) -> None:
        limits = self._limits
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = self._now()
            for connections, seconds in (
                (self._waiting, limits.head_seconds),
                (self._forwarded, limits.idle_seconds),
            ):
                for writer in [writer for writer, at in connections.items() if now - at > seconds]:
                    writer.transport.abort()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _close_quietest(connections: dict[asyncio.StreamWriter, float]) -> None:
    """Close the one that was last heard of before all others."""
    writer = min(connections, key=connections.__getitem__)
    del connections[writer]
    writer.transport.abort()


async def _connect(address: AdminAddress) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    family = socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        # On one host this is done at once, or, where too many wait already, not at all.
        sock.connect(address)
        if family == socket.AF_UNIX:
            return await asyncio.open_unix_connection(sock=sock)
        return await asyncio.open_connection(sock=sock)
    except OSError:
        sock.close()
        raise


def _response(status: int, text: str, *, with_body: bool = True) -> bytes:
    body = f"{text}\n".encode()
    head = (
        f"HTTP/1.1 {status} {_PHRASES[status]}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (body if with_body else b"")
