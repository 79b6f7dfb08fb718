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
        chunks = self._request_chunks
        return b"".join(chunks) if isinstance(chunks, list) else chunks

    @property
    def response_body(self) -> bytes:
        """The answer's body, empty if it was truncated."""
        chunks = self._response_chunks
        return b"".join(chunks) if isinstance(chunks, list) else chunks

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
        return size + _n_bytes(self.embeddings)

    def packed(self) -> Packed | Exchange:
        """The same as one block of bytes, for waiting until somebody reads it; :func:`unpacked` undoes it.

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
        if self.notes is None and self.embeddings is None:
            return data
        return AnnotatedExchange(data, self.notes, self.embeddings)


class AnnotatedExchange:
    """A packed exchange, and what the service itself said of it."""

    __slots__ = ("data", "embeddings", "notes")

    def __init__(self, data: bytes, notes: dict[str, Any] | None, embeddings: list[Any] | None) -> None:
        self.data = data
        self.notes = notes
        self.embeddings = embeddings

    @property
    def n_bytes(self) -> int:
        """What it holds in memory, roughly."""
        return len(self.data) + _OVERHEAD_BYTES + _n_bytes(self.embeddings)


Packed = bytes | AnnotatedExchange
"""An exchange that waits. Bytes and nothing else where possible: the garbage collector passes over them."""


def unpacked(item: Packed) -> Exchange:
    """The exchange that :meth:`Exchange.packed` was asked of."""
    data, notes, embeddings = (
        (item, None, None) if isinstance(item, bytes) else (item.data, item.notes, item.embeddings)
    )
    exchange = Exchange.__new__(Exchange)
    (
        exchange.method,
        exchange.path,
        exchange.query,
        exchange.request_headers,
        exchange.max_body_bytes,
        exchange.started,
        exchange.ended,
        exchange.status,
        exchange.response_headers,
        exchange.request_truncated,
        exchange.response_truncated,
        exchange.aborted,
        exchange._request_chunks,
        exchange._request_size,
        exchange._response_chunks,
        exchange._response_size,
    ) = marshal.loads(data)  # noqa: S302 - what packed() of this process wrote
    exchange.notes, exchange.embeddings = notes, embeddings
    return exchange


def header(headers: Headers, name: bytes) -> bytes | None:
    """The first value of a header, or None."""
    for key, value in headers:
        if key == name:
            return value
    return None


def _n_bytes(embeddings: list[Any] | None) -> int:
    return sum([int(getattr(row, "nbytes", 0)) for row in embeddings or ()])


def _with(chunks: bytes | list[bytes], data: bytes) -> bytes | list[bytes]:
    if not chunks:
        return data
    if isinstance(chunks, list):
        chunks.append(data)
        return chunks
    return [chunks, data]
