"""One HTTP request and its answer, recorded from chunks: no I/O, no parsing, no waiting.

Whoever sees the bytes (the ASGI hook, the sidecar's parser) feeds them in; the copy is capped, and
the recorder never touches what it is shown.
"""

from __future__ import annotations

import marshal
from collections.abc import Iterable, Sequence
from typing import Any

Headers = Sequence[tuple[bytes, bytes]]

_OVERHEAD_BYTES = 1024
_MAX_PACKED_BYTES = 65_536


class Exchange:
    """A request and its answer, as far as they have been seen.

    Parameters
    ----------
    method, path, query
        As on the request line, without decoding but for ``path``, which is text.
    request_headers
        (name, value) pairs, names in lower case.
    max_body_bytes
        A body that grows beyond this is forgotten as a whole and marked as truncated: half a JSON
        document says nothing.
    started
        When the request's first byte was seen, in seconds since the epoch.
    """

    __slots__ = (
        "_request_chunks",
        "_request_size",
        "_response_chunks",
        "_response_size",
        "aborted",
        "embeddings",
        "ended",
        "max_body_bytes",
        "method",
        "notes",
        "path",
        "query",
        "request_headers",
        "request_truncated",
        "response_headers",
        "response_truncated",
        "started",
        "status",
    )

    def __init__(
        self,
        method: str,
        path: str,
        query: bytes = b"",
        request_headers: Headers = (),
        *,
        max_body_bytes: int,
        started: float,
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.request_headers = request_headers
        self.max_body_bytes = max_body_bytes
        self.started = started
        self.ended = started
        self.status = 0
        self.response_headers: Headers = ()
        self.request_truncated = False
        self.response_truncated = False
        self.aborted = False
        self.notes: dict[str, Any] | None = None
        self.embeddings: list[Any] | None = None
        # Most bodies come in one piece: a list only where there are more.
        self._request_chunks: bytes | list[bytes] = b""
        self._request_size = 0
        self._response_chunks: bytes | list[bytes] = b""
        self._response_size = 0

    def request_chunk(self, data: bytes) -> None:
        """Add a piece of the request's body."""
        self._request_size += len(data)
        if self._request_size <= self.max_body_bytes and not self.request_truncated:
            self._request_chunks = _with(self._request_chunks, data)
        else:
            self.request_truncated = True
            self._request_chunks = b""

    def request_gap(self, n_bytes: int) -> None:
        """Note bytes of the request's body that passed unseen."""
        self._request_size += n_bytes
        self.request_truncated = True
        self._request_chunks = b""

    def response_start(self, status: int, headers: Headers) -> None:
        """Note the answer's status line and headers (names in lower case)."""
        self.status = status
        self.response_headers = headers

    def response_chunk(self, data: bytes) -> None:
        """Add a piece of the answer's body."""
        self._response_size += len(data)
        if self._response_size <= self.max_body_bytes and not self.response_truncated:
            self._response_chunks = _with(self._response_chunks, data)
        else:
            self.response_truncated = True
            self._response_chunks = b""

    def response_gap(self, n_bytes: int) -> None:
        """Note bytes of the answer's body that passed unseen."""
        self._response_size += n_bytes
        self.response_truncated = True
        self._response_chunks = b""

    def finish(self, ended: float, *, aborted: bool = False) -> None:
        """Note when the last byte was seen, and whether the answer broke off before its end."""
        self.ended = ended
        self.aborted = aborted

    def annotate(self, fields: dict[str, Any]) -> None:
        """Add fields that the service itself named; they win over what the bodies say."""
        if self.notes is None:
            self.notes = {}
        self.notes.update(fields)

    def add_embeddings(self, rows: Iterable[Any]) -> None:
        """Add (d,) embeddings that the live model computed for this request, one for each sample."""
        if self.embeddings is None:
            self.embeddings = []
        self.embeddings.extend(rows)

    @property
    def request_body(self) -> bytes:
        """The request's body, empty if it was truncated."""
        return _joined(self._request_chunks)

    @property
    def response_body(self) -> bytes:
        """The answer's body, empty if it was truncated."""
        return _joined(self._response_chunks)

    @property
    def request_size(self) -> int:
        """Bytes of the request's body, counted even where they were not kept."""
        return self._request_size

    @property
    def response_size(self) -> int:
        """Bytes of the answer's body, counted even where they were not kept."""
        return self._response_size

    @property
    def n_bytes(self) -> int:
        """What this record holds in memory, roughly: kept bodies, embeddings, and a fixed overhead."""
        size = _OVERHEAD_BYTES
        if not self.request_truncated:
            size += self._request_size
        if not self.response_truncated:
            size += self._response_size
        if self.embeddings is not None:
            size += sum(int(getattr(row, "nbytes", 0)) for row in self.embeddings)
        return size

    def packed(self) -> Exchange | PackedExchange:
        """The same as one block of bytes, for waiting until another thread reads it.

        The dozens of small objects of a record would each move from one core's cache to another's and
        back, and keep the garbage collector busy while they wait; that costs the event loop more than
        all else that is done here. Large bodies are not copied: such a record stays as it is.
        """
        if self._request_size + self._response_size > _MAX_PACKED_BYTES:
            return self
        state: Any = (
            self.method,
            self.path,
            self.query,
            self.request_headers,
            self.max_body_bytes,
            self.started,
            self.ended,
            self.status,
            self.response_headers,
            self.request_truncated,
            self.response_truncated,
            self.aborted,
            self.request_body,
            self._request_size,
            self.response_body,
            self._response_size,
        )
        try:
            data = marshal.dumps(state)
        except ValueError:  # headers of a kind of their own
            return self
        return PackedExchange(data, self.n_bytes, self.notes, self.embeddings)


class PackedExchange:
    """An :class:`Exchange` that waits; made by :meth:`Exchange.packed`."""

    __slots__ = ("_data", "_embeddings", "_notes", "n_bytes")

    def __init__(
        self, data: bytes, n_bytes: int, notes: dict[str, Any] | None, embeddings: list[Any] | None
    ) -> None:
        self._data = data
        self._notes = notes
        self._embeddings = embeddings
        self.n_bytes = n_bytes

    def unpacked(self) -> Exchange:
        """The record as it was."""
        (
            method,
            path,
            query,
            request_headers,
            max_body_bytes,
            started,
            ended,
            status,
            response_headers,
            request_truncated,
            response_truncated,
            aborted,
            request_body,
            request_size,
            response_body,
            response_size,
        ) = marshal.loads(self._data)  # noqa: S302 - what packed() of this process wrote
        exchange = Exchange(
            method, path, query, request_headers, max_body_bytes=max_body_bytes, started=started
        )
        exchange.response_start(status, response_headers)
        exchange.finish(ended, aborted=aborted)
        exchange.request_truncated = request_truncated
        exchange.response_truncated = response_truncated
        exchange._request_chunks, exchange._request_size = request_body, request_size
        exchange._response_chunks, exchange._response_size = response_body, response_size
        exchange.notes, exchange.embeddings = self._notes, self._embeddings
        return exchange


def header(headers: Headers, name: bytes) -> bytes | None:
    """The first value of a header, or None."""
    for key, value in headers:
        if key == name:
            return value
    return None


def _with(chunks: bytes | list[bytes], data: bytes) -> bytes | list[bytes]:
    if not chunks:
        return data
    if isinstance(chunks, list):
        chunks.append(data)
        return chunks
    return [chunks, data]


def _joined(chunks: bytes | list[bytes]) -> bytes:
    return b"".join(chunks) if isinstance(chunks, list) else chunks
