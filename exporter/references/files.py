"""What "normal" is, read from a file of embeddings."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from exporter.detectors.validation import check_reference, check_windows
from exporter.errors import InvalidReference

_NAMES = ("reference", "embeddings", "embedding", "x_ref", "x", "data", "features")
# What pandas calls the index of a frame where it becomes a column.
_INDEX = re.compile(r"|Unnamed: \d+|__index_level_\d+__")
_TARGETS = frozenset(("target", "label", "labels", "class", "y", "outcome"))


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a file, as they stand there."""

    rows: Any  # unchecked: (n, d) where all is well
    columns: tuple[str, ...] = ()  # the names of the d columns; empty where the file gives none
    notes: tuple[str, ...] = ()  # what is odd about the columns, in plain words


def load_reference(
    path: str | os.PathLike[str], *, window: int | Sequence[int] = 50, key: str | None = None
) -> Table:
    """Reference embeddings of a file: (n, d) float64 rows, checked.

    Parameters
    ----------
    path
        ``.npy``; ``.npz`` (the array ``key``, the only array, or one with a usual name such as
        ``reference`` or ``embeddings``); ``.csv`` (numbers, with or without a line of names); or
        ``.parquet`` (numeric columns, or one column of lists; needs pyarrow). Nothing pickled is read.
        Columns that hold the index of a pandas frame are left out.
    window
        The longest needs a quarter of the rows at most.
    key
        The array of an npz, or the column of lists of a parquet file.

    Raises
    ------
    InvalidReference
        If the file cannot be read as such, or the rows break a rule of :func:`check_reference`.
    """
    table = read_table(path, key=key)
    return replace(table, rows=check_reference(table.rows, check_windows(window)))


def read_table(path: str | os.PathLike[str], *, key: str | None = None) -> Table:
    """The rows of a file, as :func:`load_reference` reads them, unchecked."""
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
    except Exception as error:  # zipfile, NumPy and pyarrow raise what they please at damaged bytes
        raise InvalidReference(f"reference: {source} cannot be read ({error}); write it again") from error


def _begins_with(magic: bytes, file: BinaryIO, error: str) -> None:
    """What begins otherwise NumPy takes for a pickle, and advises to allow that."""
    if file.read(len(magic)) != magic:
        raise ValueError(error)
    file.seek(0)


def _read_npy(path: Path, key: str | None) -> Table:  # noqa: ARG001 - one signature for all readers
    with path.open("rb") as file:
        _begins_with(b"\x93NUMPY", file, "it is no .npy array")
        return Table(np.load(file, allow_pickle=False))


def _read_npz(path: Path, key: str | None) -> Table:
    with path.open("rb") as file:
        _begins_with(b"PK", file, "it is no .npz archive")
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
        return Table(archive[found[0]])


def _read_csv(path: Path, key: str | None) -> Table:  # noqa: ARG001
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = next(csv.reader([file.readline()]), [])
        columns = [] if _all_numbers(first) else [name.strip() for name in first]
        kept = _without_index(columns)
        file.seek(0)
        skip, use = (1 if columns else 0), (kept if len(kept) < len(columns) else None)
        rows = np.loadtxt(file, np.float64, delimiter=",", skiprows=skip, usecols=use, ndmin=2)
    if not rows.size:
        raise InvalidReference(f"reference: {path} has no rows; write one line for each observation")
    return _table(rows, columns, kept)


def _all_numbers(fields: list[str]) -> bool:
    try:
        [float(field) for field in fields]
    except ValueError:
        return False
    return True


def _read_parquet(path: Path, key: str | None) -> Table:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        message = f"reference: {path} needs pyarrow; pip install pyarrow, or save the rows as .npy"
        raise InvalidReference(message) from error
    try:
        table = parquet.read_table(path)
    except pyarrow.ArrowException as error:
        raise InvalidReference(f"reference: {path} is no parquet file ({error}); write it again") from error
    columns = table.column_names
    if key is not None and key not in columns:
        raise InvalidReference(f"reference: {path} has {', '.join(columns)}; there is no {key!r}")
    # The index of a pandas frame may go by any name; the file says which columns it is.
    index = (table.schema.pandas_metadata or {}).get("index_columns", [])
    kept = [columns.index(key)] if key is not None else _without_index(columns, index)
    if len(kept) == 1 and pyarrow.types.is_nested(table.schema.field(kept[0]).type):
        return Table(np.asarray(table.column(kept[0]).to_pylist(), dtype=np.float64))
    rows = np.column_stack([table.column(number).to_numpy().astype(np.float64) for number in kept])
    return _table(rows, columns, kept)


def _without_index(columns: list[str], index: Sequence[Any] = ()) -> list[int]:
    """Places of the columns that are not the index of a pandas frame."""
    return [n for n, name in enumerate(columns) if name not in index and not _INDEX.fullmatch(name)]


def _table(rows: NDArray[np.float64], columns: list[str], kept: list[int]) -> Table:
    names = tuple(columns[number] for number in kept)
    notes = []
    if len(kept) < len(columns):
        left_out = ", ".join(repr(name) for n, name in enumerate(columns) if n not in kept)
        notes.append(f"the column {left_out} is the index of a frame, and is left out")
    targets = [name for name in names if name.lower() in _TARGETS]
    if targets:
        notes.append(
            f"the column {', '.join(targets)} is taken as a feature, which a service that predicts it "
            "cannot send; leave it out of the file if it is the target"
        )
    return Table(rows, names, tuple(notes))
