"""The stream of a WSGI request's body, which says what was read from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

_READS_INTO = frozenset({"readinto", "readinto1"})
_READS = frozenset({"read1"})


class NotedInput:
    """A request's body as the application reads it; ``note`` is given what it has read."""

    def __init__(self, stream: Any, note: Callable[[Any], None]) -> None:
        self._stream = stream
        self._note = note

    def read(self, *size: int) -> Any:
        """As of the stream."""
        data = self._stream.read(*size)
        self._note(data)
        return data

    def readline(self, *size: int) -> Any:
        """As of the stream."""
        data = self._stream.readline(*size)
        self._note(data)
        return data

    def readlines(self, *hint: int) -> Any:
        """As of the stream."""
        lines = self._stream.readlines(*hint)
        self._note(b"".join(lines))
        return lines

    def __iter__(self) -> Iterator[Any]:
        for line in self._stream:
            self._note(line)
            yield line

    def __getattr__(self, name: str) -> Any:
        """What else a server's stream has; some have further ways to read."""
        value = getattr(self._stream, name)
        if name in _READS_INTO:
            return self._into(value)
        return self._noted(value) if name in _READS else value

    def _into(self, readinto: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def read(buffer: Any) -> Any:
            n = readinto(buffer)
            self._note(bytes(memoryview(buffer)[: n or 0]))
            return n

        return read

    def _noted(self, read: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*size: int) -> Any:
            data = read(*size)
            self._note(data)
            return data

        return noted
