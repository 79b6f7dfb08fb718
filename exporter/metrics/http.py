"""The HTTP metrics of the sidecar, under the names and labels of prometheus-fastapi-instrumentator.

Every exchange on every path is counted here, tens of thousands a second, so the counts are plain
numbers that are put into Prometheus's form at a scrape. (The sidecar is one process: what makes
this impossible for the hook, several processes that share their values, does not occur.)
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate
from operator import add

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, SummaryMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from exporter.http.exchange import Exchange
from exporter.http.http1.transactions import ExchangeSummary
from exporter.http.paths import PathMatcher
from exporter.metrics.contract import HTTP, HTTP_DURATION_BUCKETS, HTTP_DURATION_HIGHR_BUCKETS, method_label

_NO_HANDLER = "none"
# One look in the bounds of both histograms is less than one in each.
_BOUNDS = tuple(sorted({*HTTP_DURATION_BUCKETS, *HTTP_DURATION_HIGHR_BUCKETS}))
_MAX_SEEN = 1024
_MAX_SEEN_LENGTH = 1024


@dataclass(slots=True)
class _Route:
    """What is counted of one handler and method."""

    durations: list[int] = field(default_factory=lambda: [0] * (len(_BOUNDS) + 1))
    seconds: float = 0.0
    statuses: list[int] = field(default_factory=lambda: [0] * 10)  # by their hundreds
    request_bytes: int = 0
    response_bytes: int = 0

    def buckets(self, bounds: tuple[float, ...]) -> list[tuple[str, float]]:
        """The durations as a histogram with some of the bounds."""
        upto = list(accumulate(self.durations))
        buckets = [(floatToGoString(bound), float(upto[_BOUNDS.index(bound)])) for bound in bounds]
        return [*buckets, ("+Inf", float(upto[-1]))]


class HttpMetrics(Collector):
    """Counts exchanges, in batches. The handler is the pattern of ``capture.paths`` that the path matched, or
    ``none``: a path itself is never a label."""

    def __init__(self, match: PathMatcher, registry: CollectorRegistry) -> None:
        self._match = match
        self._lock = threading.Lock()
        self._routes: defaultdict[tuple[str, str], _Route] = defaultdict(_Route)
        self._seen: dict[tuple[str, str], _Route] = {}
        registry.register(self)

    @property
    def match(self) -> PathMatcher:
        """From a path to its pattern; may be replaced at any time."""
        return self._match

    @match.setter
    def match(self, match: PathMatcher) -> None:
        with self._lock:
            self._match = match
            self._seen.clear()

    def observe(self, exchanges: Iterable[Exchange]) -> None:
        """Count exchanges that were read."""
        rows = [
            (e.method, e.path, e.status, e.started, e.ended, e.request_size, e.response_size)
            for e in exchanges
        ]
        self.count(rows)

    def count(self, summaries: Iterable[ExchangeSummary]) -> None:
        """Count exchanges, and those that were broken off under the status that says by whom."""
        seen, bounds = self._seen, _BOUNDS
        with self._lock:
            for method, path, status, started, ended, request_size, response_size in summaries:
                route = seen.get((path, method)) or self._route(path, method)
                seconds = ended - started
                route.durations[bisect_left(bounds, seconds)] += 1
                route.seconds += seconds
                route.statuses[status // 100 if status < 1000 else 9] += 1
                route.request_bytes += request_size
                route.response_bytes += response_size

    def _route(self, path: str, method: str) -> _Route:
        """Where an exchange is counted, remembered for the next one like it."""
        handler = self._match(path) or _NO_HANDLER
        route = self._routes[handler, method_label(method)]
        if len(path) + len(method) <= _MAX_SEEN_LENGTH:
            if len(self._seen) >= _MAX_SEEN:
                self._seen.clear()
            self._seen[path, method] = route
        return route

    def collect(self) -> Iterable[Metric]:
        """What a scrape reads, all of it as of one instant."""
        by_status, by_handler, highr, request, response = HTTP
        requests = CounterMetricFamily(by_status.name, by_status.help, labels=by_status.labels)
        durations = HistogramMetricFamily(by_handler.name, by_handler.help, labels=by_handler.labels)
        all_durations = HistogramMetricFamily(highr.name, highr.help, labels=())
        request_size = SummaryMetricFamily(request.name, request.help, labels=request.labels)
        response_size = SummaryMetricFamily(response.name, response.help, labels=response.labels)
        with self._lock:
            everything = _Route()
            sizes: dict[str, list[int]] = {}
            for (handler, method), route in self._routes.items():
                for hundreds, n in enumerate(route.statuses):
                    if n:
                        requests.add_metric([handler, method, f"{hundreds}xx"], n)
                buckets = route.buckets(HTTP_DURATION_BUCKETS)
                durations.add_metric([handler, method], buckets, route.seconds)
                everything.durations = list(map(add, everything.durations, route.durations))
                everything.seconds += route.seconds
                size = sizes.setdefault(handler, [0, 0, 0])
                size[0] += sum(route.statuses)
                size[1] += route.request_bytes
                size[2] += route.response_bytes
            all_durations.add_metric([], everything.buckets(HTTP_DURATION_HIGHR_BUCKETS), everything.seconds)
        for handler, (n, request_bytes, response_bytes) in sizes.items():
            request_size.add_metric([handler], n, request_bytes)
            response_size.add_metric([handler], n, response_bytes)
        return [requests, durations, all_durations, request_size, response_size]

    def describe(self) -> Iterable[Metric]:
        """The families, so that the registry can tell when a name is taken."""
        return self.collect()
