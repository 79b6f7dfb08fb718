"""How far the true mean run length may be from the expected one: what a reference leaves unknown.

The rate of alarms, at thresholds that were found from one reference, differs from what was asked for
three reasons, each measured here by the standard deviation of its logarithm:

- The reference's mean is off the population's. Its error stays what it is for as long as the stream
  runs, while the simulation gives each run another: an analysis of variance between runs with the
  same error says how much it matters.
- The reference has only so many rows of the kinds that alarms are made of: the first-order (Hájek)
  variance of a mean over rows.
- The simulation has only so many runs, and the tail beyond them is fitted.

The first two are measured where there is enough to count and grow towards rarer alarms, about in
proportion to ``2 - log(level)``: the rarer, the more it takes the few rows and directions that differ.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from exporter.detectors.mmd.pareto_tail import Tail
from exporter.detectors.mmd.simulation import NullRuns

_COUNTED = 0.2  # share of runs above the level at which errors of the reference are compared
_LOUD = (500, 0.005)  # runs, and share of them, whose members are counted


def log_spread(
    simulated: NullRuns,
    surprise: NDArray[np.float64],
    loudest: NDArray[np.int64],
    tail: Tail,
    level: float,
    blocks: int,
) -> float:
    """Standard deviation over references of the logarithm of the true mean run length.

    ``surprise`` (runs,) orders the runs, ``loudest`` (runs,) is the column of the window that was the most
    surprising in each, ``tail`` is that of ``surprise``; ``level`` is the probability that a run exceeds
    the thresholds; the reference has so many ``blocks`` of rows.
    """
    loud = min(1.0, max(_LOUD[0] / surprise.size, _LOUD[1]))
    means = _variance_over_errors(simulated.errors, surprise) * _growth(_COUNTED, level) ** 2
    rows = _variance_over_rows(simulated, surprise, loudest, loud, blocks) * _growth(loud, level) ** 2
    return float(np.sqrt(means + rows + tail.log_error(level) ** 2))


def _growth(measured: float, level: float) -> float:
    """How much more a logarithm spreads at ``level`` than where it was ``measured``."""
    return float((2.0 - np.log(level)) / (2.0 - np.log(measured)))


def _variance_over_errors(errors: NDArray[np.int64], surprise: NDArray[np.float64]) -> float:
    """Between runs with one error of the reference and runs with another."""
    above = surprise > np.quantile(surprise, 1.0 - _COUNTED)
    sizes = np.bincount(errors)
    if sizes.min() < 2:
        return 0.0
    shares = np.bincount(errors, above) / sizes
    between = float(shares.var(ddof=1) - (shares * (1.0 - shares) / (sizes - 1.0)).mean())
    # The rate is -log(1 - p) for runs that exceed with probability p.
    return float(max(0.0, between) / ((1.0 - _COUNTED) * -np.log1p(-_COUNTED)) ** 2)


def _variance_over_rows(
    simulated: NullRuns, surprise: NDArray[np.float64], loudest: NDArray[np.int64], share: float, blocks: int
) -> float:
    """Of a mean over blocks of rows of how much more often than others a block is in windows that alarm."""
    block = simulated.block
    loud = np.argsort(surprise)[-round(share * surprise.size) :]
    counts, chance = np.zeros(blocks), 0.0
    for column, w in enumerate(simulated.windows):
        runs = loud[loudest[loud] == column]
        ends = simulated.peaks[runs, column][:, None]
        members = simulated.rows[runs[:, None], (ends - np.arange(w)) % simulated.length]
        parts = max(1.0, w / block)  # independent ones that a window is made of
        counts += np.bincount(members.ravel() // block, minlength=blocks) * (parts / w)
        chance += runs.size * parts * (1.0 - min(1.0, parts / blocks))
    excess = float(counts.var()) * (blocks / loud.size) ** 2 - chance * blocks / loud.size**2
    return max(0.0, excess) / blocks
