"""What is noted of an exchange that nobody reads."""

from __future__ import annotations

from exporter.capture.exchange import Headers


class Passed:
    """An exchange whose headers and bodies were not wanted: what metrics of HTTP need, no more.

    ``started`` and ``ended`` are in seconds since the epoch, sizes those of the bodies in bytes; a
    status of 0 says that the answer has not begun.
    """

    __slots__ = ("aborted", "ended", "method", "path", "request_size", "response_size", "started", "status")

    request_truncated = True
    response_truncated = True

    def __init__(
        self,
        method: str,
        path: str,
        started: float,
        ended: float,
        status: int = 0,
        request_size: int = 0,
        response_size: int = 0,
    ) -> None:
        self.method = method
        self.path = path
        self.started = started
        self.ended = ended
        self.status = status
        self.request_size = request_size
        self.response_size = response_size
        self.aborted = False

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

    def finish(self, ended: float, *, aborted: bool = False) -> None:
        """Note when the last byte was seen, and whether the exchange broke off before its end."""
        self.ended = ended
        self.aborted = aborted
