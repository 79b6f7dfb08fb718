"""Messages between two of our own processes, over a pair of connected sockets.

Both ends are the same release of this package, and nobody else can reach the sockets: messages are
pickled values, behind their length in 8 bytes.
"""

from __future__ import annotations

import pickle
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

_LENGTH = struct.Struct("!Q")


class Link:
    """One end, for code that may wait. Messages may be sent from any thread, and are received by one."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._sending = threading.Lock()

    def send(self, message: object) -> None:
        """Send a message; waits while the other end does not read.

        Raises
        ------
        OSError
            If the other end is gone.
        """
        head, data = framed(message)
        with self._sending:
            self.connection.sendall(head)
            self.connection.sendall(data)

    def receive(self) -> Any:
        """The next message; None when the other end is gone."""
        head = self._exactly(_LENGTH.size)
        if head is None:
            return None
        data = self._exactly(_LENGTH.unpack(head)[0])
        return None if data is None else pickle.loads(data)  # noqa: S301 - from our own process

    def finish(self) -> None:
        """Say that nothing comes from this end any more; what the other end says still arrives."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close this end; a thread that waits in :meth:`receive` gets None."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self.connection.close()

    def _exactly(self, size: int) -> bytearray | None:
        data = bytearray(size)
        view = memoryview(data)
        while view:
            try:
                n = self.connection.recv_into(view)
            except OSError:
                return None
            if n == 0:
                return None
            view = view[n:]
        return data


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
