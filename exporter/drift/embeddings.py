"""The embeddings of several observations as one array, without those that cannot be part of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.arrays import on_host
from exporter.observation import Observation

Refuse = Callable[[str, int | None], None]
"""Called for an embedding with why it was refused, and with its length if that is why."""


def stacked(
    observations: Sequence[Observation], n_features: int | None, refuse: Refuse
) -> tuple[Sequence[Observation], NDArray[Any]]:
    """Those of the observations whose embedding is (n_features,) real numbers, and the (b, d) embeddings.

    None for ``n_features`` takes the length of the first one. One caller's odd embedding must not end the
    test for everybody: ``refuse`` is called for each of the others.
    """
    rows = _together([observation.embedding for observation in observations], n_features)
    if rows is not None:
        return observations, rows
    kept, fitting = [], []
    for observation, row in vectors(observations, refuse):
        n_features = n_features or row.size
        if row.size == n_features:
            kept.append(observation)
            fitting.append(row)
        else:
            refuse("wrong_shape", row.size)
    return kept, np.stack(fitting) if fitting else np.empty((0, n_features or 0))


def vectors(
    observations: Sequence[Observation], refuse: Refuse
) -> Iterator[tuple[Observation, NDArray[Any]]]:
    """Each observation with its embedding, as (d,) real numbers of any length from 1 in main memory."""
    for observation in observations:
        row = observation.embedding
        if hasattr(row, "ndim"):
            row = on_host(row)
        if not isinstance(row, np.ndarray) or row.dtype.kind not in "fiub":
            refuse("wrong_type", None)
        elif row.ndim != 1 or not row.size:
            refuse("wrong_shape", None)
        else:
            yield observation, row


def _together(rows: list[Any], n_features: int | None) -> NDArray[Any] | None:
    """(b, d) array of all of them, if that is what they are in NumPy; None if any has to be looked at."""
    if set(map(type, rows)) != {np.ndarray}:
        return None
    try:
        joined = np.concatenate(rows)
    except (TypeError, ValueError):
        return None
    lengths = set(map(len, rows))
    if joined.ndim != 1 or joined.dtype.kind not in "fiub" or len(lengths) > 1 or not joined.size:
        return None
    (length,) = lengths
    return joined.reshape(len(rows), length) if n_features in (None, length) else None
