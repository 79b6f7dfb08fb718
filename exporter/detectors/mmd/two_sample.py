"""The offline two-sample test: do two sets of embeddings come from one distribution?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.detectors.mmd.kernel import Scaling, kernel_matrix, median_bandwidth
from exporter.detectors.validation import as_samples, check_count, check_positive
from exporter.errors import InvalidEmbedding

_BYTES = 2 * 1024**3
_COLUMNS = 64


@dataclass(frozen=True, slots=True)
class TwoSampleResult:
    """Outcome of :func:`two_sample_mmd`.

    Parameters
    ----------
    test_stat
        Unbiased squared MMD; around 0, and possibly negative, when nothing differs.
    p_value
        Share of permutations, the data's own order counted among them, with a statistic at least as
        large: between ``1 / (1 + permutations)`` and 1, never 0.
    permutations
        How many were drawn.
    bandwidth
        Sigma of the kernel.
    """

    test_stat: float
    p_value: float
    permutations: int
    bandwidth: float


def two_sample_mmd(
    x: Any,
    y: Any,
    *,
    permutations: int = 1000,
    bandwidth: float | None = None,
    seed: int | None = None,
) -> TwoSampleResult:
    """Permutation test with the unbiased squared MMD.

    Parameters
    ----------
    x, y
        (n, d) and (m, d) arrays of any real dtype, NumPy or torch, finite; n, m >= 2.
    permutations
        At least 1. The p-value is exact at any number: ``(1 + #{at least as large}) / (1 + B)``.
    bandwidth
        Sigma of the kernel; None takes the median heuristic over x and y together.
    seed
        Makes the permutations repeatable.

    Raises
    ------
    InvalidEmbedding
        If the samples are not such arrays, or together too large for their kernel matrix.

    Notes
    -----
    All permutations share one kernel matrix: the sum of kernel values inside a permuted sample
    and across the two follow from one product with its indicator vectors. [Gretton et al., JMLR
    2012; p-values: Phipson and Smyth, 2010.]

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> result = two_sample_mmd(rng.normal(size=(100, 3)), rng.normal(1.0, size=(80, 3)), seed=0)
    >>> result.p_value < 0.01
    True
    """
    permutations = check_count("permutations", permutations)
    first, second = as_samples("x", x), as_samples("y", y)
    if first.shape[1] != second.shape[1]:
        raise InvalidEmbedding(
            f"x, y: embeddings of length {first.shape[1]} and {second.shape[1]}; give the same length"
        )
    n, total = first.shape[0], first.shape[0] + second.shape[0]
    if total * total * 4 > _BYTES:
        most = math.isqrt(_BYTES // 4)
        raise InvalidEmbedding(
            f"x, y: {total} rows together need a kernel matrix of {total * total * 4 / 1e9:.1f} GB; "
            f"give at most {most}, for instance a random subset"
        )
    rng = np.random.default_rng(seed)
    rows = np.concatenate([first, second])
    if bandwidth is None:
        if (rows == rows[0]).all():
            raise InvalidEmbedding("x, y: all rows are equal, which gives no bandwidth; give bandwidth")
        bandwidth = median_bandwidth(rows - rows.mean(axis=0), rng)
    sigma = check_positive("bandwidth", bandwidth)
    _, scaled = Scaling.of(rows, sigma, "cpu")
    kernel = kernel_matrix(scaled.z, scaled.squared_norm)
    np.fill_diagonal(kernel, 0.0)
    member = np.zeros(total, dtype=np.float32)
    member[:n] = 1.0
    sums = kernel.sum(axis=1, dtype=np.float64)
    observed = float(_statistics(kernel, sums, member[:, None], n)[0])
    # Equal up to the rounding of float32 products counts as "at least as large".
    least = observed - 1e-6 * abs(observed) - 1e-9
    as_large = 0
    for start in range(0, permutations, _COLUMNS):
        count = min(_COLUMNS, permutations - start)
        drawn = rng.permuted(np.broadcast_to(member, (count, total)), axis=1).T
        as_large += int((_statistics(kernel, sums, drawn, n) >= least).sum())
    return TwoSampleResult(observed, (1 + as_large) / (1 + permutations), permutations, sigma)


def _statistics(
    kernel: NDArray[np.float32], sums: NDArray[np.float64], members: NDArray[np.float32], n: int
) -> NDArray[np.float64]:
    """Statistics of (total, c) 0/1 columns with n ones each; the kernel's diagonal is 0."""
    m = members.shape[0] - n
    inside = np.einsum("ic,ic->c", members, kernel @ members, dtype=np.float64)
    touched = sums @ members
    across = touched - inside
    outside = float(sums.sum()) - touched - across
    return np.asarray(inside / (n * (n - 1.0)) + outside / (m * (m - 1.0)) - 2.0 * across / (n * float(m)))
