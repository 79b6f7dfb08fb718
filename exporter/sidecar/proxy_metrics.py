"""The data plane's plain counts, carried over to the metrics at each scrape."""

from __future__ import annotations

from exporter.http.http1.states import UNOBSERVED_REASONS
from exporter.metrics.instruments import Instruments
from exporter.metrics.totals import Totals
from exporter.receivers.proxy.capture_log_reader import CaptureLogReader
from exporter.receivers.proxy.upstream import UPSTREAM_FAILURES
from exporter.sidecar.messages import Report


class PlaneMetrics:
    """Publishes what the proxy and the reader of its capture log have counted.

    Parameters
    ----------
    reader
        Whose counts, like those of a report, only ever grow, but for the connections open now.
    """

    def __init__(self, instruments: Instruments, reader: CaptureLogReader) -> None:
        self._reader = reader
        self._up = instruments["inference_exporter_upstream_up"]
        self._open = instruments["inference_exporter_proxy_connections"]
        self._opened = instruments["inference_exporter_proxy_connections_total"]
        self._errors = instruments.errors["proxy"]
        failures = instruments["inference_exporter_proxy_upstream_failures_total"]
        self._failures = {reason: failures.labels(reason) for reason in UPSTREAM_FAILURES}
        unobserved = instruments["inference_exporter_proxy_unobserved_total"]
        self._unobserved = {reason: unobserved.labels(reason) for reason in UNOBSERVED_REASONS}
        self._totals = Totals()

    def publish(self, report: Report | None) -> None:
        """Advance each counter by what was added since the last scrape."""
        reader = self._reader
        unobserved = dict(reader.unobserved)
        errors = reader.failures
        if report is not None:
            stats = report.stats
            self._up.set(1 if stats.upstream_up else 0)
            self._open.set(stats.open)
            self._totals.carry(self._opened, stats.opened)
            failures = stats.upstream_failures
            failures = {**failures, "closed_early": failures["closed_early"] + reader.observer.cut_off}
            for reason, counter in self._failures.items():
                self._totals.carry(counter, failures[reason])
            errors += stats.tap_failures
            unobserved["failed"] += report.abandoned
        self._totals.carry(self._errors, errors)
        for reason, counter in self._unobserved.items():
            self._totals.carry(counter, unobserved[reason])
