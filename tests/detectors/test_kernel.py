from __future__ import annotations

import numpy as np
import pytest

from exporter.detectors.mmd.kernel import Scaling, kernel_matrix, median_bandwidth
from tests.detectors import direct


def test_the_bandwidth_is_the_median_heuristic() -> None:
    x = np.random.default_rng(0).normal(size=(200, 5))
    distance = ((x[:, None] - x[None]) ** 2).sum(axis=2)[np.triu_indices(200, 1)]
    assert median_bandwidth(x, np.random.default_rng(0)) == pytest.approx(np.sqrt(np.median(distance) / 2))


def test_many_rows_are_sampled() -> None:
    x = np.random.default_rng(1).normal(size=(5000, 5))
    assert median_bandwidth(x, np.random.default_rng(0)) == pytest.approx(2.09, rel=0.05)


def test_coinciding_rows_do_not_make_the_bandwidth_zero() -> None:
    x = np.zeros((100, 2))
    x[:20] = np.random.default_rng(2).normal(size=(20, 2))
    assert 0.3 < median_bandwidth(x, np.random.default_rng(0)) < 3.0


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_the_scale_does_not_overflow(scale: float) -> None:
    x = np.random.default_rng(3).normal(size=(100, 3))
    one = median_bandwidth(x, np.random.default_rng(0))
    assert median_bandwidth(x * scale, np.random.default_rng(0)) == pytest.approx(one * scale)


def test_kernel_values_are_those_of_the_definition() -> None:
    x = np.random.default_rng(4).normal(size=(50, 3)) + 1000.0
    rows = Scaling(x.mean(axis=0), 1.0 / (1.5 * np.sqrt(2.0))).apply(x)
    found = kernel_matrix(rows.z, rows.squared_norm, chunk=16)
    np.testing.assert_allclose(found, direct.kernel(x, x, 1.5), rtol=0, atol=1e-6)
    assert (found.diagonal() == 1.0).all()
