"""Stationary streams whose neighbours are alike, with independent rows of the same distribution."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]
Draw = Callable[[np.random.Generator, int], Rows]
D = 6


def normal(rng: np.random.Generator, n: int) -> Rows:
    return rng.standard_normal((n, D), dtype=np.float32)


def autoregressive(rho: float) -> Draw:
    def draw(rng: np.random.Generator, n: int) -> Rows:
        rows = normal(rng, n)
        rows[1:] *= np.float32(np.sqrt(1.0 - rho**2))
        for i in range(1, n):
            rows[i] += np.float32(rho) * rows[i - 1]
        return rows

    return draw


def frames(rng: np.random.Generator, n: int) -> Rows:
    scenes = np.repeat(normal(rng, n // 10 + 1), 10, axis=0)[:n]
    return np.float32(0.97) * scenes + np.float32(0.24) * normal(rng, n)


CENTRES = 1.5 * np.random.default_rng(11).standard_normal((10, D), dtype=np.float32)


def clusters(rng: np.random.Generator, n: int) -> Rows:
    return CENTRES[rng.integers(10, size=n)] + normal(rng, n)


def sticky(rng: np.random.Generator, n: int) -> Rows:
    visit = np.cumsum(rng.random(n) < 0.1)
    return CENTRES[rng.integers(10, size=int(visit[-1]) + 1)[visit]] + normal(rng, n)


STREAMS: dict[str, tuple[Draw, Draw]] = {
    "AR(1) of 0.3": (normal, autoregressive(0.3)),
    "AR(1) of 0.7": (normal, autoregressive(0.7)),
    "AR(1) of 0.9": (normal, autoregressive(0.9)),
    "frames in tens": (normal, frames),
    "sticky clusters": (clusters, sticky),
}
