"""Thresholds for an expected run length, from the reference alone.

Runs of reference rows are drawn without replacement, the window is slid along each, and the largest
statistic of each run is kept. For an expected run length R the threshold h solves
``P(largest of M statistics <= h) = exp(-M / R)``; where the runs do not reach that quantile, a
generalised Pareto tail is fitted to the top tenth. [Run lengths: Cobb, Van Looveren and Klaise,
AISTATS 2022. Tails: Pickands 1975; Zhang and Stephens, Technometrics 2009.]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Progress = Callable[[float], None]

_GATHERS = 150_000_000  # kernel values read in one calibration: bounds its time
_TAIL = 0.1
_BATCH_GATHERS = 400_000  # indices of one step stay in the processor's cache


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """How a threshold was found, and whether to believe it.

    Parameters
    ----------
    runs, run_length
        Simulated runs, and observations in each.
    exceedances
        Maxima in the fitted tail.
    shape
        Shape parameter of the generalised Pareto tail.
    fit_distance
        Kolmogorov-Smirnov distance between tail and fit.
    extrapolated
        Whether the threshold lies beyond the largest simulated maxima.
    warnings
        What makes the threshold less certain, in plain words; empty when nothing does.
    """

    runs: int
    run_length: int
    exceedances: int
    shape: float
    fit_distance: float
    extrapolated: bool
    warnings: tuple[str, ...]


def calibrate(
    kernel: NDArray[np.float32],
    windows: tuple[int, ...],
    expected_run_length: float,
    rng: np.random.Generator,
    progress: Progress | None = None,
) -> tuple[NDArray[np.float64], CalibrationReport]:
    """Thresholds of each window, (k,) float64, for one joint expected run length.

    ``kernel`` is (N, N) float32 with ones on the diagonal.
    """
    n = kernel.shape[0]
    widest = windows[-1]
    length = max(2 * widest, min(5 * widest, n // 4))
    runs = int(np.clip(_GATHERS // (length * widest), 1000, 40_000))
    maxima = run_maxima(kernel, windows, length, runs, rng, progress)
    block = length - widest + 1
    survival = -np.expm1(-block / expected_run_length)
    tails = [Tail.fit(m) for m in maxima.T]
    if len(windows) == 1:
        level = survival
    else:
        joint = np.stack([t.log_survival(m) for t, m in zip(tails, maxima.T, strict=True)]).min(axis=0)
        level = float(np.exp(-Tail.fit(-joint).quantile(survival)))
    thresholds = np.array([t.quantile(level) for t in tails])
    exceedances = int(runs * _TAIL)
    worst = max(tails, key=lambda t: t.fit_distance)
    warnings = []
    if worst.fit_distance > 1.1 / np.sqrt(exceedances):
        warnings.append(f"the fitted tail lies {worst.fit_distance:.3f} from the simulated one")
    report = CalibrationReport(
        runs=runs,
        run_length=length,
        exceedances=exceedances,
        shape=worst.shape,
        fit_distance=worst.fit_distance,
        extrapolated=bool(level * runs < 50),
        warnings=tuple(warnings),
    )
    return np.maximum(thresholds, np.finfo(np.float64).tiny), report


def run_maxima(
    kernel: NDArray[np.float32],
    windows: tuple[int, ...],
    length: int,
    runs: int,
    rng: np.random.Generator,
    progress: Progress | None = None,
) -> NDArray[np.float64]:
    """(runs, k) float64: the largest statistic of each window length along each run.

    Each window is compared with the reference rows outside it, so that, as in operation, what is
    tested is independent of what it is tested against.
    """
    n = kernel.shape[0]
    row_sums = kernel.sum(axis=1, dtype=np.float64) - 1.0
    total = float(row_sums.sum())
    flat = kernel.reshape(-1)
    widest = windows[-1]
    size = max(1, _BATCH_GATHERS // length)
    out = np.empty((runs, len(windows)))
    for start in range(0, runs, size):
        count = min(size, runs - start)
        run = rng.permuted(np.broadcast_to(np.arange(n), (count, n)), axis=1)[:, :length]
        base = run * n
        backward = np.zeros((count, length))
        forward = np.zeros((count, length))
        first = np.zeros(count)
        prefix = np.concatenate([np.zeros((count, 1)), np.cumsum(row_sums[run], axis=1)], axis=1)
        column = 0
        for lag in range(1, widest):
            values = flat.take(base[:, lag:] + run[:, :-lag])
            backward[:, lag:] += values
            forward[:, :-lag] += values
            while column < len(windows) and windows[column] == lag + 1:
                w = windows[column]
                # Pairs inside the first window: each member's partners before it.
                first = np.cumsum(backward[:, :w], axis=1)[:, -1]
                steps = backward[:, w:] - forward[:, : length - w]
                pairs = np.concatenate([first[:, None], first[:, None] + np.cumsum(steps, axis=1)], axis=1)
                crossing = prefix[:, w:] - prefix[:, :-w]
                stat = _statistic(pairs, crossing, total, n, w)[:, widest - w :]
                out[start : start + count, column] = stat.max(axis=1)
                column += 1
        if progress is not None:
            progress((start + count) / runs)
    return out


def _statistic(
    pairs: NDArray[np.float64], crossing: NDArray[np.float64], total: float, n: int, w: int
) -> NDArray[np.float64]:
    """Unbiased squared MMD between a window of reference rows and all the others.

    ``pairs`` is the sum over unordered pairs in the window, ``crossing`` the sum of the row sums of
    its members over the whole reference without themselves.
    """
    rest = n - w
    outside = total - 2.0 * crossing + 2.0 * pairs
    a = outside / (rest * (rest - 1.0))
    b = 2.0 * pairs / (w * (w - 1.0))
    c = (crossing - 2.0 * pairs) / (w * float(rest))
    return a + b - 2.0 * c


@dataclass(frozen=True, slots=True)
class Tail:
    """A sample's upper distribution: empirical where it reaches, generalised Pareto beyond."""

    sample: NDArray[np.float64]
    start: float
    shape: float
    scale: float
    fit_distance: float

    @classmethod
    def fit(cls, sample: NDArray[np.float64]) -> Tail:
        """Fit the top tenth of (n,) values."""
        ordered = np.sort(sample)
        cut = ordered.size - max(10, int(ordered.size * _TAIL))
        start = float(ordered[cut - 1])
        excess = ordered[cut:] - start
        shape, scale = fit_generalised_pareto(excess)
        model = -np.expm1(_log_survival(excess, shape, scale))
        empirical = np.arange(1, excess.size + 1) / excess.size
        distance = float(np.maximum(empirical - model, model - empirical + 1 / excess.size).max())
        return cls(ordered, start, shape, scale, distance)

    @property
    def share(self) -> float:
        """Probability of the tail."""
        return 1.0 - float(np.searchsorted(self.sample, self.start, side="right")) / self.sample.size

    def quantile(self, survival: float) -> float:
        """The value exceeded with probability ``survival``."""
        if survival >= self.share:
            return float(np.quantile(self.sample, 1.0 - survival))
        ratio = self.share / survival
        if abs(self.shape) < 1e-9:
            return self.start + self.scale * float(np.log(ratio))
        return self.start + self.scale / self.shape * float(np.expm1(self.shape * np.log(ratio)))

    def log_survival(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Natural logarithm of the probability of exceeding each value."""
        above = self.sample.size - np.searchsorted(self.sample, values, side="left")
        empirical = np.log(np.maximum(above, 1) / (self.sample.size + 1.0))
        tail = np.log(self.share) + _log_survival(
            np.maximum(values - self.start, 0.0), self.shape, self.scale
        )
        return np.where(values > self.start, tail, empirical)


def _log_survival(excess: NDArray[np.float64], shape: float, scale: float) -> NDArray[np.float64]:
    if abs(shape) < 1e-9:
        return -excess / scale
    with np.errstate(divide="ignore"):
        return np.asarray(-np.log1p(np.maximum(shape * excess / scale, -1.0)) / shape)


def fit_generalised_pareto(excess: NDArray[np.float64]) -> tuple[float, float]:
    """Shape and scale of a generalised Pareto distribution for (n,) sorted excesses.

    The quasi-Bayesian estimate of Zhang and Stephens, Technometrics 51 (2009), with shape > 0 for
    a heavy tail.
    """
    n = excess.size
    largest = float(excess[-1])
    if largest <= 0.0:
        return 0.0, float(np.finfo(np.float64).tiny)
    x = excess / largest
    grid = 20 + int(np.sqrt(n))
    quartile = max(float(x[int(n / 4 + 0.5) - 1]), 1e-6)
    j = np.arange(1, grid + 1)
    theta = 1.0 + (1.0 - np.sqrt(grid / (j - 0.5))) / (3.0 * quartile)
    k = -np.log1p(-np.minimum(theta[:, None] * x, 1 - 1e-12)).mean(axis=1)
    theta = np.where(theta == 0.0, 1e-12, theta)
    k = np.where(np.abs(k) < 1e-15, 1e-15, k)
    likelihood = n * (np.log(theta / k) + k - 1.0)
    weight = np.exp(likelihood - likelihood.max())
    best = float((weight * theta).sum() / weight.sum())
    shape = float(np.log1p(-best * x).mean())
    return shape, -shape / best * largest
