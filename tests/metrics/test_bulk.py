"""Many observations at once count like one after the other."""

from __future__ import annotations

import numpy as np
import pytest
from prometheus_client import Histogram

from exporter.metrics.bulk import observe_all

BOUNDS = (-1.0, 0.0, 0.1, 0.5)


def samples(histogram: Histogram) -> list[tuple[str, float]]:
    (metric,) = histogram.collect()
    return [
        (f"{sample.name} {sample.labels}", sample.value)
        for sample in metric.samples
        if not sample.name.endswith("_created")
    ]


@pytest.mark.parametrize(
    "amounts",
    [
        [],
        [0.1],
        [*BOUNDS, *(np.nextafter(bound, 9.0) for bound in BOUNDS), -5.0, 1e300],
        np.random.default_rng(0).normal(size=300),
    ],
    ids=["none", "one", "at the bounds", "many"],
)
def test_the_same_is_counted(amounts: list[float]):
    one, many = (Histogram("x", "", buckets=BOUNDS, registry=None) for _ in range(2))
    for amount in amounts:
        one.observe(amount)
    observe_all(many, amounts)
    observe_all(many, [])
    assert [name for name, _ in samples(many)] == [name for name, _ in samples(one)]
    assert [value for _, value in samples(many)] == pytest.approx([value for _, value in samples(one)])
