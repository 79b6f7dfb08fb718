"""The one place that touches what is private to prometheus-client.

It has no public way to the numbers of a histogram, nor to the series of an instrument; a release of it
that moves them breaks this file and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from prometheus_client import Counter, Gauge, Histogram, Summary


class HistogramParts(NamedTuple):
    """What a histogram (one series of it) is made of.

    ``buckets`` count the observations up to their bound and beyond the one before; ``bounds`` end with
    infinity.
    """

    sum: Any
    buckets: Sequence[Any]
    bounds: Sequence[float]


def histogram_parts(histogram: Histogram) -> HistogramParts:
    """The values of one series of a histogram, and its bounds."""
    return HistogramParts(histogram._sum, histogram._buckets, histogram._upper_bounds)


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
