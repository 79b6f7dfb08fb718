"""Recorded streams: files of embeddings in the order in which they were observed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from exporter.errors import InvalidEmbedding, InvalidReference
from exporter.references.files import read_table


@dataclass(frozen=True, slots=True)
class Recording:
    """A recorded stream: (n, d) real numbers, and an id for each row, or none where the file names none.

    Rows with NaN or infinity are kept; the detector refuses them.
    """

    embeddings: NDArray[Any]
    request_ids: tuple[str | None, ...] = ()


def read_recording(path: str | os.PathLike[str], *, key: str | None = None) -> Recording:
    """Read a stream from ``.npy``, ``.npz``, ``.csv``, ``.parquet`` or ``.jsonl``.

    A line of ``.jsonl`` is a list of numbers, or an object with the list under ``key`` (``embedding``
    if None) and, if it likes, a ``request_id``; null is NaN. For the other formats see
    :func:`exporter.references.files.load_reference`.

    Raises
    ------
    InvalidEmbedding
        If the file cannot be read as rows of real numbers of one length.
    """
    source = Path(path)
    if source.suffix.lower() in (".jsonl", ".ndjson"):
        return _read_lines(source, key or "embedding")
    try:
        rows = np.asarray(read_table(source, key=key).rows)
    except InvalidReference as error:
        message = str(error).removeprefix("reference: ")
        raise InvalidEmbedding(f"stream: {message.replace('.parquet', '.parquet, .jsonl', 1)}") from error
    if rows.ndim == 1:
        rows = rows[:, None]
    if rows.ndim != 2 or rows.dtype.kind not in "fiub":
        raise InvalidEmbedding(
            f"stream: {source} holds {rows.dtype} of shape {rows.shape}; "
            "give real numbers of shape (n, d), one row for each observation"
        )
    return Recording(_not_empty(rows, source))


def _read_lines(source: Path, key: str) -> Recording:
    rows: list[NDArray[np.float64]] = []
    request_ids: list[str | None] = []
    try:
        with source.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    row, request_id = _read_line(line, key, f"{source} line {number}")
                    if rows and row.size != rows[0].size:
                        raise InvalidEmbedding(
                            f"stream: {source} line {number} has {row.size} numbers, the first has "
                            f"{rows[0].size}; all must have the same length"
                        )
                    rows.append(row)
                    request_ids.append(request_id)
    except OSError as error:
        raise InvalidEmbedding(f"stream: {source} cannot be read ({error.strerror})") from error
    embeddings = np.stack(rows) if rows else np.zeros((0, 0))
    named = tuple(request_ids) if any(name is not None for name in request_ids) else ()
    return Recording(_not_empty(embeddings, source), named)


def _read_line(line: bytes, key: str, where: str) -> tuple[NDArray[np.float64], str | None]:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        message = f"stream: {where} is not JSON ({error}); write one value on each line"
        raise InvalidEmbedding(message) from error
    request_id = None
    if isinstance(value, dict):
        name = value.get("request_id")
        request_id = None if name is None else str(name)
        value = value.get(key)
    try:
        row = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        row = np.zeros(())
    if not isinstance(value, list) or row.ndim != 1 or not row.size:
        raise InvalidEmbedding(
            f"stream: {where} has no list of numbers; write [0.1, ...] or an object with {key!r}: [0.1, ...]"
        )
    return row, request_id


def _not_empty(rows: NDArray[Any], source: Path) -> NDArray[Any]:
    if not rows.size:
        raise InvalidEmbedding(f"stream: {source} has no rows; record at least one observation")
    return rows
