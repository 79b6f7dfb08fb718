"""Many predictions of one model as columns: what waits as one block, and becomes rows where it is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.observation import Observation, Source, observations_of

# Of a row whose class was not given, or refused.
NO_CLASS = np.uint32(0xFFFFFFFF)


@dataclass(frozen=True, slots=True)
class Rows:
    """``n`` predictions, made at the same time; of what was not given there is no column.

    Parameters
    ----------
    model
        Value of the ``model`` label.
    timestamp
        When they were recorded, in seconds since the epoch.
    classes, codes
        The names of classes, and (n,) uint32 positions among them, or ``NO_CLASS``.
    numbers
        ``confidence`` and ``value``, as far as they were given: (n,) float64, NaN where a row has none.
    embedding
        (n, d) float32.
    matrix
        (n, k) float64: features without names.
    features
        Features by name: (n,) float64, or a list of n numbers, texts and Nones.
    request_ids
        n texts or Nones.
    version
        Which release of the model, where that is said: the value of the ``version`` label.
    """

    model: str
    timestamp: float
    n: int
    classes: tuple[str, ...] = ()
    codes: NDArray[np.uint32] | None = None
    numbers: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    embedding: NDArray[np.float32] | None = None
    matrix: NDArray[np.float64] | None = None
    features: Mapping[str, NDArray[np.float64] | list[Any]] = field(default_factory=dict)
    request_ids: list[str | None] | None = None
    version: str = ""

    def __len__(self) -> int:
        return self.n

    @property
    def predicts(self) -> bool:
        """Whether any column is left, beside identifiers."""
        columns = (self.codes, self.embedding, self.matrix)
        return bool(self.numbers or self.features) or any(column is not None for column in columns)

    @property
    def row_bytes(self) -> int:
        """What a row is in bytes, roughly."""
        columns = (self.embedding, self.matrix, self.codes, *self.numbers.values(), *self.features.values())
        arrays = [column for column in columns if isinstance(column, np.ndarray)]
        n_lists = sum(isinstance(column, list) for column in (*self.features.values(), self.request_ids))
        return sum(array.nbytes for array in arrays) // max(1, self.n) + 32 * n_lists

    def part(self, start: int, stop: int) -> Rows:
        """The rows from ``start`` up to ``stop``; they share the arrays."""
        rows = slice(start, stop)
        return Rows(
            self.model,
            self.timestamp,
            stop - start,
            self.classes,
            None if self.codes is None else self.codes[rows],
            {name: column[rows] for name, column in self.numbers.items()},
            None if self.embedding is None else self.embedding[rows],
            None if self.matrix is None else self.matrix[rows],
            {name: column[rows] for name, column in self.features.items()},
            None if self.request_ids is None else self.request_ids[rows],
            self.version,
        )

    def plain(self) -> tuple[Any, ...]:
        """All but the version as bytes, text and numbers; :meth:`from_plain` undoes it."""
        classes: tuple[str, ...] = ()
        codes = self.codes
        if codes is not None:
            # Of many classes a part of the rows has few.
            own, positions = np.unique(codes, return_inverse=True)
            codes = positions.astype(np.uint32)
            if len(own) and own[-1] == NO_CLASS:
                codes[codes == len(own) - 1] = NO_CLASS
                own = own[:-1]
            classes = tuple(self.classes[code] for code in own.tolist())
        embedding, matrix = self.embedding, self.matrix
        return (
            self.model,
            self.timestamp,
            self.n,
            classes,
            None if codes is None else codes.tobytes(),
            {name: column.tobytes() for name, column in self.numbers.items()},
            None if embedding is None else (embedding.tobytes(), embedding.shape),
            None if matrix is None else (matrix.tobytes(), matrix.shape),
            {
                name: column.tobytes() if isinstance(column, np.ndarray) else column
                for name, column in self.features.items()
            },
            self.request_ids,
        )

    @classmethod
    def from_plain(cls, plain: tuple[Any, ...]) -> Rows:
        """The rows that :meth:`plain` was asked of."""
        model, timestamp, n, classes, codes, numbers, embedding, matrix, features, request_ids = plain
        return cls(
            model,
            timestamp,
            n,
            classes,
            None if codes is None else np.frombuffer(codes, np.uint32),
            {name: np.frombuffer(column) for name, column in numbers.items()},
            None if embedding is None else np.frombuffer(embedding[0], np.float32).reshape(embedding[1]),
            None if matrix is None else np.frombuffer(matrix[0]).reshape(matrix[1]),
            {
                name: np.frombuffer(column) if isinstance(column, bytes) else column
                for name, column in features.items()
            },
            request_ids,
        )

    def observations(self, source: Source, feature_names: tuple[str, ...] | None = None) -> list[Observation]:
        """The rows, each as an observation; ``feature_names`` if the embedding is made of named features."""
        columns: dict[str, Sequence[Any]] = {}
        if self.codes is not None:
            names = (*self.classes, None)
            codes = np.minimum(self.codes, np.uint32(len(self.classes)))
            columns["predicted_class"] = [names[code] for code in codes.tolist()]
        for name, numbers in self.numbers.items():
            columns[name] = [None if isnan(number) else number for number in numbers.tolist()]
        if self.embedding is not None:
            columns["embedding"] = list(self.embedding)
        if self.matrix is not None:
            columns["features"] = self.matrix.tolist()
        elif self.features:
            lists = [
                each.tolist() if isinstance(each, np.ndarray) else each for each in self.features.values()
            ]
            columns["features"] = [
                dict(zip(self.features, row, strict=True)) for row in zip(*lists, strict=True)
            ]
        if self.request_ids is not None:
            columns["request_id"] = self.request_ids
        return observations_of(self.model, source, self.timestamp, self.n, columns, feature_names)
