"""Sampling in time: the rate is never exceeded, neighbours are taken apart, clocks may go back."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.drift.sampling import RateSampler


def admitted(rate: float | None, times: list[float]) -> list[float]:
    sampler = RateSampler(rate)
    return [time for time in times if sampler.admits(time)]


def test_without_a_rate_everything_passes():
    assert admitted(None, [0.0, 0.0, -5.0]) == [0.0, 0.0, -5.0]


@given(
    st.lists(st.floats(0, 100, allow_nan=False), min_size=1, max_size=200).map(sorted),
    st.sampled_from([0.1, 1.0, 5.0, 20.0, 1000.0]),
)
def test_the_rate_is_never_exceeded(times: list[float], rate: float):
    admitted_times = admitted(rate, times)
    assert admitted_times[0] == times[0]
    assert len(admitted_times) <= (admitted_times[-1] - admitted_times[0]) * rate + 1.5 + 1e-6
    assert all(b - a >= 0.5 / rate * (1 - 1e-9) for a, b in pairwise(admitted_times))


def test_a_burst_of_neighbours_gives_one():
    assert admitted(5, [10.0] * 50) == [10.0]


@pytest.mark.parametrize(("frames_per_second", "rate"), [(30, 20), (30, 10), (25, 5), (60, 40), (1000, 7)])
def test_the_rate_is_kept_up_where_the_stream_comes_in_steps(frames_per_second: int, rate: int):
    seconds = 100
    admitted_times = admitted(rate, [n / frames_per_second for n in range(frames_per_second * seconds)])
    assert len(admitted_times) == pytest.approx(rate * seconds, rel=0.01)


def test_after_a_pause_it_goes_on_evenly():
    times = [0.0, *(1000 + n / 100 for n in range(100))]
    admitted_times = admitted(10, times)
    assert admitted_times[:2] == [0.0, 1000.0]
    assert all(b - a >= 0.05 for a, b in pairwise(admitted_times))


@pytest.mark.parametrize("back", [5.0, 3600.0, 86400.0 * 365])
def test_a_clock_that_is_set_back_does_not_silence_the_test(back: float):
    sampler = RateSampler(2)
    now = 1_700_000_000.0
    assert sampler.admits(now)
    assert sampler.admits(now - back)
    assert not sampler.admits(now - back + 0.1)
    assert sampler.admits(now - back + 0.5)


def test_observations_that_overtake_each_other_do_not_raise_the_rate():
    times = [n / 1000 - (0.2 if n % 2 else 0.0) for n in range(10_000)]
    assert len(admitted(5, times)) <= 52
