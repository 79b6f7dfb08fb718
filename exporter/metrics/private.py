"""The one place that touches what is private to prometheus-client.

It has no public way to the numbers of a histogram, nor to the series of an instrument; a release of it
that moves them breaks this file and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, Summary
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector


def observe_all(histogram: Histogram, amounts: Sequence[float] | NDArray[np.float64]) -> None:
    """Do what ``histogram.observe`` does for each of ``amounts``, which are finite, on one of its series.

    The counts are the same; the sum is added to once, so that its last bits may differ. ``observe``
    takes two locks and a walk over the bounds for each value: on a stream of thousands a second that is
    time with the interpreter lock held, taken from the service's own event loop.
    """
    values = np.asarray(amounts, dtype=np.float64)
    if not values.size:
        return
    histogram._sum.inc(float(values.sum()))
    counts = np.bincount(_bounds(tuple(histogram._upper_bounds)).searchsorted(values))
    for index, n in enumerate(counts.tolist()):
        if n:
            histogram._buckets[index].inc(n)


@lru_cache(maxsize=64)
def _bounds(upper: tuple[float, ...]) -> NDArray[np.float64]:
    return np.array(upper)


def numbers(series: Any) -> list[tuple[str | int, Any]]:
    """Every number of one series, each with ``get`` and ``inc``: a bucket by its place, others by a word.

    Raises
    ------
    TypeError
        If it is not a counter, gauge, histogram or summary.
    """
    if isinstance(series, Counter | Gauge):
        return [("value", series._value)]
    if isinstance(series, Histogram):
        return [("sum", series._sum), *enumerate(series._buckets)]
    if isinstance(series, Summary):
        return [("sum", series._sum), ("count", series._count)]
    raise TypeError(f"{type(series).__name__} is no instrument of ours")


def series_of(instrument: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every series of an instrument, with the values of its labels; one that has no labels is its own."""
    if not instrument._labelnames:
        yield (), instrument
        return
    # A copy: another thread may add one.
    yield from instrument._metrics.copy().items()


def series_with_buckets(histogram: Histogram, labels: Sequence[str], buckets: Sequence[float]) -> Histogram:
    """One series of a histogram, made with bounds of its own if any are given, unless it is there already."""
    if buckets:
        with histogram._lock:
            if tuple(labels) not in histogram._metrics:
                series: Any = Histogram(
                    histogram._name,
                    histogram._documentation,
                    labelnames=histogram._labelnames,
                    registry=None,
                    buckets=buckets,
                    _labelvalues=labels,
                )
                histogram._metrics[tuple(labels)] = series
    found: Histogram = histogram.labels(*labels)
    return found


def standing(registry: CollectorRegistry, metrics: Iterable[Metric]) -> dict[str, Collector]:
    """What a registry holds under names that ``metrics`` would take: the collector of each name."""

    class Describing:
        def describe(self) -> Iterable[Metric]:
            return metrics

    names = registry._get_names(Describing())
    with registry._lock:
        held = registry._names_to_collectors
        return {name: held[name] for name in names if name in held}


def described(collector: Collector) -> str:
    """A collector in words: its type, labels and help, or its class."""
    if not isinstance(collector, Counter | Gauge | Histogram | Summary):
        return f"from a {type(collector).__name__}"
    labels = f"labels {', '.join(collector._labelnames)}" if collector._labelnames else "no labels"
    return f"a {collector._type} with {labels} ({collector._documentation!r})"


def reads_shared_files(registry: CollectorRegistry) -> bool:
    """Whether a registry shows what processes share in a folder."""
    with registry._lock:
        return any(isinstance(each, MultiProcessCollector) for each in registry._collector_to_names)
