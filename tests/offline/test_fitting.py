"""What is said about a fitted detector."""

from __future__ import annotations

import numpy as np
import pytest

from exporter.detectors import OnlineMMD
from exporter.offline.fitting import null_std


def test_the_null_standard_deviation_is_the_measured_one() -> None:
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(400, 3))
    detector = OnlineMMD.fit(reference, window=(5, 20), expected_run_length=100, seed=0)
    stream = rng.normal(size=(60_000, 3))
    measured = np.nanstd(detector.update(stream).test_stat_by_window, axis=0)
    predicted = null_std(reference, detector.windows, detector.bandwidth)
    np.testing.assert_allclose(measured, predicted, rtol=0.1)


def test_it_is_that_of_a_part_of_a_large_reference() -> None:
    reference = np.random.default_rng(0).normal(size=(4000, 2))
    whole = null_std(reference[:1000], (50,), 1.0)
    assert null_std(reference, (50,), 1.0)[0] == pytest.approx(whole[0], rel=0.1)
