"""Rules that references, windows and embeddings have to obey."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from exporter.errors import ConfigError, InvalidEmbedding, InvalidReference

MIN_DISTINCT_ROWS = 10


def check_windows(window: int | Sequence[int]) -> tuple[int, ...]:
    """Window lengths, ascending and distinct; each an integer of at least 2."""
    lengths = [window] if isinstance(window, (int, np.integer)) else list(window)
    whole = [
        int(w) for w in lengths if isinstance(w, (int, np.integer)) and not isinstance(w, bool) and w >= 2
    ]
    if not lengths or len(whole) != len(lengths) or len(set(whole)) != len(whole):
        raise ConfigError(f"window: {window!r}; give one integer of at least 2, or several different ones")
    return tuple(sorted(whole))


def check_positive(name: str, value: float, least: float = 0.0) -> float:
    """``value`` as a float, if it is finite, positive and at least ``least``."""
    number = float(value)
    if not (np.isfinite(number) and number > 0.0 and number >= least):
        rule = f"at least {least:g}" if least else "above 0"
        raise ConfigError(f"{name}: {value!r}; give a finite number, {rule}")
    return number


def check_reference(reference: Any, windows: tuple[int, ...]) -> NDArray[np.float64]:
    """The reference as (n, d) float64, if it can serve as one.

    Raises
    ------
    InvalidReference
        If it is not (n, d) real numbers, n < 4 * the longest window, any value is NaN or
        infinite, or fewer than 10 rows are distinct.
    """
    x = np.asarray(reference)
    if x.ndim != 2 or x.shape[1] < 1:
        raise InvalidReference(f"reference: shape {x.shape}; give (n, d), one row for each observation")
    if x.dtype.kind not in "fiub":
        raise InvalidReference(f"reference: dtype {x.dtype}; give real numbers")
    need = 4 * windows[-1]
    if x.shape[0] < need:
        raise InvalidReference(
            f"reference: {x.shape[0]} rows; a window of {windows[-1]} needs at least {need}: "
            f"give more rows or a window of at most {x.shape[0] // 4}"
        )
    x = x.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
    if bad.size:
        raise InvalidReference(
            f"reference: {bad.size} of {x.shape[0]} rows hold NaN or infinity (first: row {bad[0]}); "
            "remove them"
        )
    distinct = len({row.tobytes() for row in x})
    if distinct < MIN_DISTINCT_ROWS:
        what = "constant" if distinct == 1 else f"only {distinct} distinct rows"
        raise InvalidReference(
            f"reference: {what}; at least {MIN_DISTINCT_ROWS} distinct rows are needed: check that the "
            "embeddings come from different observations"
        )
    return x


def as_rows(batch: Any, n_features: int) -> Any:
    """(b, d) view of (b, d) or (d,) embeddings.

    Raises
    ------
    InvalidEmbedding
        If they are not real numbers of length ``n_features``.
    """
    if isinstance(batch, np.ndarray) and batch.dtype.kind not in "fiub":
        raise InvalidEmbedding(f"embedding: dtype {batch.dtype}; give real numbers")
    if batch.ndim == 1:
        batch = array_namespace(batch).reshape(batch, (1, -1))
    if batch.ndim != 2 or batch.shape[1] != n_features:
        shape = tuple(batch.shape)
        raise InvalidEmbedding(
            f"embedding: shape {shape}; the reference has embeddings of length {n_features}: "
            f"give ({n_features},) or (b, {n_features})"
        )
    return batch
