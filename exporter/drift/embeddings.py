"""Embeddings of several observations as one array, and those that cannot be part of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from exporter.arrays import on_host
from exporter.observation import Observation

Refuse = Callable[[str, str], None]


def fitting(observations: Sequence[Observation], n_features: int | None) -> np.ndarray[Any, Any] | None:
    """(b, d) array of all embeddings, if that is what they are in numpy; None if any has to be looked at.

    As :func:`screen` and :func:`stack` would have it, without a look at each.
    """
    rows = [observation.embedding for observation in observations]
    if set(map(type, rows)) != {np.ndarray}:
        return None
    try:
        joined = np.concatenate(rows)
    except (TypeError, ValueError):
        return None
    lengths = set(map(len, rows))
    if joined.ndim != 1 or joined.dtype.kind not in "fiub" or len(lengths) > 1:
        return None
    (length,) = lengths
    return joined.reshape(len(rows), length) if n_features is None or n_features == length else None


def screen(observations: Sequence[Observation], n_features: int | None, refuse: Refuse) -> list[Observation]:
    """The observations whose embedding is (n_features,) real numbers, or of any length if that is None.

    ``refuse(field, reason)`` is called for each of the others: one caller's odd embedding must not
    end the test for everybody.
    """
    fitting = []
    for observation in observations:
        embedding = observation.embedding
        if not _is_real(embedding):
            refuse("embedding", "wrong_type")
        elif embedding.ndim != 1 or (n_features is not None and embedding.shape[0] != n_features):
            refuse("embedding", "wrong_shape")
        else:
            fitting.append(observation)
    return fitting


def stack(embeddings: Sequence[Any]) -> Any:
    """(b, d) array of (d,) ones: of their own kind and on their device if they agree, else numpy."""
    first = embeddings[0]
    kinds = {(type(row), getattr(row, "device", None)) for row in embeddings}
    if len(kinds) > 1 or isinstance(first, np.ndarray):
        return np.stack([on_host(row) for row in embeddings])
    import array_api_compat

    return array_api_compat.array_namespace(first).stack(list(embeddings))


def _is_real(embedding: Any) -> bool:
    if isinstance(embedding, np.ndarray):
        return embedding.dtype.kind in "fiub"
    is_complex = getattr(embedding, "is_complex", None)
    return hasattr(embedding, "ndim") and not (callable(is_complex) and is_complex())
