"""The statistic by its definition, in float64, one window at a time: slow and independent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def kernel(x: NDArray[np.floating], y: NDArray[np.floating], bandwidth: float) -> NDArray[np.float64]:
    difference = x.astype(np.float64)[:, None, :] - y.astype(np.float64)[None, :, :]
    values: NDArray[np.float64] = np.exp(-(difference**2).sum(axis=2) / (2.0 * bandwidth**2))
    return values


def mean_off_diagonal(k: NDArray[np.float64]) -> float:
    n = k.shape[0]
    return float((k.sum() - np.trace(k)) / (n * (n - 1)))


def squared_mmd(x: NDArray[np.floating], y: NDArray[np.floating], bandwidth: float) -> float:
    inside = mean_off_diagonal(kernel(x, x, bandwidth)) + mean_off_diagonal(kernel(y, y, bandwidth))
    return inside - 2.0 * float(kernel(x, y, bandwidth).mean())


def statistics(
    x: NDArray[np.floating], stream: NDArray[np.floating], window: int, bandwidth: float
) -> NDArray[np.float64]:
    """(n,) statistic of the window that ends at each observation, NaN until it is full."""
    a = mean_off_diagonal(kernel(x, x, bandwidth))
    witness = kernel(stream, x, bandwidth).mean(axis=1)
    out = np.full(len(stream), np.nan)
    for t in range(window - 1, len(stream)):
        members = slice(t - window + 1, t + 1)
        b = mean_off_diagonal(kernel(stream[members], stream[members], bandwidth))
        out[t] = a + b - 2.0 * float(witness[members].mean())
    return out
