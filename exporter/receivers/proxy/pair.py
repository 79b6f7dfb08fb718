"""One client connection and its upstream connection, tied together byte for byte.

Bytes are handed to the other side before anything else happens to them. The end of a direction is
passed on as an end, a reset as a reset, and what arrived before either is delivered first.
"""

from __future__ import annotations

import asyncio
import logging
import math
from dataclasses import dataclass, field
from typing import Protocol

from exporter.http.http1.states import UNFOLLOWED
from exporter.receivers.proxy.end import BROKEN, CONNECTING, DRAINING, PEER_FULL, End
from exporter.receivers.proxy.limits import ProxyLimits
from exporter.receivers.proxy.stats import ProxyStats
from exporter.receivers.proxy.tap import ConnectionTap
from exporter.receivers.proxy.upstream import response_of_ours, speaks_http1

logger = logging.getLogger(__name__)

HOLD_BYTES = 64 * 1024
"""Bytes of a client that are kept while its upstream connection is being made; then it is not read."""
_FLUSH_CHECK_SECONDS = 0.005
_NEWCOMER_SECONDS = 0.05  # while draining, for a connection from the queue to say what it wants


def _ignore(_data: bytes, /) -> None:
    pass


class Owner(Protocol):
    """What a pair needs of the proxy, which it tells when it is over."""

    limits: ProxyLimits
    stats: ProxyStats
    loop: asyncio.AbstractEventLoop

    def forget(self, pair: Pair) -> None: ...


@dataclass(slots=True, eq=False, repr=False)
class Pair:
    """The two ends, and what happens to one when the other ends, breaks or stays silent."""

    proxy: Owner
    tap: ConnectionTap | None
    client: End = field(init=False)
    upstream: End = field(init=False)
    held: bytearray = field(default_factory=bytearray, init=False)
    connecting: asyncio.Task[None] | None = field(default=None, init=False)
    first_bytes: asyncio.Future[None] | None = field(default=None, init=False)
    finishing: bool = field(default=False, init=False)
    over: bool = field(default=False, init=False)
    client_left: bool = field(default=False, init=False)
    http1: bool = field(default=True, init=False)
    active_at: float = field(init=False)
    counted_up: int = field(default=0, init=False)
    counted_down: int = field(default=0, init=False)
    unsent_seen: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        tap = self.tap
        self.client = End(self, self.hold, tap.from_client if tap else _ignore)
        self.upstream = End(self, _ignore, tap.from_upstream if tap else _ignore)
        self.active_at = self.proxy.loop.time()

    def other(self, end: End) -> End:
        """The end that is not ``end``."""
        return self.upstream if end is self.client else self.client

    # What the ends report.

    def hold(self, data: bytes) -> None:
        """Keep bytes of the client until the upstream is connected."""
        self.held += data
        if len(self.held) >= HOLD_BYTES:
            self.client.pause(CONNECTING)
        if self.first_bytes is not None and not self.first_bytes.done():
            self.first_bytes.set_result(None)

    def made(self, end: End) -> None:
        """An end is connected; with the upstream's, bytes begin to flow."""
        transport = end.transport
        if transport is None or end is self.client:
            return
        client = self.client.transport
        if self.finishing or client is None or self.client.gone:
            end.reset()
            return
        held, self.held = bytes(self.held), bytearray()
        self.client.write = self._first
        if held:
            self._first(held)
        self.upstream.write = client.write
        if self.client.ended:
            transport.write_eof()
        self.client.resume(CONNECTING)

    def ended(self, end: End) -> None:
        """No more bytes will come from ``end``: say so to the other, and close when both have ended."""
        end.ended = True
        self._show(end, b"")
        other = self.other(end)
        if self.finishing or other.ended:
            self.client.close()
            self.upstream.close()
        elif other.transport is not None and not other.transport.is_closing():
            other.transport.write_eof()

    def lost(self, end: End, exc: Exception | None) -> None:
        """``end`` is gone; if it was broken off, so is the other."""
        end.gone = True
        other = self.other(end)
        if exc is not None and not self.finishing:
            stats = self.proxy.stats
            if end is self.client:
                stats.client_resets += 1
                self.client_left = True
            else:
                stats.upstream_failures["reset"] += 1
            self.finishing = True
            # A connection that is still being made is reset as soon as it is there.
            self._reset_when_sent(other)
        if self.client.gone and (self.upstream.gone or self.upstream.transport is None):
            self._over()

    def tap_failed(self) -> None:
        """The observer raised: it sees no more of this connection."""
        self.proxy.stats.tap_failures += 1
        logger.exception("the observer failed; this connection goes on unobserved")
        self.client.record = self.upstream.record = _ignore
        self.tap = None

    # What the proxy asks for.

    def respond(self, status: int, reason: str) -> None:
        """Respond for an upstream that does not, before any byte of its response, then close."""
        self.finishing = True
        self.upstream.write = _ignore
        self.upstream.reset()
        client = self.client
        if client.gone or client.transport is None:
            return
        if self.held:
            self.http1 = speaks_http1(self.held)
        client.write, self.held = _ignore, bytearray()
        if not self.http1:
            self.break_off()
            return
        data = response_of_ours(status, reason)
        if status == 502:
            self.proxy.stats.responded_502 += 1
        else:
            self.proxy.stats.responded_504 += 1
        self._show(self.upstream, data)
        client.transport.write(data)
        self._linger()

    def break_off(self) -> None:
        """Reset both ends at once."""
        self._finish()
        self.client.reset()
        self.upstream.reset()

    def finish(self) -> None:
        """Close between two exchanges: the client sees an orderly end."""
        self._finish()
        self.client.write = self.upstream.write = _ignore
        self.upstream.close()
        self._linger()

    def tick(self, now: float) -> None:
        """Count bytes and look at the clock."""
        stats, limits = self.proxy.stats, self.proxy.limits
        if self._count():
            self.active_at = now
            return
        quiet = now - self.active_at
        if self.finishing:
            if quiet >= 2 * limits.linger_seconds and not self._progress(now):
                self.break_off()
            return
        client, upstream = self.client, self.upstream
        waits_for_first_byte = client.received and not upstream.received and upstream.transport is not None
        if waits_for_first_byte and not upstream.ended:
            if quiet >= limits.first_byte_seconds and not self._progress(now):
                stats.upstream_failures["silent"] += 1
                self.respond(504, "did not answer in time")
            return
        allowed = min(limits.idle_seconds, limits.half_closed_seconds if upstream.ended else math.inf)
        if quiet >= allowed and not self._progress(now):
            stats.closed_idle += 1
            self.finish()

    def drain_step(self, now: float) -> None:
        """While draining: take no further request, and close once nothing is under way."""
        if self.finishing:
            return
        if self.tap is None:
            if now - self.active_at >= self.proxy.limits.drain_quiet_seconds:
                self.finish()
            return
        if self.client.received == 0 and now - self.active_at < _NEWCOMER_SECONDS:
            return
        self.client.pause(DRAINING)
        state = self.tap.state()
        if state in ("IDLE", "MUST_CLOSE"):
            self.finish()
        elif state == "SEND_BODY" or state in UNFOLLOWED:
            self.client.resume(DRAINING)

    async def first_bytes_came(self) -> None:
        """Wait until the client has sent its first bytes."""
        if not self.held:
            self.first_bytes = self.proxy.loop.create_future()
            await self.first_bytes

    # How it is done.

    def _first(self, data: bytes) -> None:
        """Forward the first bytes, and note what a response of ours would have to be."""
        if self.upstream.transport is not None:
            self.client.write = self.upstream.transport.write
            self.client.write(data)
        self.http1 = speaks_http1(data)

    def _progress(self, now: float) -> bool:
        """Whether a slow receiver has taken bytes since the last look."""
        unsent = self.client.unsent() + self.upstream.unsent()
        moved = unsent != self.unsent_seen
        self.unsent_seen = unsent
        if moved:
            self.active_at = now
        return moved

    def _count(self) -> bool:
        """Count the bytes since the last time; says whether there were any."""
        stats, up, down = self.proxy.stats, self.client.received, self.upstream.received
        n_up, n_down = up - self.counted_up, down - self.counted_down
        stats.bytes_from_client += n_up
        stats.bytes_from_upstream += n_down
        self.counted_up, self.counted_down = up, down
        return n_up + n_down > 0

    def _show(self, end: End, data: bytes) -> None:
        try:
            end.record(data)
        except Exception:
            self.tap_failed()

    def _finish(self) -> None:
        self.finishing = True
        if self.connecting is not None:
            self.connecting.cancel()
        if self.client.transport is None:
            self._over()

    def _reset_when_sent(self, end: End, deadline: float = 0.0, last: int = -1) -> None:
        """Reset ``end`` after the bytes that came before the reset have been delivered."""
        if end.gone or end.transport is None:
            return
        end.write = _ignore
        end.pause(BROKEN)
        loop = self.proxy.loop
        unsent = end.unsent()
        if unsent != last:
            deadline = loop.time() + self.proxy.limits.linger_seconds
        if unsent == 0 or loop.time() >= deadline:
            end.reset()
        else:
            loop.call_later(_FLUSH_CHECK_SECONDS, self._reset_when_sent, end, deadline, unsent)

    def _linger(self) -> None:
        """End our side of the client's connection, and wait for its end before closing: closing with unread
        bytes would reset the connection, and the client could lose the response that was just sent."""
        client = self.client
        if client.transport is None or client.gone or client.transport.is_closing():
            return
        if client.ended:
            client.close()
            return
        client.write = client.record = _ignore
        client.resume(PEER_FULL | CONNECTING | DRAINING)
        client.transport.write_eof()
        self.proxy.loop.call_later(self.proxy.limits.linger_seconds, self._linger_over)

    def _linger_over(self) -> None:
        if not self.client.gone:
            if self.client.unsent() and self._progress(self.proxy.loop.time()):
                self.proxy.loop.call_later(self.proxy.limits.linger_seconds, self._linger_over)
            else:
                self.client.close()

    def _over(self) -> None:
        if self.over:
            return
        self.over = True
        if self.tap is not None:
            try:
                self.tap.closed(client_left=self.client_left)
            except Exception:
                self.tap_failed()
        self._count()
        self.proxy.forget(self)
