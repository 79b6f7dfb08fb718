"""The data plane's plain counts, carried over to the metrics at each scrape."""

from __future__ import annotations

from typing import Any

from exporter.capture.http1 import KINDS
from exporter.capture.observer import LogObserver
from exporter.capture.plane.limits import UPSTREAM_FAILURES, ProxyStats
from exporter.instruments import Instruments


class PlaneMetrics:
    """Publishes what the proxy and the observer have counted.

    Parameters
    ----------
    stats, observer
        Whose counts they are; both only ever grow, but for the connections open now.
    """

    def __init__(self, instruments: Instruments, stats: ProxyStats, observer: LogObserver) -> None:
        self._stats = stats
        self._observer = observer
        self._up = instruments["inference_exporter_upstream_up"]
        self._open = instruments["inference_exporter_proxy_connections"]
        self._opened = instruments["inference_exporter_proxy_connections_total"]
        self._errors = instruments.errors["proxy"]
        failures = instruments["inference_exporter_proxy_upstream_failures_total"]
        self._failures = {kind: failures.labels(kind) for kind in UPSTREAM_FAILURES}
        unobserved = instruments["inference_exporter_proxy_unobserved_total"]
        self._unobserved = {kind: unobserved.labels(kind) for kind in KINDS}
        self._published: dict[Any, int] = {}

    def publish(self) -> None:
        """Advance each counter by what was added since the last scrape."""
        stats, observer = self._stats, self._observer
        self._up.set(1 if stats.upstream_up else 0)
        self._open.set(stats.open)
        self._advance(self._opened, stats.opened)
        self._advance(self._errors, stats.tap_failures + observer.failures)
        for kind, counter in self._failures.items():
            self._advance(counter, stats.upstream_failures[kind])
        for kind, counter in self._unobserved.items():
            self._advance(counter, observer.unfollowed[kind])

    def _advance(self, counter: Any, total: int) -> None:
        counter.inc(total - self._published.get(counter, 0))
        self._published[counter] = total
