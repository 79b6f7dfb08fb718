"""Observations that are less typical than nearly all of the reference: a new, rare cluster, which no mean sees.

An observation is atypical if its witness, the mean kernel value with the reference, lies below the
fifth-lowest of the reference's own, each without its row's share. Of independent observations without drift
it is then known exactly how many are atypical, whatever their distribution: where a new one falls among N
old ones is uniform, so that the probability of falling below the fifth is beta-distributed, and the number
of n such observations beta-binomial with n, 5 and N - 4. [Order statistics: David and Nagaraja 2003.]
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from exporter.detectors.validation import check_count
from exporter.errors import ConfigError

ATYPICAL_RANK = 5
_STEP = 1_000_000


def atypical_bound(witness: NDArray[np.float64]) -> float:
    """The witness below which an observation is atypical.

    ``witness`` is (N,): that of each reference row with all N, its own share of 1 / N among them.
    """
    n = witness.size
    without_itself = (witness * n - 1.0) / (n - 1.0)
    return float(np.partition(without_itself, ATYPICAL_RANK - 1)[ATYPICAL_RANK - 1])


def atypical_p_value(atypical: int, tested: int, reference_rows: int) -> float:
    """Probability that, without drift, at least ``atypical`` of ``tested`` observations are atypical.

    The three are increases of ``embedding_atypical_total`` and ``embedding_atypical_tested_total``, over
    replicas that share a reference or over any time, and ``drift_reference_rows``. It holds for independent
    observations; where they depend on each other, it is too small.

    >>> round(atypical_p_value(12, 1000, 1000), 4)
    0.0378

    Raises
    ------
    ConfigError
        If ``tested`` or ``reference_rows`` is no whole number from 1, or ``atypical`` none from 0 to ``tested``.
    """
    n = check_count("tested", tested)
    a, b = float(ATYPICAL_RANK), check_count("reference_rows", reference_rows) + 1.0 - ATYPICAL_RANK
    if b <= 0.0:
        raise ConfigError(f"reference_rows: {reference_rows}; give at least {ATYPICAL_RANK}")
    if atypical == 0:
        return 1.0
    if not 1 <= check_count("atypical", atypical) <= n:
        raise ConfigError(f"atypical: {atypical} of {n}; give at most as many as were tested")
    log_mass = math.lgamma(n + 1.0) - math.lgamma(atypical + 1.0) - math.lgamma(n - atypical + 1.0)
    log_mass += _log_beta(atypical + a, n - atypical + b) - _log_beta(a, b)
    total = math.exp(log_mass)
    for start in range(atypical, n, _STEP):
        # Each mass from the one before it.
        k = np.arange(start, min(start + _STEP, n), dtype=np.float64)
        steps = np.log((n - k) * (k + a)) - np.log((k + 1.0) * (n - k - 1.0 + b))
        logs = log_mass + np.cumsum(steps)
        total += float(np.exp(logs).sum())
        log_mass = float(logs[-1])
    return min(1.0, total)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
