"""Populations of independent observations that are harder on a calibration than those of ``streams``.

Each is ``draw(rng, n)``, (n, d) float32. The windows and references that go with them are in
``benchmarks/run_length.py``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks.streams import Draw, population


def gaussian(d: int) -> Draw:
    return lambda rng, n: rng.standard_normal((n, d), dtype=np.float32)


def cauchy(rng: np.random.Generator, n: int) -> NDArray[np.float32]:
    return rng.standard_cauchy((n, 16)).astype(np.float32)


def relu(rng: np.random.Generator, n: int) -> NDArray[np.float32]:
    """64 ReLU units on 16 inputs, of which a quarter never fires."""
    weights = np.random.default_rng(11).standard_normal((16, 64), dtype=np.float32)
    hidden = rng.standard_normal((n, 16), dtype=np.float32) @ weights
    hidden[:, ::4] = -1.0
    return np.maximum(hidden, 0.0)


def one_hot(rng: np.random.Generator, n: int) -> NDArray[np.float32]:
    """Ten classes, the rarest a tenth as frequent as the commonest."""
    shares = 1.0 / np.arange(1, 11)
    return np.eye(10, dtype=np.float32)[rng.choice(10, size=n, p=shares / shares.sum())]


def sphere(rng: np.random.Generator, n: int) -> NDArray[np.float32]:
    """768 dimensions of unit norm whose variances fall as 1 / k, as a sentence model's do."""
    rows = rng.standard_normal((n, 768), dtype=np.float32)
    rows /= np.sqrt(np.arange(1, 769, dtype=np.float32))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def with_duplicates(draw: Draw) -> Draw:
    """A reference of which every tenth row is the one before it again."""

    def repeated(rng: np.random.Generator, n: int) -> NDArray[np.float32]:
        rows = draw(rng, n)
        rows[9::10] = rows[8::10][: len(rows[9::10])]
        return rows

    return repeated


def named(name: str) -> Callable[[np.random.Generator, int], NDArray[np.float32]]:
    """The draw of a population of ``streams``, which is made when it is first asked for."""
    return lambda rng, n: population(name).draw(rng, n)
