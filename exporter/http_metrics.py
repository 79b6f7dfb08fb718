"""The HTTP metrics of the sidecar, under the names and labels of prometheus-fastapi-instrumentator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Protocol

from exporter.capture.paths import PathMatcher
from exporter.instruments import Instruments

# Anything else a client may send as a method would be a label of its choice.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
_OTHER_METHOD = "OTHER"
_NO_HANDLER = "none"


class Answered(Protocol):
    """What is counted of an exchange."""

    method: str
    path: str
    status: int
    started: float
    ended: float
    aborted: bool

    @property
    def request_size(self) -> int:
        """Bytes of the request's body."""

    @property
    def response_size(self) -> int:
        """Bytes of the answer's body."""


class HttpMetrics:
    """Counts exchanges, in batches.

    The handler is the pattern of ``capture.paths`` that the path matched, or ``none``: a path itself
    is never a label.
    """

    def __init__(self, instruments: Instruments, match: PathMatcher) -> None:
        self.match = match
        self._requests = instruments["http_requests_total"]
        self._duration = instruments["http_request_duration_seconds"]
        self._duration_highr = instruments["http_request_duration_highr_seconds"]
        self._request_size = instruments["http_request_size_bytes"]
        self._response_size = instruments["http_response_size_bytes"]
        self._children: dict[tuple[str, str], tuple[Any, Any, Any]] = {}

    def observe(self, exchanges: Iterable[Answered]) -> None:
        """Count exchanges whose answer has begun."""
        totals: Counter[tuple[str, str, str]] = Counter()
        for exchange in exchanges:
            if exchange.status == 0:
                continue
            handler = self.match(exchange.path) or _NO_HANDLER
            method = exchange.method if exchange.method in _METHODS else _OTHER_METHOD
            totals[handler, method, f"{exchange.status // 100}xx"] += 1
            seconds = max(0.0, exchange.ended - exchange.started)
            self._duration_highr.observe(seconds)
            duration, request_size, response_size = self._of(handler, method)
            duration.observe(seconds)
            request_size.observe(exchange.request_size)
            response_size.observe(exchange.response_size)
        for labels, n in totals.items():
            self._requests.labels(*labels).inc(n)

    def _of(self, handler: str, method: str) -> tuple[Any, Any, Any]:
        children = self._children.get((handler, method))
        if children is None:
            children = (
                self._duration.labels(handler, method),
                self._request_size.labels(handler),
                self._response_size.labels(handler),
            )
            self._children[handler, method] = children
        return children
