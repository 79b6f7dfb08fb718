"""What is noted of an exchange that nobody reads."""

from __future__ import annotations

from exporter.http.exchange import Headers

Passed = tuple[str, str, int, float, float, int, int]
"""An exchange whose headers and bodies were not wanted: method, path, the answer's status (0 if it has not
begun), when it started and ended in seconds since the epoch, and the sizes of both bodies in bytes. There
are tens of thousands a second of them, hence a tuple: nothing is made in less time."""


class Passing:
    """An exchange under way that nobody reads; it takes what an exchange takes, and only counts."""

    __slots__ = ("ended", "method", "path", "request_size", "response_size", "started", "status")

    request_truncated = True
    response_truncated = True

    def __init__(self, method: str, path: str, started: float) -> None:
        self.method = method
        self.path = path
        self.started = self.ended = started
        self.status = 0
        self.request_size = 0
        self.response_size = 0

    def request_chunk(self, data: bytes) -> None:
        """Count a piece of the request's body."""
        self.request_size += len(data)

    def request_gap(self, n_bytes: int) -> None:
        """Count bytes of the request's body that passed unseen."""
        self.request_size += n_bytes

    def response_start(self, status: int, _headers: Headers) -> None:
        """Note the answer's status."""
        self.status = status

    def response_chunk(self, data: bytes) -> None:
        """Count a piece of the answer's body."""
        self.response_size += len(data)

    def response_gap(self, n_bytes: int) -> None:
        """Count bytes of the answer's body that passed unseen."""
        self.response_size += n_bytes

    def finish(self, ended: float, *, aborted: bool = False) -> None:  # noqa: ARG002 - as of an exchange
        """Note when the last byte was seen."""
        self.ended = ended

    def passed(self) -> Passed:
        """What is left of it when it is over."""
        return (
            self.method,
            self.path,
            self.status,
            self.started,
            self.ended,
            self.request_size,
            self.response_size,
        )
