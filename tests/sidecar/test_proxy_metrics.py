"""The data plane's and the reader's counts as metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from exporter.metrics.instruments import Instruments
from exporter.receivers.proxy.capture_log import CLIENT, UPSTREAM
from exporter.receivers.proxy.capture_log_reader import CaptureLogReader
from exporter.receivers.proxy.stats import ProxyStats
from exporter.receivers.proxy.upstream import UPSTREAM_FAILURES
from exporter.sidecar.messages import Report
from exporter.sidecar.proxy_metrics import ProxyMetrics

GET = b"GET /predict HTTP/1.1\r\n\r\n"
CUT_OFF = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"


def by_reason(registry: CollectorRegistry, name: str) -> dict[str, float]:
    return {
        next(iter(sample.labels.values())): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == name
    }


def test_responses_that_the_upstream_cut_off_are_failures_of_the_upstream() -> None:
    registry = CollectorRegistry()
    reader = CaptureLogReader(lambda _method, _path: True, lambda _exchanges, _summaries: None)
    metrics = ProxyMetrics(Instruments(registry, sidecar=True), reader)
    stats = ProxyStats()
    for number in range(3):
        reader.read(
            [(number, CLIENT, GET, 0.0), (number, UPSTREAM, CUT_OFF, 0.0), (number, UPSTREAM, b"", 1.0)]
        )
        stats.upstream_failures["reset"] += 2
        metrics.publish(Report(stats, 1, draining=False))
    failures = by_reason(registry, "inference_exporter_proxy_upstream_failures_total")
    assert failures == {**dict.fromkeys(UPSTREAM_FAILURES, 0), "reset": 6, "closed_early": 3}
    assert by_reason(registry, "inference_exporter_proxy_unobserved_total")["failed"] == 1
