"""The HTTP metrics of the sidecar, under the names and labels of prometheus-fastapi-instrumentator.

Every exchange on every path is counted here, tens of thousands a second, so the counts are plain
numbers that are put into Prometheus's form at a scrape. (The sidecar is one process: what makes
this impossible for the hook, several processes that share their values, does not occur.)
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable
from typing import Protocol

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, SummaryMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from exporter.capture.paths import PathMatcher
from exporter.metrics import HTTP, HTTP_DURATION_BUCKETS, HTTP_DURATION_HIGHR_BUCKETS

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

    @property
    def request_size(self) -> int:
        """Bytes of the request's body."""

    @property
    def response_size(self) -> int:
        """Bytes of the answer's body."""


class _Durations:
    """A histogram of seconds."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds

    def cumulative(self) -> list[tuple[str, float]]:
        buckets: list[tuple[str, float]] = []
        seen = 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            seen += count
            buckets.append((floatToGoString(bound), float(seen)))
        return buckets


class _Route:
    """What is counted of one handler and method."""

    __slots__ = ("durations", "request_bytes", "response_bytes", "statuses")

    def __init__(self) -> None:
        self.durations = _Durations(HTTP_DURATION_BUCKETS)
        self.statuses = [0] * 10
        self.request_bytes = 0
        self.response_bytes = 0


class HttpMetrics(Collector):
    """Counts exchanges, in batches.

    The handler is the pattern of ``capture.paths`` that the path matched, or ``none``: a path itself
    is never a label.

    Parameters
    ----------
    match
        From a path to its pattern.
    registry
        Where the metrics appear.
    """

    def __init__(self, match: PathMatcher, registry: CollectorRegistry) -> None:
        self.match = match
        self._lock = threading.Lock()
        self._routes: dict[tuple[str, str], _Route] = {}
        self._durations = _Durations(HTTP_DURATION_HIGHR_BUCKETS)
        registry.register(self)

    def observe(self, exchanges: Iterable[Answered]) -> None:
        """Count exchanges; those whose answer never began are passed over."""
        match, routes, durations = self.match, self._routes, self._durations
        with self._lock:
            for exchange in exchanges:
                status = exchange.status
                if status == 0:
                    continue
                handler = match(exchange.path) or _NO_HANDLER
                route = routes.get((handler, exchange.method))
                if route is None:
                    method = exchange.method if exchange.method in _METHODS else _OTHER_METHOD
                    route = routes.setdefault((handler, method), _Route())
                seconds = exchange.ended - exchange.started
                durations.observe(seconds)
                route.durations.observe(seconds)
                route.statuses[min(status // 100, 9)] += 1
                route.request_bytes += exchange.request_size
                route.response_bytes += exchange.response_size

    def collect(self) -> Iterable[Metric]:
        """What a scrape reads, all of it as of one instant."""
        requests, by_handler, highr, request_size, response_size = self.describe()
        with self._lock:
            highr.add_metric([], self._durations.cumulative(), self._durations.total)
            sizes: dict[str, list[int]] = {}
            for (handler, method), route in self._routes.items():
                for hundreds, n in enumerate(route.statuses):
                    if n:
                        requests.add_metric([handler, method, f"{hundreds}xx"], n)
                by_handler.add_metric([handler, method], route.durations.cumulative(), route.durations.total)
                size = sizes.setdefault(handler, [0, 0, 0])
                size[0] += sum(route.statuses)
                size[1] += route.request_bytes
                size[2] += route.response_bytes
        for handler, (n, request_bytes, response_bytes) in sizes.items():
            request_size.add_metric([handler], n, request_bytes)
            response_size.add_metric([handler], n, response_bytes)
        return [requests, by_handler, highr, request_size, response_size]

    def describe(
        self,
    ) -> tuple[
        CounterMetricFamily,
        HistogramMetricFamily,
        HistogramMetricFamily,
        SummaryMetricFamily,
        SummaryMetricFamily,
    ]:
        """The families, empty: so that the registry can tell when a name is taken."""
        requests, by_handler, highr, request_size, response_size = HTTP
        return (
            CounterMetricFamily(requests.name, requests.help, labels=requests.labels),
            HistogramMetricFamily(by_handler.name, by_handler.help, labels=by_handler.labels),
            HistogramMetricFamily(highr.name, highr.help, labels=()),
            SummaryMetricFamily(request_size.name, request_size.help, labels=request_size.labels),
            SummaryMetricFamily(response_size.name, response_size.help, labels=response_size.labels),
        )
