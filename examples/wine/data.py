"""scikit-learn's wines: 178 chemical analyses of three cultivars, half to train on, half as traffic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_wine


@dataclass(frozen=True, slots=True)
class Wines:
    """``features`` (n, 13) float64, as measured; ``labels`` (n,) int64; the names of both."""

    features: NDArray[np.float64]
    labels: NDArray[np.int64]
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]


def load_halves() -> tuple[Wines, Wines]:
    """Give the wines to train on and, none of them among these, those that the traffic draws from."""
    wines = load_wine()
    order = np.random.default_rng(20_240_902).permutation(len(wines.target))
    halves = np.array_split(order, 2)
    train, traffic = (
        Wines(
            wines.data[half].astype(np.float64),
            wines.target[half].astype(np.int64),
            tuple(wines.feature_names),
            tuple(str(name) for name in wines.target_names),
        )
        for half in halves
    )
    return train, traffic
