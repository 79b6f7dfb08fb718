"""The sidecar's HTTP metrics, beside the same counts made one by one."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from exporter.http.paths import path_matcher
from exporter.metrics.contract import HTTP_DURATION_BUCKETS, HTTP_DURATION_HIGHR_BUCKETS
from exporter.metrics.http import HttpMetrics
from tests.http.conversations import Counted

METHODS = ("GET", "POST", "PROPFIND", "x" * 2000)
KNOWN = {"GET": "GET", "POST": "POST"}
PATHS = {"/predict": "/predict", "/v1/a": "/v1/*", "/v1/b": "/v1/*", "/": "none", "/" + "y" * 2000: "none"}
HIGHR = "http_request_duration_highr_seconds"
BY_HANDLER = "http_request_duration_seconds"


def counting() -> tuple[HttpMetrics, CollectorRegistry]:
    registry = CollectorRegistry()
    return HttpMetrics(path_matcher(["/predict", "/v1/*"]), registry), registry


exchanges = st.builds(
    lambda method, path, seconds, status, sizes: Counted(
        method, path, status, 100.0, 100.0 + seconds, *sizes
    ),
    st.sampled_from(METHODS),
    st.sampled_from(sorted(PATHS)),
    st.one_of(st.sampled_from([0.0, 0.5, 1.0, 7.5, 60.0]), st.floats(-1.0, 100.0)),
    st.sampled_from([101, 200, 204, 404, 499, 502, 503, 999]),
    st.tuples(st.integers(0, 10_000), st.integers(0, 10_000)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(exchanges, max_size=8), max_size=6))
def test_batches_are_counted_as_one_by_one(batches: list[list[Counted]]) -> None:
    metrics, registry = counting()
    for batch in batches:
        metrics.count(batch)
    expected: Counter[tuple[str, tuple[tuple[str, str], ...]]] = Counter()

    def count(name: str, n: float = 1, **labels: str) -> None:
        expected[name, tuple(sorted(labels.items()))] += n

    for bound in (*HTTP_DURATION_HIGHR_BUCKETS, float("inf")):
        count(f"{HIGHR}_bucket", 0, le=_le(bound))
    for name in ("count", "sum"):
        count(f"{HIGHR}_{name}", 0)
    for one in (one for batch in batches for one in batch):
        handler, method = PATHS[one.path], KNOWN.get(one.method, "OTHER")
        seconds = one.ended - one.started
        count("http_requests_total", handler=handler, method=method, status=f"{one.status // 100}xx")
        for name, n in (("request", one.request_size), ("response", one.response_size)):
            count(f"http_{name}_size_bytes_count", handler=handler)
            count(f"http_{name}_size_bytes_sum", n, handler=handler)
        for name, bounds, labels in (
            (HIGHR, HTTP_DURATION_HIGHR_BUCKETS, {}),
            (BY_HANDLER, HTTP_DURATION_BUCKETS, {"handler": handler, "method": method}),
        ):
            count(f"{name}_count", **labels)
            count(f"{name}_sum", seconds, **labels)
            first = bisect_left(bounds, seconds)
            for place, bound in enumerate((*bounds, float("inf"))):
                count(f"{name}_bucket", int(place >= first), **labels, le=_le(bound))
    found = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in registry.collect()
        for sample in family.samples
    }
    assert found == pytest.approx(dict(expected))


def _le(bound: float) -> str:
    return "+Inf" if bound == float("inf") else repr(bound)


def test_other_patterns_count_from_now_on() -> None:
    metrics, registry = counting()
    metrics.count([("GET", "/new", 200, 0.0, 1.0, 0, 0)])
    assert metrics.match("/new") is None
    metrics.match = path_matcher(["/new"])
    metrics.count([("GET", "/new", 200, 0.0, 1.0, 0, 0)] * 2)
    for handler, n in (("none", 1), ("/new", 2)):
        labels = {"handler": handler, "method": "GET", "status": "2xx"}
        assert registry.get_sample_value("http_requests_total", labels) == n


def test_paths_and_methods_of_a_client_s_choice_take_neither_labels_nor_memory() -> None:
    metrics, registry = counting()
    for i in range(3000):
        metrics.count([(f"M{i}", f"/{i}", 200, 0.0, 1.0, 0, 0), ("x" * 5000, f"/{i}", 200, 0.0, 1.0, 0, 0)])
    assert len(metrics._routes) == 1
    assert len(metrics._seen) <= 1024
    assert max(len(path) + len(method) for path, method in metrics._seen) <= 1024
    labels = {"handler": "none", "method": "OTHER", "status": "2xx"}
    assert registry.get_sample_value("http_requests_total", labels) == 6000
