"""One HTTP request and its response, recorded from chunks: no I/O, no parsing, no waiting.

Whoever sees the bytes (the ASGI hook, the sidecar's parser) feeds them in; the copy is capped.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

Headers = Sequence[tuple[bytes, bytes]]

# What an array holds beside its numbers, roughly.
_BLOCK_OVERHEAD_BYTES = 1024
# What of an exchange was seen, and waits as bytes.
_SEEN = (
    "method",
    "path",
    "query",
    "request_headers",
    "max_body_bytes",
    "started",
    "ended",
    "status",
    "response_headers",
    "request_truncated",
    "response_truncated",
    "aborted",
    "_request_chunks",
    "_request_size",
    "_response_chunks",
    "_response_size",
)
_seen_of = attrgetter(*_SEEN)
# They ask about a resource, and are not asked to predict.
_NEVER_PREDICT = frozenset({"HEAD", "OPTIONS", "TRACE", "CONNECT"})


class Exchange:
    """A request and its response, as far as they have been seen.

    Parameters
    ----------
    method, path, query
        As on the request line, without decoding but for ``path``, which is text.
    request_headers
        (name, value) pairs, names in lower case.
    max_body_bytes
        A longer body is forgotten and marked as truncated: half a JSON document says nothing.
    started
        When the request's first byte was seen, in seconds since the epoch.

    Attributes
    ----------
    notes
        Fields that the service itself named; they win over what the bodies say. One that was refused is None.
    refused
        (field, reason) of each of those, to be counted when the exchange is handed over.
    embeddings
        (n, d) arrays that the live model or an embedder computed for this request, as they came.
    rows_left_out
        Rows that found no place: but for the first array, they are kept up to ``max_body_bytes`` together.
    finished
        Whether nothing is added any more, since it was handed over.
    read_as
        Name of the decoder that ``auto`` took it to; None until then.
    """

    __slots__ = (*_SEEN, "embeddings", "finished", "notes", "read_as", "refused", "rows_left_out")

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
        self.started = self.ended = started
        self.status = 0
        self.response_headers: Headers = ()
        self.request_truncated = self.response_truncated = self.aborted = False
        self.notes: dict[str, Any] | None = None
        self.refused: list[tuple[str, str]] | None = None
        self.embeddings: list[Any] | None = None
        self.rows_left_out = 0
        self.finished = False
        self.read_as: str | None = None
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

    def response_start(self, status: int, headers: Headers) -> None:
        """Note the response's status line and headers (names in lower case)."""
        self.status = status
        self.response_headers = headers

    def response_chunk(self, data: bytes) -> None:
        """Add a piece of the response's body."""
        size = self._response_size = self._response_size + len(data)
        if size <= self.max_body_bytes and not self.response_truncated:
            chunks = self._response_chunks
            self._response_chunks = _with(chunks, data) if chunks else data
        else:
            self.response_truncated = True
            self._response_chunks = b""

    def finish(self, ended: float, *, aborted: bool = False) -> None:
        """Note when the last byte was seen, and whether the response broke off before its end."""
        # The clock may have been set back meanwhile; a duration is not negative.
        self.ended = max(ended, self.started)
        self.aborted = aborted
        self.finished = True

    def add_embeddings(self, block: Any) -> None:
        """Add an (n, d) array of embeddings computed for this request: a row for each sample, in order."""
        kept = self.embeddings = self.embeddings or []
        # A response without an end can have a forward pass for each of its pieces.
        if self.rows_left_out or (kept and _n_bytes(kept) + _n_bytes([block]) > self.max_body_bytes):
            self.rows_left_out += len(block)
        else:
            kept.append(block)

    @property
    def predicts(self) -> bool:
        """Whether this may have been a prediction: a complete 2xx response to a request that may ask for one.

        A request without a body asks for one only if the response is JSON, or if the service itself named
        fields or computed embeddings. HEAD, OPTIONS and the like never do.
        """
        if self.aborted or not 200 <= self.status < 300 or self.method in _NEVER_PREDICT:
            return False
        if self._request_size or self.method == "POST" or self.notes or self.embeddings is not None:
            return True
        return b"json" in (header(self.response_headers, b"content-type") or b"")

    @property
    def request_body(self) -> bytes:
        """The request's body, empty if it was truncated."""
        chunks = self._request_chunks
        return b"".join(chunks) if isinstance(chunks, list) else chunks

    @property
    def response_body(self) -> bytes:
        """The response's body, empty if it was truncated."""
        chunks = self._response_chunks
        return b"".join(chunks) if isinstance(chunks, list) else chunks

    @property
    def request_size(self) -> int:
        """Bytes of the request's body, counted even where they were not kept."""
        return self._request_size

    @property
    def response_size(self) -> int:
        """Bytes of the response's body, counted even where they were not kept."""
        return self._response_size

    def plain(self) -> tuple[Any, ...]:
        """What was seen, as bytes, text and numbers; :meth:`from_plain` undoes it."""
        self._request_chunks, self._response_chunks = self.request_body, self.response_body
        seen: tuple[Any, ...] = _seen_of(self)
        return seen

    @classmethod
    def from_plain(cls, plain: tuple[Any, ...]) -> Exchange:
        """The exchange that :meth:`plain` was asked of, without what the service itself said."""
        made = Exchange.__new__(Exchange)
        (
            made.method,
            made.path,
            made.query,
            made.request_headers,
            made.max_body_bytes,
            made.started,
            made.ended,
            made.status,
            made.response_headers,
            made.request_truncated,
            made.response_truncated,
            made.aborted,
            made._request_chunks,
            made._request_size,
            made._response_chunks,
            made._response_size,
        ) = plain
        made.notes = made.refused = made.embeddings = made.read_as = None
        made.rows_left_out = 0
        made.finished = True
        return made


def header(headers: Headers, name: bytes) -> bytes | None:
    """The first value of a header, or None."""
    for key, value in headers:
        if key == name:
            return value
    return None


def _n_bytes(blocks: Sequence[Any]) -> int:
    return sum([block.nbytes + _BLOCK_OVERHEAD_BYTES for block in blocks])


def _with(chunks: bytes | list[bytes], data: bytes) -> list[bytes]:
    if isinstance(chunks, list):
        chunks.append(data)
        return chunks
    return [chunks, data]
