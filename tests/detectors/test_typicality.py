"""How many atypical observations there are without drift: an exact law, held against scipy and against streams."""

from __future__ import annotations

import numpy as np
import pytest

from exporter.detectors.mmd.typicality import ATYPICAL_RANK, atypical_bound, atypical_p_value
from exporter.errors import ConfigError

betabinom = pytest.importorskip("scipy.stats").betabinom


@pytest.mark.parametrize("reference_rows", [5, 20, 200, 2000])
@pytest.mark.parametrize("tested", [1, 7, 1000])
def test_p_values_are_those_of_the_beta_binomial_law(tested: int, reference_rows: int) -> None:
    mass = betabinom(tested, 5, reference_rows - 4).pmf(np.arange(tested + 1))
    for atypical in sorted({0, 1, tested // 100, tested // 2, tested}):
        expected = mass[atypical:].sum()
        assert atypical_p_value(atypical, tested, reference_rows) == pytest.approx(
            expected, rel=1e-8, abs=1e-300
        )


def test_p_values_of_a_year_are_found_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = betabinom(1_500_000, 5, 996).sf(8999)
    assert atypical_p_value(9000, 1_500_000, 1000) == pytest.approx(expected, rel=1e-6)
    monkeypatch.setattr("exporter.detectors.mmd.typicality._STEP", 1000)
    assert atypical_p_value(9000, 1_500_000, 1000) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ((0, 0, 100), "tested"),
        ((3, 2, 100), "atypical"),
        ((-1, 2, 100), "atypical"),
        ((1, 2, 4), "reference_rows"),
    ],
)
def test_counts_that_cannot_be_are_refused(given: tuple[int, int, int], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        atypical_p_value(*given)


def witnesses(x: np.ndarray, reference: np.ndarray) -> np.ndarray:
    distance = ((x[:, None, :] - reference[None, :, :]) ** 2).sum(axis=2)
    return np.exp(-distance / 8.0).mean(axis=1)


@pytest.mark.parametrize("heavy", [False, True])
def test_without_drift_the_count_follows_the_law_whatever_the_distribution(heavy: bool) -> None:
    """Its mean and its spread over references, that of an order statistic, which no Poisson count has."""
    rng = np.random.default_rng(1)
    counts = []
    for _ in range(300):
        x = rng.standard_t(2, size=(300, 3)) if heavy else rng.normal(size=(300, 3))
        bound = atypical_bound(witnesses(x[:100], x[:100]))
        counts.append(np.count_nonzero(witnesses(x[100:], x[:100]) < bound))
    law = betabinom(200, ATYPICAL_RANK, 96)
    assert np.mean(counts) == pytest.approx(law.mean(), rel=0.12)
    assert np.std(counts) == pytest.approx(law.std(), rel=0.15)
    assert np.std(counts) > 1.2 * np.sqrt(np.mean(counts))


def test_a_rows_own_share_does_not_make_it_typical() -> None:
    x = np.random.default_rng(2).normal(size=(50, 3))
    own = witnesses(x, x)
    without = np.array([witnesses(x[n : n + 1], np.delete(x, n, axis=0))[0] for n in range(50)])
    assert atypical_bound(own) == pytest.approx(np.sort(without)[4], rel=1e-12)
    assert atypical_bound(own) < np.sort(own)[4]
