"""What "normal" is: reference embeddings from a file, or learned from the first of the stream."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.detectors.validation import as_rows, check_reference, check_windows
from exporter.errors import ConfigError, InvalidReference

_NAMES = ("reference", "embeddings", "embedding", "x_ref", "x", "data", "features")


def load_reference(
    path: str | os.PathLike[str], *, window: int | Sequence[int] = 50, key: str | None = None
) -> NDArray[np.float64]:
    """Reference embeddings of a file, (n, d) float64, checked.

    Parameters
    ----------
    path
        ``.npy``; ``.npz`` (the array ``key``, the only array, or one with a usual name such as
        ``reference`` or ``embeddings``); ``.csv`` (numbers, with or without a line of names); or
        ``.parquet`` (numeric columns, or one column of lists; needs pyarrow). Nothing pickled is read.
    window
        The longest needs a quarter of the rows at most.
    key
        The array of an npz, or the column of lists of a parquet file.

    Raises
    ------
    InvalidReference
        If the file cannot be read as such, or the rows break a rule of :func:`check_reference`.
    """
    return check_reference(read_rows(path, key=key), check_windows(window))


def read_rows(path: str | os.PathLike[str], *, key: str | None = None) -> Any:
    """The rows of a file, as :func:`load_reference` reads them, unchecked.

    Raises
    ------
    InvalidReference
        If the file cannot be read as such.
    """
    source = Path(path)
    readers = {".npy": _read_npy, ".npz": _read_npz, ".csv": _read_csv, ".parquet": _read_parquet}
    reader = readers.get(source.suffix.lower())
    if reader is None:
        raise InvalidReference(f"reference: {source}; give a file ending in {', '.join(readers)}")
    try:
        return reader(source, key)
    except FileNotFoundError as error:
        raise InvalidReference(f"reference: {source} does not exist; give the path of a file") from error
    except InvalidReference:
        raise
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise InvalidReference(f"reference: {source} cannot be read ({error}); write it again") from error


def _read_npy(path: Path, key: str | None) -> Any:  # noqa: ARG001 - one signature for all readers
    with path.open("rb") as file:
        return np.load(file, allow_pickle=False)


def _read_npz(path: Path, key: str | None) -> Any:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        names = archive.files
        wanted = (key,) if key is not None else _NAMES
        found = [name for name in wanted if name in names] or (
            names if key is None and len(names) == 1 else []
        )
        if not found:
            raise InvalidReference(
                f"reference: {path} holds {', '.join(names) or 'nothing'}; "
                + (f"there is no {key!r}" if key else f"name the array one of {', '.join(_NAMES)}")
            )
        return archive[found[0]]


def _read_csv(path: Path, key: str | None) -> Any:  # noqa: ARG001
    with path.open(encoding="utf-8-sig") as file:
        first = file.readline()
        skip = 0 if _all_numbers(first) else 1
        file.seek(0)
        rows = np.loadtxt(file, delimiter=",", skiprows=skip, ndmin=2, dtype=np.float64)
    if not rows.size:
        raise InvalidReference(f"reference: {path} has no rows; write one line for each observation")
    return rows


def _all_numbers(line: str) -> bool:
    try:
        [float(field) for field in line.split(",")]
    except ValueError:
        return False
    return True


def _read_parquet(path: Path, key: str | None) -> Any:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise InvalidReference(
            f"reference: {path} needs pyarrow; pip install pyarrow, or save the rows as .npy"
        ) from error
    try:
        table = parquet.read_table(path)
    except pyarrow.ArrowException as error:
        raise InvalidReference(f"reference: {path} is no parquet file ({error}); write it again") from error
    names = [key] if key is not None else table.column_names
    missing = [name for name in names if name not in table.column_names]
    if missing:
        raise InvalidReference(f"reference: {path} has {', '.join(table.column_names)}; there is no {key!r}")
    if len(names) == 1 and pyarrow.types.is_nested(table.schema.field(names[0]).type):
        return np.asarray(table.column(names[0]).to_pylist(), dtype=np.float64)
    return np.column_stack([table.column(name).to_numpy().astype(np.float64) for name in names])


class ReferenceLearner:
    """Collects the first ``size`` embeddings of a stream as the reference.

    Rows with NaN or infinity, or of another length than the first, are refused and counted: what
    is wrong in the first minute must not decide what is normal. Memory is ``size`` rows.
    """

    def __init__(self, size: int, *, window: int | Sequence[int] = 50) -> None:
        self._windows = check_windows(window)
        if size < 4 * self._windows[-1]:
            raise ConfigError(
                f"learn: {size}; a window of {self._windows[-1]} needs at least {4 * self._windows[-1]}"
            )
        self.size = size
        self.refused = 0
        self._rows: list[NDArray[np.float64]] = []
        self._count = 0

    @property
    def count(self) -> int:
        """Rows collected so far."""
        return self._count

    @property
    def complete(self) -> bool:
        """Whether ``size`` rows have been collected."""
        return self._count >= self.size

    def add(self, batch: Any) -> int:
        """Take (b, d) or (d,) embeddings; give how many of the rows were used up, refused ones too.

        Raises
        ------
        InvalidEmbedding
            If the embeddings have another length than the first ones; nothing is then taken.
        """
        if hasattr(batch, "detach"):
            batch = batch.detach().cpu().double().numpy()
        batch = np.asarray(batch)
        width = self._rows[0].shape[1] if self._rows else int(batch.shape[-1]) if batch.ndim else 0
        rows = as_rows(batch, width).astype(np.float64)
        finite = np.isfinite(rows).all(axis=1)
        within = np.cumsum(finite) <= self.size - self._count
        used = int(np.count_nonzero(within)) if not self.complete else 0
        kept = rows[:used][finite[:used]]
        self.refused += used - kept.shape[0]
        if kept.shape[0]:
            self._rows.append(kept)
            self._count += kept.shape[0]
        return used

    def reference(self) -> NDArray[np.float64]:
        """The collected rows, (size, d) float64, checked.

        Raises
        ------
        InvalidReference
            If they are too few, constant, or too few of them are distinct.
        """
        if not self._rows:
            raise InvalidReference("reference: no embedding has arrived yet; send traffic, or give a file")
        return check_reference(np.concatenate(self._rows), self._windows)
