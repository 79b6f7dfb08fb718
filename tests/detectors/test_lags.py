from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.detectors.mmd.lags import (
    APART,
    Factors,
    FarPairs,
    LagSums,
    inflation,
    lag_sums,
    positive_sequence,
    series_sums,
)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9), st.integers(1, 6), st.integers(0, 9), st.integers(1, 12), st.integers(0, 99))
def test_kernel_values_are_summed_by_lag(past: int, b: int, known: int, reach: int, seed: int) -> None:
    kernel = np.random.default_rng(seed).random((b, past + b))
    expected = np.zeros(reach)
    for i in range(b):
        for lag in range(1, reach + 1):
            column = past + i - lag
            if column >= past - min(known, past):
                expected[lag - 1] += kernel[i, column]
    np.testing.assert_allclose(lag_sums(kernel, past, known, reach), expected, rtol=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 60), st.integers(1, 40), st.sampled_from([2, 3, 7, 12, 50]), st.integers(0, 99))
def test_a_segment_comes_to_what_its_pairs_come_to(before: int, n: int, widest: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    series, witness, a = rng.normal(size=(before + n, 3)), rng.random(before + n), 0.3
    found = series_sums(series, witness, before, widest, a)
    expected = LagSums.zero(widest)
    for t in range(before, before + n):
        for s in range(t + 1):
            lag, product = t - s, float(series[t] @ series[s])
            if lag < widest:
                expected.products[lag] += product
                expected.product_pairs[lag] += 1
                if lag:
                    expected.near[lag - 1] += a - witness[t] - witness[s]
                    expected.near_pairs[lag - 1] += 1
            if APART[0] * widest <= lag < APART[1] * widest:
                expected.far[2:] += product, 1
    expected.rows[:] = n, witness[before:].sum()
    np.testing.assert_allclose(found.flat(), expected.flat(), rtol=1e-9, atol=1e-9)


def test_far_pairs_are_those_four_to_five_windows_apart_however_they_come() -> None:
    rng = np.random.default_rng(0)
    z, widest, a = rng.normal(size=(400, 3)).astype(np.float32), 10, 0.4
    about = np.stack([np.arange(400.0), (z.astype(np.float64) ** 2).sum(axis=1), rng.random(400)], axis=1)
    expected = number = 0.0
    some = range(0, 400, FarPairs(widest, 3).every)
    for i in some:
        for j in some:
            if APART[0] * widest <= i - j < APART[1] * widest:
                distance = ((z[i].astype(np.float64) - z[j]) ** 2).sum()
                expected += np.exp(-distance) + a - about[i, 2] - about[j, 2]
                number += 1
    for size in (1, 64):
        pairs, found = FarPairs(widest, 3), np.zeros(2)
        for start in range(0, 400, size):
            part = np.arange(start, min(start + size, 400))
            part = part[part % pairs.every == 0]
            if part.size:
                found += pairs.push(z[part], about[part], a)
        assert found[1] == number
        assert found[0] == pytest.approx(expected, abs=1e-4)


def test_the_sequence_ends_where_two_neighbours_cancel() -> None:
    assert positive_sequence(np.array([0.5, 0.2, 0.1, -0.2, 0.9])).tolist() == [0.5, 0.2]
    assert positive_sequence(np.array([-0.5, 0.2])).size == 0
    assert positive_sequence(np.array([0.5, 0.2, 0.1])).size == 3


def test_inflation_is_that_of_the_variance_of_a_mean() -> None:
    rho = 0.8 ** np.arange(1, 100)
    distance = np.abs(np.arange(20)[:, None] - np.arange(20))
    assert inflation(rho, 20) == pytest.approx((0.8**distance).sum() / 20)
    assert inflation(-rho, 20) == 1.0


def test_too_few_rows_say_nothing_and_constant_ones_say_so() -> None:
    assert Factors.of(LagSums.zero(50), (50,), 0.4, 0.1) is None
    sums = LagSums.zero(50)
    sums.near[:], sums.near_pairs[:] = 100.0, 100.0
    sums.products[:], sums.product_pairs[:] = 7.0, 1.0
    sums.rows[:] = 100.0, 0.0
    found = Factors.of(sums, (50,), 0.0, 0.1)
    assert found is not None
    assert found.constant
    assert (found.mean, found.spread) == (1.0, 1.0)


def test_sums_of_another_window_are_refused() -> None:
    with pytest.raises(ValueError, match="sums for a window of 7"):
        LagSums.of(LagSums.zero(6).flat(), 7)
