"""The data plane's plain counts, carried over to the metrics at each scrape."""

from __future__ import annotations

from exporter.http.http1.states import UNOBSERVED_REASONS
from exporter.metrics.instruments import Instruments
from exporter.metrics.totals import Totals
from exporter.receivers.proxy.capture_log_reader import CaptureLogReader
from exporter.receivers.proxy.upstream import UPSTREAM_FAILURES
from exporter.sidecar.messages import Report


class ProxyMetrics:
    """Publishes what the proxy and the reader of its capture log have counted.

    What they count only ever grows, but for the connections open now.
    """

    def __init__(self, instruments: Instruments, reader: CaptureLogReader) -> None:
        self._instruments = instruments
        self._reader = reader
        self._totals = Totals()

    def publish(self, report: Report) -> None:
        """Advance each counter by what was added since the last scrape."""
        instruments, carry = self._instruments, self._totals.carry
        reader, stats = self._reader, report.stats
        instruments["inference_exporter_upstream_up"].set(1 if stats.upstream_up else 0)
        instruments["inference_exporter_proxy_connections"].set(stats.open)
        carry(instruments["inference_exporter_proxy_connections_total"], stats.opened)
        carry(instruments.errors["proxy"], reader.failures + stats.tap_failures)
        failures = instruments["inference_exporter_proxy_upstream_failures_total"]
        for reason in UPSTREAM_FAILURES:
            seen_by_reader = reader.observer.cut_off if reason == "closed_early" else 0
            carry(failures.labels(reason), stats.upstream_failures[reason] + seen_by_reader)
        unobserved = instruments["inference_exporter_proxy_unobserved_total"]
        for reason in UNOBSERVED_REASONS:
            abandoned = report.abandoned if reason == "failed" else 0
            carry(unobserved.labels(reason), reader.unobserved[reason] + abandoned)
