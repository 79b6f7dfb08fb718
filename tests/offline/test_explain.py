"""Delays by simulation, and durations in words."""

from __future__ import annotations

import numpy as np
import pytest

from exporter.detectors import OnlineMMD
from exporter.offline.explain import Rate, in_words, simulate_delays


@pytest.fixture(scope="module")
def reference() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(300, 4)) * [1.0, 2.0, 3.0, 4.0]


@pytest.fixture(scope="module")
def detector(reference: np.ndarray) -> OnlineMMD:
    return OnlineMMD.fit(reference, window=20, expected_run_length=500, seed=0)


def measured_delay(detector: OnlineMMD, shift: np.ndarray) -> float:
    """Median delay on new observations of the same population."""
    rng = np.random.default_rng(9)
    waits = []
    for _ in range(100):
        x = rng.normal(size=(220, 4)) * [1.0, 2.0, 3.0, 4.0]
        x[20:] += shift
        detector.reset()
        above = np.flatnonzero(detector.update(x).is_drift[20:])
        waits.append(above[0] + 1 if above.size else np.inf)
    return float(np.median(waits))


def test_simulated_delays_are_those_of_new_observations(detector: OnlineMMD, reference: np.ndarray) -> None:
    delays = simulate_delays(detector, reference, shifts=(0.5, 1.0), runs=100)
    found = {(delay.direction, delay.shift): delay.median for delay in delays}
    std = reference.std(axis=0)
    for shift in (0.5, 1.0):
        assert found["all dimensions", shift] == pytest.approx(
            measured_delay(detector, shift * std), rel=0.25
        )
    one = np.array([0.0, 0.0, 0.0, std[3]])
    assert found["one dimension", 1.0] == pytest.approx(measured_delay(detector, one), rel=0.35)


def test_larger_shifts_are_seen_sooner(detector: OnlineMMD, reference: np.ndarray) -> None:
    delays = simulate_delays(detector, reference, shifts=(0.01, 1.0, 3.0), directions=("all dimensions",))
    assert delays[0].seen < 0.75
    assert delays[1].median is not None
    assert delays[2].median is not None
    assert delays[2].median < delays[1].median
    assert delays[2].seen == 1.0


def test_without_a_shift_it_is_as_quiet_as_calibrated(detector: OnlineMMD, reference: np.ndarray) -> None:
    # Waits of mean 500, cut off after 200 tests: a third of the streams should raise an alarm. Rows that
    # counted as their own neighbours would make it half of that.
    (quiet,) = simulate_delays(detector, reference, shifts=(0.0,), directions=("all dimensions",), runs=300)
    assert 0.18 < quiet.seen < 0.5


def test_the_main_direction_is_the_first_principal_axis(detector: OnlineMMD, reference: np.ndarray) -> None:
    shifts = {"shifts": (1.0,), "runs": 40}
    (main,) = simulate_delays(detector, reference, directions=("main direction",), **shifts)
    (one,) = simulate_delays(detector, reference, directions=("one dimension",), **shifts)
    assert main.median == pytest.approx(one.median, rel=0.4)  # independent dimensions: the axis is the widest


def test_rates(detector: OnlineMMD) -> None:
    rate = Rate.of(detector, 5.0)
    assert rate.seconds_between == 100.0
    assert rate.per_month == pytest.approx(25_920)
    assert rate.window_seconds == (4.0,)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0123, "0.012 seconds"),
        (1, "1 second"),
        (2.5, "2.5 seconds"),
        (59.7, "1 minute"),
        (100, "1 minute 40 seconds"),
        (600, "10 minutes"),
        (3600, "1 hour"),
        (9999, "2 hours 46 minutes"),
        (86_400, "1 day"),
        (604_800, "7 days"),
        (90_000, "1 day 1 hour"),
        (3e7, "347 days"),
        (1e9, "31.7 years"),
    ],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
