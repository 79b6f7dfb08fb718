"""Rules that references, windows and embeddings have to obey."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from exporter.arrays import on_host
from exporter.errors import ConfigError, InvalidEmbedding, InvalidReference

MIN_DISTINCT_ROWS = 10
MIN_BLOCKS = 5
_BYTES_A_PAIR = 6  # of reference rows: a float32 kernel value and its 16-bit code


def check_windows(window: int | Sequence[int]) -> tuple[int, ...]:
    """Window lengths, ascending and distinct; each an integer of at least 2."""
    lengths = list(window) if isinstance(window, (list, tuple, np.ndarray)) else [window]
    valid = {
        int(w) for w in lengths if isinstance(w, (int, np.integer)) and not isinstance(w, bool) and w >= 2
    }
    if not lengths or len(valid) != len(lengths):
        raise ConfigError(f"window: {window!r}; give one integer of at least 2, or several different ones")
    return tuple(sorted(valid))


def check_positive(name: str, value: float, least: float = 0.0) -> float:
    """``value`` as a float, if it is finite, positive and at least ``least``."""
    number = float(value)
    if not (np.isfinite(number) and number > 0.0 and number >= least):
        rule = f"at least {least:g}" if least else "above 0"
        raise ConfigError(f"{name}: {value!r}; give a finite number, {rule}")
    return number


def check_count(name: str, value: int) -> int:
    """``value`` as an int, if it is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ConfigError(f"{name}: {value!r}; give a whole number of at least 1")
    return int(value)


def as_samples(name: str, sample: Any) -> NDArray[np.float64]:
    """(n, d) float64 of an offline sample, NumPy or torch: n >= 2, d >= 1, finite; or an InvalidEmbedding."""
    x = on_host(sample)
    if x.ndim != 2 or x.shape[0] < 2 or x.shape[1] < 1 or x.dtype.kind not in "fiub":
        raise InvalidEmbedding(f"{name}: shape {x.shape}, dtype {x.dtype}; give (n, d) real numbers, n >= 2")
    x = x.astype(np.float64)
    bad = int(np.count_nonzero(~np.isfinite(x).all(axis=1)))
    if bad:
        raise InvalidEmbedding(f"{name}: {bad} of {x.shape[0]} rows hold NaN or infinity; remove them")
    return x


def check_reference(reference: Any, windows: tuple[int, ...]) -> NDArray[np.float64]:
    """The reference as (n, d) float64, if it can serve as one.

    An InvalidReference if it is not (n, d) real numbers, n < 4 * the longest window, any value is NaN or
    infinite, or fewer than 10 rows are distinct.
    """
    x = on_host(reference)
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
    distinct = count_distinct(x)
    if distinct < MIN_DISTINCT_ROWS:
        what = "constant" if distinct == 1 else f"only {distinct} distinct rows"
        raise InvalidReference(
            f"reference: {what}; at least {MIN_DISTINCT_ROWS} distinct rows are needed: check that the "
            "embeddings come from different observations"
        )
    return x


def check_confidence(value: float) -> float:
    """``value`` as a float, if it is from 0.5 to below 1."""
    number = float(value)
    if not 0.5 <= number < 1.0:
        raise ConfigError(
            f"confidence: {value!r}; give a share of references from 0.5 to below 1, such as 0.9"
        )
    return number


def check_block(block: int, n: int) -> int:
    """Rows in a block of a reference of ``n``, which has to be of at least five whole blocks."""
    block = check_count("block", block)
    if n // block < MIN_BLOCKS:
        raise InvalidReference(
            f"reference: {n} rows are {n // block} blocks of {block}; at least {MIN_BLOCKS} are needed, and "
            "20 or more say how much one differs from another: give more rows, or shorter blocks"
        )
    if n % block:
        raise InvalidReference(
            f"reference: {n} rows are no whole number of blocks of {block}; give {n // block * block} rows"
        )
    return block


def count_distinct(x: NDArray[np.float64]) -> int:
    """How many rows of (n, d) differ from all others."""
    return len({hash(row.tobytes()) for row in x + 0.0})  # -0.0 is 0.0


def as_rows(batch: Any, n_features: int) -> Any:
    """(b, d) view of (b, d) or (d,) embeddings; InvalidEmbedding if not real numbers of that length."""
    if isinstance(batch, np.ndarray):
        real = batch.dtype.kind in "fiub"
    else:
        real = array_namespace(batch).isdtype(batch.dtype, ("real floating", "integral", "bool"))
    if not real:
        raise InvalidEmbedding(f"embedding: dtype {batch.dtype}; give real numbers")
    if batch.ndim == 1:
        batch = array_namespace(batch).reshape(batch, (1, -1))
    if batch.ndim != 2 or batch.shape[1] != n_features:
        raise InvalidEmbedding(
            f"embedding: shape {tuple(batch.shape)}; the reference has embeddings of length {n_features}: "
            f"give ({n_features},) or (b, {n_features})"
        )
    return batch


def fit_memory(
    rows: NDArray[np.float64],
    limit: int,
    windows: tuple[int, ...],
    rng: np.random.Generator,
    block: int = 1,
) -> tuple[NDArray[np.float64], list[str]]:
    """The rows, or as many of them as the limit (in bytes) allows, and what to say about them."""
    n = rows.shape[0]
    notes = []
    most = math.isqrt(limit // _BYTES_A_PAIR) // block * block
    if n > most:
        need = max(4 * windows[-1], MIN_BLOCKS * block)
        if most < need:
            raise InvalidReference(
                f"reference: a window of {windows[-1]} needs {need} rows, and their kernel values "
                f"more than the {limit / 1e9:.1f} GB of OnlineMMD.max_kernel_bytes; give a shorter window"
                f"{' or shorter blocks' if block > 1 else ''}"
            )
        notes.append(
            f"the reference has {n} rows, whose kernel values need {n * n * _BYTES_A_PAIR / 1e9:.1f} GB; "
            f"{most} rows, drawn at random, are used, within OnlineMMD.max_kernel_bytes "
            f"({limit / 1e9:.1f} GB)"
        )
        chosen = np.sort(rng.choice(n // block, most // block, replace=False))
        rows = rows.reshape(n // block, block, -1)[chosen].reshape(most, -1)
    return rows, notes
