"""The one place that touches what is private to prometheus-client.

It has no public way to the numbers of a histogram, nor to the series of an instrument; a release of it
that moves them breaks this file and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Counter, Gauge, Histogram, Summary


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
