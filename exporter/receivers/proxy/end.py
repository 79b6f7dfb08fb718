"""One connection of a pair: what arrives is handed on at once, and its reading can be paused."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import sys
import termios
from collections.abc import Callable
from typing import Protocol, cast

# Reasons for not reading from an end; it is read again when none is left.
PEER_FULL, CONNECTING, DRAINING, BROKEN = 1, 2, 4, 8

_LINGER_ZERO = struct.pack("ii", 1, 0)


class Ends(Protocol):
    """Who has both ends of a pair, and is told what happens to each."""

    def made(self, end: End) -> None: ...
    def ended(self, end: End) -> None: ...
    def lost(self, end: End, exc: Exception | None) -> None: ...
    def other(self, end: End) -> End: ...
    def tap_failed(self) -> None: ...


class End(asyncio.Protocol):
    """One of the two connections of a pair.

    ``write`` takes the bytes that arrive here to the other end, ``record`` shows them to the observer.
    """

    __slots__ = ("ended", "gone", "pair", "pauses", "received", "record", "transport", "write")

    def __init__(self, pair: Ends, write: Callable[[bytes], None], record: Callable[[bytes], None]) -> None:
        self.pair = pair
        self.record = record
        self.write = write
        self.transport: asyncio.Transport | None = None
        self.received = 0
        self.ended = False
        self.gone = False
        self.pauses = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        # uvloop sends at once only what is above its limit; the rest waits until all else was read.
        self.transport.set_write_buffer_limits(high=0)
        self.pair.made(self)

    def data_received(self, data: bytes) -> None:
        self.write(data)
        self.received += len(data)
        try:
            self.record(data)
        except Exception:
            self.pair.tap_failed()

    def eof_received(self) -> bool:
        self.pair.ended(self)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.pair.lost(self, exc)

    def pause_writing(self) -> None:
        self.pair.other(self).pause(PEER_FULL)

    def resume_writing(self) -> None:
        self.pair.other(self).resume(PEER_FULL)

    def pause(self, reason: int) -> None:
        """Stop reading, so that the sender feels the back-pressure."""
        if not self.pauses and (transport := self._readable()) is not None:
            transport.pause_reading()
        self.pauses |= reason

    def resume(self, reason: int) -> None:
        """Read again, unless another reason not to is left."""
        if self.pauses:
            self.pauses &= ~reason
            if not self.pauses and (transport := self._readable()) is not None:
                transport.resume_reading()

    def _readable(self) -> asyncio.Transport | None:
        """The transport, if bytes may still arrive on it."""
        # One that has reported its EOF must not be resumed: it would report it once more.
        transport = self.transport
        return None if transport is None or self.ended or transport.is_closing() else transport

    def _tcp_socket(self) -> socket.socket | None:
        """The socket, if it is one of TCP and open."""
        sock = None if self.transport is None else self.transport.get_extra_info("socket")
        return sock if sock is not None and sock.family != socket.AF_UNIX and sock.fileno() >= 0 else None

    def unsent(self) -> int:
        """Bytes on their way out of here, in our buffer and in the kernel's, not yet acknowledged."""
        if self.transport is None or self.gone:
            return 0
        waiting: int = self.transport.get_write_buffer_size()
        # A Unix socket's bytes are with the receiver once they have left our buffer.
        if (sock := self._tcp_socket()) is not None:
            queued = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
            waiting += int.from_bytes(queued, sys.byteorder)
        return waiting

    def close(self) -> None:
        """Close after what was written has been sent."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()

    def reset(self) -> None:
        """Break off: what is not yet sent is dropped, and the other side sees a reset."""
        if self.transport is None or self.gone:
            return
        if (sock := self._tcp_socket()) is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self.transport.abort()
