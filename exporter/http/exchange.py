"""One HTTP request and its answer, recorded from chunks: no I/O, no parsing, no waiting.

Whoever sees the bytes (the ASGI hook, the sidecar's parser) feeds them in; the copy is capped, and
the recorder never touches what it is shown.
"""

from __future__ import annotations

import marshal
from collections.abc import Iterable, Sequence
from typing import Any, cast

Headers = Sequence[tuple[bytes, bytes]]

_OVERHEAD_BYTES = 1024
# Later versions look for objects that occur more than once, which takes longer than it saves.
_MARSHAL_VERSION = 2


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
        size = self._request_size = self._request_size + len(data)
        if size <= self.max_body_bytes and not self.request_truncated:
            chunks = self._request_chunks
            self._request_chunks = _with(chunks, data) if chunks else data
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
        size = self._response_size = self._response_size + len(data)
        if size <= self.max_body_bytes and not self.response_truncated:
            chunks = self._response_chunks
            self._response_chunks = _with(chunks, data) if chunks else data
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

    def packed(self) -> Packed:
        """The same as one block of bytes, for waiting until somebody reads it; :func:`unpacked` undoes it.

        The dozens of small objects of a record, kept for a while, would spread all that comes after them over
        more memory than the processor's caches hold, move from one core's cache to another's, and keep the
        garbage collector busy. That costs the event loop more than all else that is done here.
        """
        request, response = self._request_chunks, self._response_chunks
        plain = (
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
            b"".join(request) if isinstance(request, list) else request,
            self._request_size,
            b"".join(response) if isinstance(response, list) else response,
            self._response_size,
        )
        try:
            data = marshal.dumps(cast("Any", plain), _MARSHAL_VERSION)
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
        return _OVERHEAD_BYTES + len(self.data) + _n_bytes(self.embeddings)


Packed = bytes | AnnotatedExchange | Exchange
"""An exchange that waits: bytes and nothing else, where possible."""


def unpacked(item: Packed) -> Exchange:
    """The exchange that :meth:`Exchange.packed` was asked of."""
    if isinstance(item, Exchange):
        return item
    exchange = Exchange.__new__(Exchange)
    if isinstance(item, bytes):
        data, exchange.notes, exchange.embeddings = item, None, None
    else:
        data, exchange.notes, exchange.embeddings = item.data, item.notes, item.embeddings
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
    ) = marshal.loads(data)  # noqa: S302 - what packed() wrote, here or in our own other process
    return exchange


def header(headers: Headers, name: bytes) -> bytes | None:
    """The first value of a header, or None."""
    for key, value in headers:
        if key == name:
            return value
    return None


def _n_bytes(embeddings: list[Any] | None) -> int:
    return sum([int(getattr(row, "nbytes", 0)) for row in embeddings or ()])


def _with(chunks: bytes | list[bytes], data: bytes) -> list[bytes]:
    if isinstance(chunks, list):
        chunks.append(data)
        return chunks
    return [chunks, data]
