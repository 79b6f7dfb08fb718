"""Episodes: one onset, and an end after two quiet windows, each test of which is below half the threshold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import exporter.drift.window_metrics
from exporter.drift.window_metrics import Episode

H = 4.0
LOUD, NEAR, QUIET = 5.0, 3.0, 1.0


def test_an_episode_ends_after_two_windows_below_half_the_threshold():
    episode = Episode(window=2)
    statistics = [QUIET, LOUD, LOUD, QUIET, QUIET, QUIET, NEAR, QUIET, QUIET, QUIET, QUIET, LOUD]
    onsets, active = [], []
    for statistic in statistics:
        onsets.append(episode.step(statistic, H))
        active.append(episode.active)
    assert [n for n, onset in enumerate(onsets) if onset] == [1, 11]
    assert [n for n, on in enumerate(active) if on] == [*range(1, 10), 11]


@given(st.integers(2, 6), st.lists(st.sampled_from([LOUD, NEAR, QUIET]), max_size=120))
def test_onsets_are_the_alarms_that_no_episode_holds(window: int, statistics: list[float]):
    """Against the rule written down once more: a run of 2 W tests, all below half the threshold."""
    episode = Episode(window)
    onsets = [n for n, statistic in enumerate(statistics) if episode.step(statistic, H)]
    expected, since = [], None
    for n, statistic in enumerate(statistics):
        if since is None and statistic > H:
            expected.append(n)
            since = n
        elif since is not None and n - since >= 2 * window:
            last = statistics[n + 1 - 2 * window : n + 1]
            since = None if all(each < H / 2 for each in last) else since
    assert onsets == expected
    assert episode.active == (since is not None)


def flickering(mean: float, seed: int, n: int = 3000, window: int = 50) -> np.ndarray:
    """The statistic of a drift that goes on: a moving average around ``mean`` thresholds, thresholds of 1."""
    noise = np.random.default_rng(seed).normal(size=n + window)
    smooth = np.convolve(noise, np.ones(window) / np.sqrt(window), mode="valid")[:n]
    return mean + 0.25 * smooth


def episodes(statistics: np.ndarray, window: int = 50) -> int:
    episode = Episode(window)
    return sum(episode.step(each, 1.0) for each in statistics.tolist())


def test_a_drift_that_goes_on_is_one_episode(monkeypatch: pytest.MonkeyPatch):
    counts = [episodes(flickering(1.2, seed)) for seed in range(10)]
    assert counts == [1] * 10
    monkeypatch.setattr(exporter.drift.window_metrics, "QUIET_RATIO", 1.0)
    monkeypatch.setattr(exporter.drift.window_metrics, "QUIET_WINDOWS", 1)
    assert np.mean([episodes(flickering(1.2, seed)) for seed in range(10)]) > 1.5, "no test of hysteresis"


def test_alarms_that_lie_apart_stay_apart():
    """As many as with the plain rule: the statistic without drift is around 0, not around half."""
    statistics = np.concatenate([flickering(0.0, 1), [1.2] * 5, flickering(0.0, 2), [1.2] * 5])
    assert episodes(statistics) == 2
