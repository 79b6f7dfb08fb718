from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from exporter.detectors.mmd.simulation import _Circles, _draw_errors, _draw_rows, _Kernel, simulate
from tests.detectors import direct


def operational_std(kernel: NDArray[np.floating], n: int, w: int) -> float:
    """Of the statistic of a window of ``w`` against a reference of ``n``, independent as both are.

    By Hoeffding: the three parts of the statistic are uncorrelated, and each is a mean of centred kernel
    values. ``kernel`` is that of a large sample of the population.
    """
    m = len(kernel)
    off = kernel - np.eye(m)
    means = off.sum(axis=1) / (m - 1)
    centred = off - means[:, None] - means + means.mean()
    np.fill_diagonal(centred, 0.0)
    square = float((centred**2).sum() / (m * (m - 1)))
    return float(np.sqrt(square * (2.0 / (w * (w - 1)) + 4.0 / (w * n) + 2.0 / (n * (n - 1)))))


def gaussian_kernel(rng: np.random.Generator, n: int, d: int) -> NDArray[np.float32]:
    """(n, n) kernel values of standard Gaussian rows, at half the mean squared distance."""
    x = rng.normal(size=(n, d))
    squared = (x**2).sum(axis=1)
    values = np.exp(np.minimum(2.0 * x @ x.T - squared[:, None] - squared, 0.0) / (2.0 * d))
    np.fill_diagonal(values, 1.0)
    return values.astype(np.float32)


@pytest.mark.parametrize(("d", "n"), [(2, 200), (16, 200), (128, 200), (768, 300), (2048, 200), (2048, 600)])
def test_statistics_spread_as_in_operation(d: int, n: int) -> None:
    """Whatever the dimension and however small the reference: within 5 % of independent streams' spread."""
    rng, w = np.random.default_rng(d), 50
    expected = operational_std(gaussian_kernel(rng, 1500, d), n, w)
    references = 8 if d < 100 else 2
    found = [simulate(gaussian_kernel(rng, n, d), (w,), 100, 500, rng).spaced for _ in range(references)]
    assert abs(np.mean([values.std() for values in found]) / expected - 1.0) < 0.05
    assert abs(np.concatenate(found).mean()) < 0.1 * expected


def test_neighbouring_windows_are_as_alike_as_in_operation() -> None:
    """Windows that share a part u of their rows correlate by u, on a quarter of the reference too."""
    rng, w, n = np.random.default_rng(4), 20, 80
    direction = rng.normal(size=n)
    kernel = np.exp(-0.5 * (0.05 * (direction[:, None] - direction)) ** 2).astype(np.float32)
    source = _Kernel(kernel, rng)
    circles = _Circles(source, (w,), 1, 40)
    errors, moves = _draw_errors(3000)
    rows = _draw_rows(n, 40, 3000, rng)
    stats = np.concatenate(
        [
            circles.statistics(rows[i : i + 1].astype(np.int64), errors[i : i + 1], moves[i : i + 1])
            for i in range(3000)
        ]
    )[:, :, 0]
    # A kernel this wide sees the mean alone: the statistic is its square, and squares of numbers that
    # correlate by c correlate by c squared. The reference's error is common to all.
    shares = np.array([1.0, 0.75, 0.5, 0.25, 0.0])
    expected = ((shares / w + 1 / n) / (1 / w + 1 / n)) ** 2
    found = [np.corrcoef(stats[:, 0], stats[:, lag])[0, 1] for lag in (0, 5, 10, 15, 20)]
    assert np.abs(found - expected).max() < 0.07


def test_statistics_are_those_of_the_definition() -> None:
    """A window's mean embedding, moved as its circle is, less an error of the reference's."""
    x = np.random.default_rng(1).normal(size=(80, 3))
    k = direct.kernel(x, x, 1.5)
    windows, n = (4, 9), 80
    runs = simulate(k.astype(np.float32), windows, 24, 2100, np.random.default_rng(2))
    signs = np.random.default_rng(2).choice(np.array([-1.0, 1.0], dtype=np.float32), size=(n, 256))
    signs = signs.astype(np.float64) * np.sqrt(n / (n - 1))
    means = k.mean(axis=1)
    centred = k - means[:, None] - means + k.mean()
    own = np.diag(centred).copy()
    np.fill_diagonal(centred, 0.0)  # nothing shares in itself
    along = centred @ signs / n
    along -= along.mean(axis=0)
    variance = own.sum() / (n * (n - 1))
    for column, w in enumerate(windows):
        for run in (0, 7, 300, 2099):
            error, move = run % 256, (run % 256 + 1 + run // 256) % 256
            members = runs.rows[run, (runs.peaks[run, column] - np.arange(w)) % 24]
            window = direct.mean_off_diagonal(centred[np.ix_(members, members)]) + own.mean() / (n - 1)
            difference = signs[:, [error, move]] @ np.array([1.0, -1.0])
            apart = difference @ centred @ difference / n**2 + 2.0 * variance
            crossing = 2.0 * (along[members, move].mean() - along[members, error].mean())
            bias = 2.0 * variance
            assert abs(runs.maxima[run, column] - (window + crossing + apart - bias)) < 2e-5
    assert (runs.errors == np.arange(2100) % 256).all()


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


@pytest.mark.parametrize(("block", "length"), [(5, 20), (40, 40), (47, 23)])
def test_a_circle_keeps_the_order_within_blocks(block: int, length: int) -> None:
    rows = _draw_rows(6 * block, length, 60, np.random.default_rng(5), block)
    assert all(np.unique(row).size == length for row in rows)
    broken = np.diff(rows, axis=1) != 1
    assert broken.sum(axis=1).max() <= max(0, length // block - 1)
    assert (rows[:, 0] // block != rows[:, -1] // block).any() == (length > block)
    # Every row has its turn, also where a circle is a part of a block.
    assert np.unique(rows).size == 6 * block


def test_blocks_spread_as_a_dependent_stream_does() -> None:
    """Rows of 20 stretches of 50, each with a value of its own in every dimension."""
    rng, w, block, n, d = np.random.default_rng(6), 25, 50, 1000, 3

    def stretches(count: int) -> NDArray[np.floating]:
        level = rng.normal(size=(count, 1, d))
        return (0.5 * level + rng.normal(size=(count, block, d))).reshape(-1, d)

    simulated, operational = [], []
    for _ in range(12):
        x = stretches(n // block)
        k = direct.kernel(x, x, 2.0).astype(np.float32)
        simulated.append(simulate(k, (w,), block, 400, rng, block=block).spaced[:, 0])
        inside = direct.mean_off_diagonal(k.astype(np.float64))
        for window in stretches(40).reshape(40, block, d)[:, :w]:
            own = direct.mean_off_diagonal(direct.kernel(window, window, 2.0))
            operational.append(inside + own - 2.0 * direct.kernel(window, x, 2.0).mean())
    found = np.concatenate(simulated)
    # 480 windows in operation: 6 % standard error of a spread whose tail is long.
    assert abs(found.std() / np.std(operational) - 1.0) < 0.2
    assert abs(found.mean() - np.mean(operational)) < 0.2 * np.std(operational)
    # The negative control: independent resampling knows nothing of it.
    assert simulate(k, (w,), block, 400, rng).spaced.std() < 0.4 * np.std(operational)
