"""Messages between two of our own processes, over a pair of connected sockets.

Both ends are the same release of this package, and nobody else can reach the sockets: messages are
pickled values, behind their length in 8 bytes.
"""

from __future__ import annotations

import pickle
import select
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

_LENGTH = struct.Struct("!Q")
_READ_BYTES = 65_536


class Link:
    """One end, for code that may wait. Messages may be sent from any thread, and are received by one."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._sending = threading.Lock()
        self._ahead = memoryview(b"")

    def send(self, message: object, following: Sequence[memoryview] = ()) -> None:
        """Send a message, and bytes that follow it; waits while the other end does not read.

        Raises
        ------
        OSError
            If the other end is gone.
        """
        head, data = framed(message)
        with self._sending:
            self.connection.sendall(head + data)
            for view in following:
                self.connection.sendall(view)

    def receive(self) -> Any:
        """The next message; None when the other end is gone."""
        head = self.read(_LENGTH.size)
        if head is None:
            return None
        data = self.read(_LENGTH.unpack(head)[0])
        return None if data is None else pickle.loads(data)  # noqa: S301 - from our own process

    def pending(self, seconds: float = 0.0) -> bool:
        """Whether there is something to receive, be it the end, or comes within a time."""
        return bool(self._ahead) or bool(select.select([self.connection], [], [], seconds)[0])

    def read(self, size: int) -> memoryview | None:
        """The next so many bytes; None when the other end is gone."""
        ahead = self._ahead
        if not ahead and size <= _READ_BYTES:
            # Most likely the rest of the message is there too: a thread that sleeps for it wakes up once.
            try:
                ahead = memoryview(self.connection.recv(_READ_BYTES))
            except OSError:
                return None
            if not ahead:
                return None
        if size <= len(ahead):
            self._ahead = ahead[size:]
            return ahead[:size]
        self._ahead = memoryview(b"")
        data = memoryview(bytearray(size))
        data[: len(ahead)] = ahead
        view = data[len(ahead) :]
        while view:
            try:
                n = self.connection.recv_into(view)
            except OSError:
                return None
            if n == 0:
                return None
            view = view[n:]
        return data

    def finish(self) -> None:
        """Say that nothing comes from this end any more; what the other end says still arrives."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close this end; a thread that waits in :meth:`receive` gets None."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self.connection.close()


class Messages:
    """The other end's messages out of bytes that come in pieces, for code that may not wait."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[Any]:
        """The messages that are complete now."""
        self._data += data
        while len(self._data) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._data)[0]
            if len(self._data) < end:
                return
            message = pickle.loads(self._data[_LENGTH.size : end])  # noqa: S301 - from our own process
            del self._data[:end]
            yield message


def framed(message: object) -> tuple[bytes, bytes]:
    """What stands for a message on the wire, in two pieces."""
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(data)), data
