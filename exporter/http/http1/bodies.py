"""Where the body of an HTTP/1 message ends: by length, by chunks, or by the end of the connection.

Each reader follows one body. ``feed`` takes bytes from ``start`` on, hands the body's to ``sink``, and
returns the offset of the first byte after the message; ``skip`` takes note of bytes that were not kept but
for the last few, ``tail``, up to ``TAIL_BYTES``, and returns False if that makes it impossible to say where
the body ends. ``done`` says that the message is complete, ``held`` how many bytes of an incomplete line it
keeps. [RFC 9112, sections 6 and 7]
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

from exporter.http.http1.heads import CHUNKED, UNTIL_CLOSE
from exporter.http.http1.states import NotFollowedError

Sink = Callable[[bytes], None]

_MAX_LINE_BYTES = 8192
_MAX_TRAILER_BYTES = 64 * 1024
_END = b"\r\n0\r\n\r\n"
TAIL_BYTES = len(_END)
"""What must be kept of a gap for the end of a chunked body to be seen in it."""
_PLAIN_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})\r\n")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\n\r]*)?")


class LengthBody:
    """A body of ``remaining`` > 0 bytes."""

    __slots__ = ("done", "remaining")
    held = 0

    def __init__(self, remaining: int) -> None:
        self.remaining = remaining
        self.done = False

    def feed(self, data: bytes, start: int, sink: Sink) -> int:
        end = start + self.remaining
        if end <= len(data):
            self.remaining = 0
            self.done = True
            sink(data[start:end])
            return end
        self.remaining = end - len(data)
        sink(data[start:] if start else data)
        return len(data)

    def skip(self, n_bytes: int, _tail: bytes) -> bool:
        if n_bytes > self.remaining:
            return False
        self.remaining -= n_bytes
        self.done = self.remaining == 0
        return True


class UntilCloseBody(LengthBody):
    """A body that ends with the connection, which its owner sees: longer than any."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(sys.maxsize)


class ChunkedBody:
    """A chunked body with its trailers, which are ignored.

    After a gap that is not within one chunk the chunks are lost: all bytes are taken for the body's, up
    to those that look like its end where a piece ends or another response begins.
    """

    __slots__ = ("_line", "_remaining", "_state", "_tail", "_trailer_bytes", "done")

    _SIZE, _DATA, _DATA_END, _TRAILER, _LOST = range(5)

    def __init__(self) -> None:
        self.done = False
        self._state = self._SIZE
        self._remaining = 0
        self._line = b""
        self._tail = b""
        self._trailer_bytes = 0

    @property
    def held(self) -> int:
        return len(self._line)

    def feed(self, data: bytes, start: int, sink: Sink) -> int:
        if self._state == self._LOST:
            return self._feed_lost(data, start, sink)
        position, end = start, len(data)
        while position < end and not self.done:
            if self._state == self._SIZE and not self._line:
                position, pieces = _complete_chunks(data, position)
                if pieces:
                    sink(b"".join(pieces))
                    continue
            if self._state == self._DATA:
                stop = min(end, position + self._remaining)
                sink(data[position:stop])
                self._remaining -= stop - position
                position = stop
                if self._remaining == 0:
                    self._state = self._DATA_END
                continue
            newline = data.find(b"\n", position)
            stop = end if newline < 0 else newline + 1
            self._line += data[position:stop]
            position = stop
            if len(self._line) > _MAX_LINE_BYTES:
                raise NotFollowedError("malformed")
            if newline >= 0:
                line, self._line = self._line, b""
                self._take_line(line)
        return position

    def _take_line(self, line: bytes) -> None:
        if line[-2:] != b"\r\n":
            raise NotFollowedError("malformed")
        text = line[:-2]
        if self._state == self._SIZE:
            if (match := _CHUNK_SIZE.fullmatch(text)) is None:
                raise NotFollowedError("malformed")
            self._remaining = int(match[1], 16)
            self._state = self._DATA if self._remaining else self._TRAILER
        elif self._state == self._DATA_END:
            if text:
                raise NotFollowedError("malformed")
            self._state = self._SIZE
        elif not text:
            self.done = True
        else:
            self._trailer_bytes += len(line)
            if self._trailer_bytes > _MAX_TRAILER_BYTES:
                raise NotFollowedError("malformed")

    def skip(self, n_bytes: int, tail: bytes) -> bool:
        if self._state == self._DATA and n_bytes < self._remaining:
            self._remaining -= n_bytes
            return True
        if not tail:
            return False
        self._state = self._LOST
        self._look_for_end(tail)
        return True

    def _feed_lost(self, data: bytes, start: int, sink: Sink) -> int:
        if self._tail.endswith(b"\r\n\r\n") and data.startswith(b"HTTP/1.", start):
            self.done = True  # there were trailers
            return start
        found = data.find(_END + b"HTTP/1.", start)
        end = len(data) if found < 0 else found + len(_END)
        piece = data[start:end]
        sink(piece)
        self._look_for_end(piece)
        return end

    def _look_for_end(self, data: bytes) -> None:
        self._tail = (self._tail + data[-TAIL_BYTES:])[-TAIL_BYTES:]
        self.done = self._tail == _END


BodyReader = LengthBody | ChunkedBody


def body_reader(length: int) -> BodyReader:
    """What reads a body of ``length`` > 0 bytes, or one that is ``CHUNKED`` or goes on ``UNTIL_CLOSE``."""
    if length == CHUNKED:
        return ChunkedBody()
    return UntilCloseBody() if length == UNTIL_CLOSE else LengthBody(length)


def _complete_chunks(data: bytes, position: int) -> tuple[int, list[bytes]]:
    """The chunks that begin in ``data`` at ``position`` and end in it, as far as nothing is unusual about
    them, and the place behind them. They may be as short as a byte, and there may be very many."""
    pieces: list[bytes] = []
    while (match := _PLAIN_SIZE.match(data, position)) is not None:
        start = match.end()
        stop = start + int(match[1], 16)
        if stop == start or data[stop : stop + 2] != b"\r\n":
            break
        pieces.append(data[start:stop])
        position = stop + 2
    return position, pieces
