"""Populations to draw references and streams from, and the ways in which they drift.

A population is an endless source of independent observations, so a stream never repeats its reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Draw = Callable[[np.random.Generator, int], NDArray[np.float32]]

POPULATIONS = ("gaussian", "skewed", "heavy", "clusters", "digits")
_POOL = 200_000


@dataclass(frozen=True)
class Population:
    """``draw(rng, n)`` gives (n, d) float32 independent observations; ``std`` is (d,)."""

    name: str
    draw: Draw
    std: NDArray[np.float64]

    @property
    def n_features(self) -> int:
        return self.std.size


@cache
def population(name: str, n_features: int = 16) -> Population:
    """One of ``POPULATIONS``; ``digits`` has 64 features, whatever is asked."""
    draw = {
        "gaussian": lambda: _gaussian(n_features),
        "skewed": lambda: _skewed(n_features),
        "heavy": lambda: _heavy(n_features),
        "clusters": lambda: _clusters(n_features),
        "digits": _digits,
    }[name]()
    std = draw(np.random.default_rng(999), 20_000).std(axis=0, dtype=np.float64)
    return Population(name, draw, std)


def _gaussian(d: int) -> Draw:
    return lambda rng, n: rng.standard_normal((n, d), dtype=np.float32)


def _skewed(d: int) -> Draw:
    """Non-negative and skewed: exponential, each row with its own log-normal scale (sigma 0.5)."""

    def draw(rng: np.random.Generator, n: int) -> NDArray[np.float32]:
        scale = np.exp(0.5 * rng.standard_normal((n, 1), dtype=np.float32))
        return rng.standard_exponential((n, d), dtype=np.float32) * scale

    return draw


def _heavy(d: int) -> Draw:
    """The same with the scale of a Student t distribution with four degrees of freedom."""

    def draw(rng: np.random.Generator, n: int) -> NDArray[np.float32]:
        scale = np.sqrt(2.0 / rng.standard_gamma(2.0, size=(n, 1), dtype=np.float32))
        return rng.standard_exponential((n, d), dtype=np.float32) * scale

    return draw


def _clusters(d: int) -> Draw:
    """Ten equally likely clusters whose centres lie three standard deviations apart or more."""
    centres = 3.0 * np.random.default_rng(10).standard_normal((10, d), dtype=np.float32)

    def draw(rng: np.random.Generator, n: int) -> NDArray[np.float32]:
        return centres[rng.integers(10, size=n)] + rng.standard_normal((n, d), dtype=np.float32)

    return draw


def _digits() -> Draw:
    pool = digits_embeddings()
    return lambda rng, n: pool[rng.integers(pool.shape[0], size=n)]


@cache
def digits_embeddings() -> NDArray[np.float32]:
    """(200000, 64) penultimate-layer embeddings of a small CNN on scikit-learn's handwritten digits.

    Every embedding is of another image: one of the 1,797 digits, moved, rotated, scaled and made
    noisy at random.
    """
    import torch
    from sklearn.datasets import load_digits
    from torch import nn
    from torch.nn import functional

    data = load_digits()
    images = torch.as_tensor(data.images / 16.0, dtype=torch.float32)[:, None]
    labels = torch.as_tensor(data.target)
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    features = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, 64), nn.ReLU(),
    )  # fmt: skip
    head = nn.Linear(64, 10)

    def augment(rows: torch.Tensor) -> torch.Tensor:
        n = rows.shape[0]
        angle = 0.15 * torch.randn(n, generator=generator)
        scale = torch.exp(0.08 * torch.randn(n, generator=generator))
        move = 0.08 * torch.randn(n, 2, generator=generator)
        cos, sin = scale * torch.cos(angle), scale * torch.sin(angle)
        top, bottom = torch.stack([cos, -sin, move[:, 0]], 1), torch.stack([sin, cos, move[:, 1]], 1)
        theta = torch.stack([top, bottom], 1)
        grid = functional.affine_grid(theta, [n, 1, 8, 8], align_corners=False)
        moved = functional.grid_sample(images[rows], grid, align_corners=False)
        return moved + 0.03 * torch.randn(moved.shape, generator=generator)

    optimiser = torch.optim.Adam([*features.parameters(), *head.parameters()], lr=2e-3)
    for _ in range(400):
        rows = torch.randint(images.shape[0], (128,), generator=generator)
        loss = functional.cross_entropy(head(features(augment(rows))), labels[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        parts = []
        for _ in range(_POOL // 2000):
            rows = torch.randint(images.shape[0], (2000,), generator=generator)
            parts.append(features(augment(rows)))
        return torch.cat(parts).numpy()


DEPENDENT = (
    "independent", "AR(1) of 0.3", "AR(1) of 0.7", "AR(1) of 0.9", "frames in tens", "sticky clusters",
    "retries",
)  # fmt: skip


@dataclass(frozen=True)
class Dependent:
    """A stationary stream, ``stream(rng, n)``, and independent rows of its distribution; ``std`` is (d,)."""

    reference: Draw
    stream: Draw
    std: NDArray[np.float32]


def dependent(name: str, n_features: int = 16) -> Dependent:
    """One of ``DEPENDENT``."""
    normal = _gaussian(n_features)
    one = np.ones(n_features, dtype=np.float32)
    if name == "sticky clusters":
        centres = 1.5 * np.random.default_rng(11).standard_normal((10, n_features), dtype=np.float32)
        std = np.sqrt(centres.var(axis=0) + 1.0)
        return Dependent(_sticky(centres, 0.0), _sticky(centres, 0.9), std)
    streams: dict[str, Draw] = {
        "independent": normal,
        "AR(1) of 0.3": _autoregressive(n_features, 0.3),
        "AR(1) of 0.7": _autoregressive(n_features, 0.7),
        "AR(1) of 0.9": _autoregressive(n_features, 0.9),
        "frames in tens": _frames(n_features),
        "retries": _retries(normal),
    }
    return Dependent(normal, streams[name], one)


def _autoregressive(d: int, rho: float) -> Draw:
    """Each dimension for itself."""

    def draw(rng: np.random.Generator, n: int) -> NDArray[np.float32]:
        rows = rng.standard_normal((n, d), dtype=np.float32)
        rows[1:] *= np.float32(np.sqrt(1.0 - rho**2))
        for i in range(1, n):
            rows[i] += np.float32(rho) * rows[i - 1]
        return rows

    return draw


def _frames(d: int) -> Draw:
    """Ten rows of one scene, which differ by a twentieth of the variance."""

    def draw(rng: np.random.Generator, n: int) -> NDArray[np.float32]:
        scenes = np.repeat(rng.standard_normal((n // 10 + 1, d), dtype=np.float32), 10, axis=0)[:n]
        noise = rng.standard_normal((n, d), dtype=np.float32)
        return np.float32(np.sqrt(0.95)) * scenes + np.float32(np.sqrt(0.05)) * noise

    return draw


def _sticky(centres: NDArray[np.float32], stay: float) -> Draw:
    """A row is of its predecessor's cluster with this probability, else of any."""

    def draw(rng: np.random.Generator, n: int) -> NDArray[np.float32]:
        visit = np.cumsum(rng.random(n) >= stay)
        label = rng.integers(len(centres), size=int(visit[-1]) + 1)[visit]
        return centres[label] + rng.standard_normal((n, centres.shape[1]), dtype=np.float32)

    return draw


def _retries(source: Draw) -> Draw:
    """One row in ten is that of one of the twenty before it."""

    def draw(rng: np.random.Generator, n: int) -> NDArray[np.float32]:
        rows = source(rng, n)
        for i in np.flatnonzero(rng.random(n) < 0.1):
            if i >= 20:
                rows[i] = rows[i - rng.integers(1, 21)]
        return rows

    return draw


def batches(
    source: Population, rng: np.random.Generator, total: int, size: int = 4096
) -> Iterator[NDArray[np.float32]]:
    """``total`` observations of the population, in batches."""
    for start in range(0, total, size):
        yield source.draw(rng, min(size, total - start))


def run_lengths(statistics: NDArray[np.floating], threshold: float, window: int) -> NDArray[np.int64]:
    """Tests until each false alarm on one long stream, if the window were emptied after every alarm.

    ``statistics`` is the (n,) statistic of every full window of an unbroken stream. The
    ``window - 1`` observations that refill it are left out, so each length is that of a fresh stream.
    """
    above = np.flatnonzero(statistics > threshold)
    lengths, start = [], 0
    while True:
        at = np.searchsorted(above, start)
        if at == above.size:
            return np.array(lengths, dtype=np.int64)
        lengths.append(int(above[at]) - start + 1)
        start = int(above[at]) + window


def mean_run_length(statistics: NDArray[np.floating], threshold: float, window: int) -> tuple[float, int]:
    """Mean tests to a false alarm, and the number of alarms: tests made over alarms seen."""
    lengths = run_lengths(statistics, threshold, window)
    used = int(lengths.sum()) + (window - 1) * lengths.size
    rest = max(0, statistics.size - used)
    return (float(lengths.sum()) + rest) / max(1, lengths.size), lengths.size
