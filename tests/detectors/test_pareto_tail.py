from __future__ import annotations

import numpy as np
import pytest

from exporter.detectors.mmd.pareto_tail import Tail, fit_generalised_pareto, log_survival


def pareto(shape: float, scale: float, n: int, seed: int) -> np.ndarray:
    u = np.random.default_rng(seed).uniform(size=n)
    return np.sort(-scale * np.log(u) if shape == 0 else scale * (u**-shape - 1.0) / shape)


@pytest.mark.parametrize("shape", [-0.3, -0.1, 0.0, 0.2, 0.5])
def test_shape_and_scale_are_found(shape: float) -> None:
    estimates = np.array([fit_generalised_pareto(pareto(shape, 2.0, 2000, s)) for s in range(20)])
    assert estimates[:, 0].mean() == pytest.approx(shape, abs=0.03)
    assert estimates[:, 1].mean() == pytest.approx(2.0, rel=0.05)


def test_quantiles_far_beyond_the_sample_are_close() -> None:
    sample = np.random.default_rng(0).standard_exponential(20_000)
    tail = Tail.fit(sample)
    assert tail.fits
    for survival in (0.5, 0.05, 1e-3, 1e-6):
        assert tail.quantile(survival) == pytest.approx(-np.log(survival), rel=0.12)


@pytest.mark.parametrize("survival", [0.3, 0.03, 1e-3, 1e-5])
def test_the_error_of_a_quantile_is_known(survival: float) -> None:
    """Over many samples of an exponential distribution, whose log-survival is minus the quantile."""
    rng = np.random.default_rng(3)
    tails = [Tail.fit(rng.standard_exponential(3000)) for _ in range(200)]
    spread = np.std([tail.quantile(survival) for tail in tails])
    # The estimate of the shape leans towards 0, and is better than maximum likelihood for it.
    assert 0.7 < spread / np.mean([tail.log_error(survival) for tail in tails]) < 1.15


def test_log_survival_inverts_the_quantile() -> None:
    tail = Tail.fit(np.random.default_rng(1).gumbel(size=5000))
    for survival in (0.3, 0.02, 1e-5):
        value = np.array([tail.quantile(survival)])
        assert tail.log_survival(value)[0] == pytest.approx(np.log(survival), rel=0.01)


def test_a_tail_that_does_not_fit_is_said_so_and_counted_instead() -> None:
    rng = np.random.default_rng(2)
    sample = np.concatenate([rng.uniform(0, 1, 9000), rng.choice([5.0, 9.0], 1000)])
    tail = Tail.fit(sample)
    assert not tail.fits
    assert tail.quantile(0.02) == 9.0


@pytest.mark.parametrize("values", [np.ones(100), np.r_[np.zeros(99), 1.0], np.repeat([0.0, 1.0], 50)])
def test_ties_are_no_trouble(values: np.ndarray) -> None:
    tail = Tail.fit(values)
    assert np.isfinite(tail.quantile(0.5))
    assert np.isfinite(tail.quantile(1e-9))
    assert (tail.log_survival(np.array([-1.0, 0.5, 2.0])) <= 1e-12).all()


def test_nothing_exceeds_the_end_of_a_bounded_tail() -> None:
    assert log_survival(np.array([3.0]), -0.5, 1.0)[0] == -700.0
