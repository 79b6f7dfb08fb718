from __future__ import annotations

import numpy as np

from exporter.detectors.mmd.simulation import simulate
from tests.detectors import direct


def test_on_average_nothing_is_seen_and_the_spread_is_that_of_independent_streams() -> None:
    """Over many references, runs of reference rows behave like independent streams against them."""
    rng = np.random.default_rng(0)
    simulated, independent = [], []
    for _ in range(150):
        x = rng.normal(size=(60, 2))
        k = direct.kernel(x, x, 1.5).astype(np.float32)
        simulated.append(simulate(k, (10,), 20, 20, rng).spaced[:, 0])
        y = rng.normal(size=(10, 2))
        independent.append(direct.squared_mmd(x, y, 1.5))
    assert abs(np.concatenate(simulated).mean()) < 0.1 * np.std(independent)
    # The standard error of a ratio of spreads from 150 references is about 0.1.
    assert 0.75 < np.concatenate(simulated).std() / np.std(independent) < 1.3


def test_statistics_are_those_of_the_definition() -> None:
    """A window's mean embedding, moved to its variance in operation, less an error of the reference's."""
    x = np.random.default_rng(1).normal(size=(80, 3))
    k = direct.kernel(x, x, 1.5)
    windows, n = (4, 9), 80
    runs = simulate(k.astype(np.float32), windows, 24, 30, np.random.default_rng(2))
    signs = np.random.default_rng(2).choice(np.array([-1.0, 1.0], dtype=np.float32), size=(n, 256))
    signs = signs.astype(np.float64) - signs.mean(axis=0, dtype=np.float64)
    a, without_self = direct.mean_off_diagonal(k), k - np.eye(n)
    for column, w in enumerate(windows):
        for run in range(30):
            members = runs.rows[run, (runs.peaks[run, column] - np.arange(w)) % 24]
            inner = k[np.ix_(members, members)]
            biased = k.mean() + inner.mean() - 2.0 * k[members].mean()
            along = without_self @ signs[:, run] / n
            expected = (
                n / (n - w) * biased
                - 2.0 * np.sqrt(n / (n - w)) * (along[members].mean() - along.mean())
                + signs[:, run] @ k @ signs[:, run] / n**2
                - (1.0 - direct.mean_off_diagonal(inner)) / w
                - (1.0 - a) / n
            )
            assert abs(runs.maxima[run, column] - expected) < 2e-5


def test_rows_in_a_run_are_different_and_all_rows_are_used() -> None:
    k = np.eye(50, dtype=np.float32)
    runs = simulate(k, (5,), 12, 400, np.random.default_rng(2))
    assert all(np.unique(row).size == 12 for row in runs.rows)
    counts = np.bincount(runs.rows.ravel(), minlength=50)
    assert counts.min() > 0.6 * counts.mean()


def test_progress_is_reported_to_the_end() -> None:
    seen: list[float] = []
    k = np.eye(50, dtype=np.float32)
    simulate(k, (5,), 12, 4000, np.random.default_rng(3), seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
