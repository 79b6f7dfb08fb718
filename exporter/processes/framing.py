"""Messages between two of our own processes, over a pair of connected sockets.

Both ends are the same release of this package, and nobody else can reach the sockets: messages are
pickled values, or bytes as they are, behind a head that says which of them it is and how long.
"""

from __future__ import annotations

import asyncio
import pickle
import select
import socket
import struct
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

_HEAD = struct.Struct("!?Q")  # whether it is pickled, and how long it is
_BUFFER_BYTES = 256 * 1024
_MAX_PIECES = 1024  # that a call may gather (IOV_MAX)


@dataclass(frozen=True)
class Beat:
    """From any process: it is at work, and has not forgotten us."""


def framed(message: object) -> tuple[bytes, bytes]:
    """What stands for a message on the wire, in two pieces; bytes travel as they are."""
    if isinstance(message, bytes):
        return _HEAD.pack(False, len(message)), message
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return _HEAD.pack(True, len(data)), data


async def receive(reader: asyncio.StreamReader) -> Any:
    """The next message, for code that may not wait; None when the other end is gone."""
    try:
        pickled, size = _HEAD.unpack(await reader.readexactly(_HEAD.size))
        data = await reader.readexactly(size)
    except (OSError, asyncio.IncompleteReadError):
        return None
    return pickle.loads(data) if pickled else data  # noqa: S301 - from ourselves


class Link:
    """One end, for code that may wait. Messages may be sent from any thread, and are received by one."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._sending = threading.Lock()
        # Everything is received into the same memory, which stays in the caches.
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._start = self._end = 0  # of what was received and not yet taken

    def send(self, message: object, following: Sequence[memoryview] = ()) -> None:
        """Send a message, and bytes that follow it; waits while the other end does not read.

        An OSError says that it is gone.
        """
        pieces: deque[bytes | memoryview] = deque((*framed(message), *following))
        with self._sending:
            # In one call, since after each of them the interpreter lock has to be waited for.
            while pieces:
                sent = self.connection.sendmsg(list(islice(pieces, _MAX_PIECES)))
                while pieces and len(pieces[0]) <= sent:
                    sent -= len(pieces.popleft())
                if sent:
                    pieces[0] = memoryview(pieces[0])[sent:]

    def receive(self) -> Any:
        """The next message; None when the other end is gone.

        One of bytes is a memoryview, valid until the next call.
        """
        head = self._take(_HEAD.size)
        if head is None:
            return None
        pickled, size = _HEAD.unpack(head)
        data = self._take(size)
        return pickle.loads(data) if pickled and data is not None else data  # noqa: S301 - from ourselves

    def pending(self, seconds: float = 0.0) -> bool:
        """Whether there is something to receive, be it the end, or comes within a time."""
        if self._start < self._end:
            return True
        # Not select, which knows no descriptors from 1,024 on.
        waiting = select.poll()
        waiting.register(self.connection, select.POLLIN)
        return bool(waiting.poll(1000 * seconds))

    def read(self, size: int) -> memoryview | None:
        """The next so many bytes, for the caller to keep; None when the other end is gone."""
        data = memoryview(bytearray(size))
        filled = min(size, self._end - self._start)
        data[:filled] = self._buffer[self._start : self._start + filled]
        self._start += filled
        while filled < size:
            n = self._receive_into(data[filled:])
            if n == 0:
                return None
            filled += n
        return data

    def finish(self) -> None:
        """Say that nothing comes from this end any more; what the other end says still arrives."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close this end; whoever waits in :meth:`receive` gets None."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self.connection.close()

    def _take(self, size: int) -> memoryview | None:
        """The next so many bytes, where they lie."""
        if size > len(self._buffer):
            return self.read(size)
        rest = self._end - self._start
        if rest < size:
            if self._start + size > len(self._buffer) or not rest:
                self._buffer[:rest] = bytes(self._buffer[self._start : self._end])
                self._start, self._end = 0, rest
            # As much as there is, not as much as is asked for: one who sleeps for more wakes up twice.
            while self._end - self._start < size:
                n = self._receive_into(self._buffer[self._end :])
                if n == 0:
                    return None
                self._end += n
        self._start += size
        return self._buffer[self._start - size : self._start]

    def _receive_into(self, view: memoryview) -> int:
        """How many bytes came; 0 when the other end is gone."""
        try:
            return self.connection.recv_into(view)
        except OSError:
            return 0
