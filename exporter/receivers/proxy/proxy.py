"""The sidecar's data plane: it forwards bytes as they come and decides nothing from their content.

One upstream connection for each client connection, opened when the client connects. What a client
sends reaches the upstream unchanged and the other way round, so everything that works without the
proxy works with it; there is nothing to smuggle, since connections are never shared.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from pathlib import Path

from exporter.receivers.proxy.address import Address
from exporter.receivers.proxy.limits import ProxyLimits
from exporter.receivers.proxy.listener import connections_allowed, listening_socket
from exporter.receivers.proxy.pair import Pair
from exporter.receivers.proxy.stats import ProxyStats
from exporter.receivers.proxy.tap import Tap
from exporter.receivers.proxy.upstream import REASONS, connect, failure_reason

logger = logging.getLogger(__name__)

_ACCEPTS_AT_A_TIME = 64
_FULL_PAUSE_SECONDS = 0.1
_DRAIN_STEP_SECONDS = 0.01


class Proxy:
    """Forwards connections from ``listen`` (port 0 takes a free one, see :attr:`address`) to ``upstream``.

    ``tap``, if there is one, sees a copy of the bytes after they were forwarded; ``stats`` counts. All
    methods belong to the event loop that :meth:`start` ran on.
    """

    def __init__(
        self, upstream: Address, listen: Address, *, tap: Tap | None = None, limits: ProxyLimits | None = None
    ) -> None:
        self.upstream = upstream
        self.listen = listen
        self.tap = tap
        self.limits = limits or ProxyLimits()
        self.stats = ProxyStats()
        self.loop: asyncio.AbstractEventLoop
        self._max_connections = self.limits.max_connections
        self._pairs: set[Pair] = set()
        self._socket: socket.socket | None = None
        self._accepting = False
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def address(self) -> Address:
        """Where it listens, with the port that was taken."""
        if self._socket is None or self.listen.path:
            return self.listen
        name = self._socket.getsockname()
        return Address(host=name[0], port=name[1])

    async def start(self) -> None:
        """Listen and serve; OSError if the address to listen on is in use, not ours or not allowed.

        An upstream that is not there is no error: clients get a 502 meanwhile.
        """
        self.loop = asyncio.get_running_loop()
        self._socket = listening_socket(self.listen)
        self._max_connections = connections_allowed(self.limits.max_connections)
        self._resume_accepting()
        self._tasks = [self.loop.create_task(self._sweep())]
        if self.limits.probe_seconds > 0:
            self._tasks.append(self.loop.create_task(self._probe_forever()))

    async def drain(self, grace_seconds: float) -> None:
        """Stop listening, let what is under way finish for up to ``grace_seconds``, then break off.

        A connection between two exchanges is closed at once, one with a response under way takes no further
        request, and what the observer cannot follow (WebSocket, HTTP/2, TLS) may go on all the time.
        """
        if self._accepting:
            self._accept()
        self._pause_accepting()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            if self.listen.path:
                Path(self.listen.path).unlink(missing_ok=True)
        deadline = self.loop.time() + grace_seconds
        while self._pairs and self.loop.time() < deadline:
            now = self.loop.time()
            for pair in list(self._pairs):
                pair.drain_step(now)
            await asyncio.sleep(_DRAIN_STEP_SECONDS)
        for pair in list(self._pairs):
            self.stats.closed_drained += 1
            pair.break_off()
        while self._pairs:
            await asyncio.sleep(0)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def probe(self) -> bool:
        """Whether the upstream takes a connection now; the result is kept in ``stats``."""
        try:
            transport = await self._connect(asyncio.Protocol)
        except (OSError, asyncio.TimeoutError) as error:
            self.stats.upstream_up = False
            self.stats.upstream_error = f"{self.upstream}: {failure_reason(error)} ({error})"
            return False
        transport.close()
        self.stats.upstream_up = True
        self.stats.upstream_error = ""
        return True

    def forget(self, pair: Pair) -> None:
        """Called by a pair when both its connections are gone."""
        self._pairs.discard(pair)
        self.stats.open = len(self._pairs)
        if len(self._pairs) < self._max_connections:
            self._resume_accepting()

    # Accepting. Our own loop, since asyncio's server cannot leave connections in the kernel's queue.

    def _resume_accepting(self) -> None:
        if self._socket is not None and not self._accepting:
            self._accepting = True
            self.loop.add_reader(self._socket, self._accept)

    def _pause_accepting(self) -> None:
        if self._socket is not None and self._accepting:
            self._accepting = False
            self.loop.remove_reader(self._socket)

    def _accept(self) -> None:
        if self._socket is None:
            return
        for _ in range(_ACCEPTS_AT_A_TIME):
            if len(self._pairs) >= self._max_connections:
                self.stats.accept_paused += 1
                self._pause_accepting()
                return
            try:
                sock, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                # Out of file descriptors or memory: the rest waits in the kernel's queue for a while.
                logger.warning("cannot accept a connection: %s", error)
                self.stats.accept_paused += 1
                self._pause_accepting()
                self.loop.call_later(_FULL_PAUSE_SECONDS, self._resume_accepting)
                return
            sock.setblocking(False)
            pair = Pair(self, self.tap.connection_opened() if self.tap else None)
            self._pairs.add(pair)
            self.stats.opened += 1
            self.stats.open = len(self._pairs)
            pair.connecting = self.loop.create_task(self._serve(pair, sock))

    async def _serve(self, pair: Pair, sock: socket.socket) -> None:
        try:
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            await self.loop.connect_accepted_socket(lambda: pair.client, sock)
            await self._connect_upstream(pair)
        except asyncio.CancelledError:
            pass
        except Exception:
            logger.exception("a connection failed inside the proxy")
            pair.break_off()
        finally:
            pair.connecting = None

    async def _connect_upstream(self, pair: Pair) -> None:
        while True:
            try:
                await self._connect(lambda: pair.upstream)
            except ConnectionResetError:
                # It took the connection and broke it off at once.
                self.stats.upstream_failures["reset"] += 1
                pair.break_off()
                return
            except (OSError, asyncio.TimeoutError) as error:
                reason = failure_reason(error)
            else:
                self.stats.upstream_up = True
                return
            if pair.client.received == 0 and not pair.client.ended:
                # Nobody has asked anything yet: try again when somebody does.
                await pair.first_bytes_came()
                continue
            self.stats.upstream_failures[reason] += 1
            if reason == "connect_timeout":
                pair.respond(504, "did not accept a connection in time")
            else:
                pair.respond(502, REASONS[reason])
            return

    async def _connect(self, factory: Callable[[], asyncio.Protocol]) -> asyncio.BaseTransport:
        connecting = connect(self.loop, self.upstream, factory)
        return await asyncio.wait_for(connecting, self.limits.connect_seconds)

    # Time.

    async def _sweep(self) -> None:
        limits = self.limits
        shortest = min(limits.first_byte_seconds, limits.idle_seconds, limits.half_closed_seconds)
        period = min(1.0, max(0.01, shortest / 4))
        while True:
            await asyncio.sleep(period)
            now = self.loop.time()
            for pair in list(self._pairs):
                pair.tick(now)

    async def _probe_forever(self) -> None:
        seen = -1
        while True:
            if self.stats.bytes_from_upstream == seen or not self.stats.upstream_up:
                await self.probe()
            seen = self.stats.bytes_from_upstream
            await asyncio.sleep(self.limits.probe_seconds)
