"""Thresholds for an expected run length, from the reference alone.

Streams without drift are simulated by runs of reference rows (:mod:`exporter.detectors.mmd.simulation`). If
q(h) is minus the logarithm of the probability that a circle of L windows stays at or below h, alarms
begin at the rate q(h) / L, and a stream's mean run length is ``L (1 - p(h)) / q(h)``, where p(h) is
the probability that its very first window is above h already. The threshold solves this for the
expected run length; where the runs do not reach, a generalised Pareto tail does.

That is right on average over references. For a confidence it is solved for a longer run length: by
as many standard deviations of its logarithm, over references (:mod:`exporter.detectors.mmd.uncertainty`), as
that share of them calls for.

[Run lengths: Cobb, Van Looveren and Klaise, AISTATS 2022. Tails: Pickands 1975; Coles 2001.]
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from exporter.detectors.mmd.pareto_tail import Tail
from exporter.detectors.mmd.simulation import NullRuns, Progress, simulate
from exporter.detectors.mmd.uncertainty import log_spread

__all__ = ["CalibrationReport", "Progress", "calibrate"]

_GATHERS = 120_000_000  # kernel values read in one calibration: these bound its time
_GATHERS_FEW_RUNS = 600_000_000
_RUNS = (200, 2000, 60_000)  # never fewer; not fewer unless too costly; never more
_EXCEEDANCES = 1500  # runs above the threshold: more would not make it better by much
_WIDE = 2.5
_FEW_BLOCKS = 15
_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """How the thresholds were found, and how far to believe them.

    Parameters
    ----------
    runs, run_length
        Simulated runs, and windows in each.
    exceedances
        Largest statistics in the fitted tail.
    shape
        Shape of the generalised Pareto tail, the worst-fitting one of several windows.
    fit_distance
        Kolmogorov-Smirnov distance between that tail and its fit.
    extrapolated
        Whether a threshold lies where fewer than 20 of the runs reach.
    spread
        Factor (at least 1, one standard deviation) by which the true mean run length may differ
        from the one that the thresholds were found for: the reference's mean is not the population's, it
        has only so many rows of the kinds that alarms are made of, and so many runs were simulated.
    warnings
        What makes the thresholds less certain, in plain words; empty when nothing does.
    calibrated_run_length
        Mean number of tests between false alarms that the thresholds were found for: the expected run
        length, or for a confidence a longer one. None where an older version calibrated.
    loud_maxima
        What the largest statistic of a run stays below in four of five runs, for each window.
    """

    runs: int
    run_length: int
    exceedances: int
    shape: float
    fit_distance: float
    extrapolated: bool
    spread: float
    warnings: tuple[str, ...]
    calibrated_run_length: float | None = None
    loud_maxima: tuple[float, ...] = ()

    @property
    def trustworthy(self) -> bool:
        """Whether there is nothing to warn of."""
        return not self.warnings


def calibrate(
    kernel: NDArray[np.float32],
    windows: tuple[int, ...],
    expected_run_length: float,
    rng: np.random.Generator,
    progress: Progress | None = None,
    block: int = 1,
    confidence: float = 0.5,
) -> tuple[NDArray[np.float64], CalibrationReport]:
    """Thresholds of each window, (k,) float64, for one joint expected run length, with a report.

    ``kernel`` is (N, N) float32 with ones on the diagonal, N >= 4 times the longest window, of rows in
    consecutive blocks of ``block`` that stood together in time. Several windows get thresholds that
    each exceeds equally often. With a ``confidence`` above 0.5 the true mean run length is at least the
    expected one for that share of references, with 0.5 it is that on average. The work is bounded: about
    120 million reads of kernel values, up to 600 million for windows of hundreds.
    """
    n, widest = kernel.shape[0], windows[-1]
    found = Calibrator.simulate(kernel, windows, expected_run_length, rng, progress, block)
    runs, length = found.simulated.rows.shape
    sought = expected_run_length
    thresholds, level = found.solve(sought)
    spread = found.log_spread(level)
    if confidence > 0.5:
        deviations = NormalDist().inv_cdf(confidence)
        for _ in range(_ROUNDS):  # a longer run length is less certain
            sought = expected_run_length * float(np.exp(deviations * spread))
            thresholds, level = found.solve(sought)
            spread = found.log_spread(level)
    worst = max(found.tails, key=lambda tail: tail.fit_distance)
    report = CalibrationReport(
        runs=runs,
        run_length=length,
        exceedances=worst.exceedances,
        shape=worst.shape,
        fit_distance=worst.fit_distance,
        extrapolated=level * runs < 20,
        spread=float(np.exp(spread)),
        warnings=(
            *_few_blocks(n, block),
            *_warnings(worst, level, runs),
            *(() if confidence > 0.5 else _uncertain(spread, n, widest)),  # which it allows for
        ),
        calibrated_run_length=sought,
        loud_maxima=tuple(np.quantile(found.simulated.maxima, 0.8, axis=0).tolist()),
    )
    return np.maximum(thresholds, np.finfo(np.float64).tiny), report


def _run_length(n: int, widest: int, expected_run_length: float, block: int) -> int:
    """Windows on a circle: five windows long where the reference and the run length allow it.

    Of blocks that hold two windows or more, a circle is one, or an equal part of one; of shorter ones
    it is several.
    """
    wanted = max(2 * widest, int(min(5 * widest, n // 2, max(3 * widest, expected_run_length))))
    if block >= 2 * widest:
        return block // max(1, block // wanted)
    return -(-wanted // block) * block


class Calibrator:
    """What the runs say: thresholds for a run length, and how certain they are."""

    def __init__(self, simulated: NullRuns, blocks: int) -> None:
        self.simulated, self.blocks = simulated, blocks
        self.tails = [Tail.fit(maxima) for maxima in simulated.maxima.T]
        if len(self.tails) == 1:
            self.surprise = simulated.maxima[:, 0]
            self.loudest = np.zeros(self.surprise.size, dtype=np.int64)
            self.joint = self.tails[0]
        else:
            # On a common scale: minus the log-probability of what the most surprising window showed.
            columns = zip(self.tails, simulated.maxima.T, strict=True)
            survival = np.array([tail.log_survival(values) for tail, values in columns])
            self.surprise, self.loudest = -survival.min(axis=0), survival.argmin(axis=0)
            self.joint = Tail.fit(self.surprise)

    @classmethod
    def simulate(
        cls,
        kernel: NDArray[np.float32],
        windows: tuple[int, ...],
        expected_run_length: float,
        rng: np.random.Generator,
        progress: Progress | None = None,
        block: int = 1,
    ) -> Calibrator:
        """As many runs as a threshold for the expected run length needs, within the bound on the work."""
        n, widest = kernel.shape[0], windows[-1]
        length = _run_length(n, widest, expected_run_length, block)
        cost = length * widest
        fewest, few, most = _RUNS
        few = min(few, max(fewest, _GATHERS_FEW_RUNS // cost))
        enough = _EXCEEDANCES / -np.expm1(-length / expected_run_length)
        runs = int(max(few, min(_GATHERS // cost, enough, most)))
        return cls(simulate(kernel, windows, length, runs, rng, progress, block), n // block)

    def solve(self, run_length: float) -> tuple[NDArray[np.float64], float]:
        """Thresholds, (k,), and the probability that a run exceeds any one of them."""
        simulated, several = self.simulated, len(self.tails) > 1
        target = simulated.length / run_length
        first = 0.0
        for _ in range(20):
            level = float(-np.expm1(-target * (1.0 - first)))
            marginal = float(np.exp(-self.joint.quantile(level))) if several else level
            thresholds = np.array([tail.quantile(marginal) for tail in self.tails])
            before, first = first, float((simulated.spaced > thresholds).any(axis=1).mean())
            if abs(first - before) < 1e-4:
                break
        return thresholds, level

    def log_spread(self, level: float) -> float:
        """Standard deviation of the logarithm of the run length over references."""
        return log_spread(self.simulated, self.surprise, self.loudest, self.joint, level, self.blocks)


def _few_blocks(n: int, block: int) -> list[str]:
    if n // block >= _FEW_BLOCKS:
        return []
    return [
        f"the reference has only {n // block} stretches of {block} rows: how much one differs from another "
        f"is known from {_FEW_BLOCKS} or more; learn from more, shorter ones"
    ]


def _warnings(worst: Tail, level: float, runs: int) -> list[str]:
    out = []
    if not worst.fits and level * runs < 100:
        out.append(
            f"the tail fitted to {worst.exceedances} simulated maxima is {worst.fit_distance:.3f} off "
            "(Kolmogorov-Smirnov): false alarms may be rarer or more frequent than asked; a reference "
            "with more distinct rows helps"
        )
    if level * runs < 100 and abs(worst.shape) > 0.3:
        out.append(
            f"the fitted tail has shape {worst.shape:+.2f}, where 0 is expected: the threshold is a bold "
            "extrapolation; lower expected_run_length or give more reference rows"
        )
    if level * runs < 100 and worst.exceedances < 50:
        out.append(f"only {worst.exceedances} simulated maxima lie in the fitted tail; use a shorter window")
    return out


def _uncertain(spread: float, n: int, widest: int) -> list[str]:
    factor = float(np.exp(spread))
    if factor <= _WIDE:
        return []
    return [
        f"with {n} reference rows and a window of {widest}, the true mean run length may differ from "
        f"the expected one by a factor of {factor:.1f}; more reference rows narrow this, or confidence: 0.9 "
        "allows for it"
    ]
