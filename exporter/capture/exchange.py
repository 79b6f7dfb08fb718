"""One HTTP request and its answer, recorded from chunks: no I/O, no parsing, no waiting.

Whoever sees the bytes (the ASGI hook, the sidecar's parser) feeds them in; the copy is capped, and
the recorder never touches what it is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

Headers = Sequence[tuple[bytes, bytes]]

_OVERHEAD_BYTES = 1024


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
        """The same as a tuple of plain values, for waiting; :func:`unpacked` undoes it.

        The garbage collector soon finds that there is nothing in it to look after, and forgets it. Objects
        that wait would be walked over again and again, and with them all that a large service holds.
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
        if self.notes is None and self.embeddings is None:
            return plain
        return AnnotatedExchange(plain, self.notes, self.embeddings)


Plain = tuple[
    str, str, bytes, Headers, int, float, float, int, Headers, bool, bool, bool, bytes, int, bytes, int
]
"""What an exchange holds, but for notes and embeddings; see :meth:`Exchange.packed`."""


class AnnotatedExchange:
    """A packed exchange, and what the service itself said of it."""

    __slots__ = ("embeddings", "notes", "plain")

    def __init__(self, plain: Plain, notes: dict[str, Any] | None, embeddings: list[Any] | None) -> None:
        self.plain = plain
        self.notes = notes
        self.embeddings = embeddings


Packed = Plain | AnnotatedExchange
"""An exchange that waits."""


def unpacked(item: Packed) -> Exchange:
    """The exchange that :meth:`Exchange.packed` was asked of."""
    exchange = Exchange.__new__(Exchange)
    if isinstance(item, tuple):
        plain, exchange.notes, exchange.embeddings = item, None, None
    else:
        plain, exchange.notes, exchange.embeddings = item.plain, item.notes, item.embeddings
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
    ) = plain
    return exchange


def packed_bytes(item: Packed) -> int:
    """What a packed exchange holds in memory, roughly: bodies, embeddings, and a fixed overhead."""
    if isinstance(item, tuple):
        return _OVERHEAD_BYTES + len(item[12]) + len(item[14])
    return packed_bytes(item.plain) + _n_bytes(item.embeddings)


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
