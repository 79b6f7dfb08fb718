"""Features as embeddings, where a service gives no embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.decoders.base import Reading
from exporter.decoders.features import MAX_REQUEST_EMBEDDING, Columns, number_names
from exporter.decoders.names import REQUEST_ID_NAMES
from exporter.decoders.values import Refuse, as_vector
from exporter.decoders.vectors import numeric
from exporter.observation import Observation, Source, observation_of
from exporter.receivers.rows import Rows

_NUMBERS = frozenset((float, int, bool))
_KEPT = ("predicted_class", "confidence", "value", "features", "request_id", "version")


class FeatureEmbeddings:
    """Makes numeric features the embedding of what has none, until the service gives an embedding.

    By the rules for the rows of a request (:func:`exporter.decoders.features.add_request`), which are read
    as embeddings already: named features come in the order of their names, which ``columns`` keeps; what is
    not a number is left out. ``refuse`` is called with (field, reason) where the names are not those that
    most have; ``wanted`` says whether anybody tests embeddings: where nobody does, nothing is made.
    """

    def __init__(self, columns: Columns, refuse: Refuse, wanted: Callable[[], bool]) -> None:
        self._columns = columns
        self._refuse = refuse
        self._wanted = wanted
        self._given = False

    def embedding_given(self) -> None:
        """The service gives embeddings: they are tested, and features never again."""
        self._given = True

    def fields(self, features: Any, refuse: Refuse | None = None) -> Reading:
        """``embedding`` and ``feature_names`` out of one observation's features, as far as there are any."""
        if self._given or not isinstance(features, list | dict) or not self._wanted():
            return {}
        if len(features) > MAX_REQUEST_EMBEDDING:
            return {}
        if isinstance(features, list):
            if not numeric(features):
                return {}
            vector, reason, names = as_vector(features), "wrong_type", None
        else:
            if not (found := number_names(features)):
                return {}
            vector, reason = self._columns.vector(features, found), "wrong_shape"
            names = self._columns.names
        if vector is None:
            (refuse or self._refuse)("embedding", reason)
            return {}
        return {"embedding": vector, "feature_names": names}

    def observation(self, observation: Observation) -> Observation:
        """An observation, with an embedding if its features make one."""
        if observation.embedding is not None:
            if not _is_row(observation):
                self.embedding_given()
            return observation
        if observation.features is None:
            return observation
        fields = self.fields(observation.features)
        if not fields:
            return observation
        given, latency = {name: getattr(observation, name) for name in _KEPT}, observation.latency_seconds
        return observation_of(
            observation.model, observation.source, observation.timestamp, latency, given | fields
        )

    def observations(self, rows: Rows, source: Source) -> Sequence[Observation]:
        """Rows, each as an observation: their embeddings are made as arrays, where all are alike."""
        if rows.embedding is not None:
            self.embedding_given()
        # A wide table is left alone as a wide row is.
        elif rows.matrix is not None and rows.matrix.shape[1] <= MAX_REQUEST_EMBEDDING:
            if not self._given and self._wanted():
                rows = replace(rows, embedding=_float32(list(rows.matrix.T), rows.n))
        elif 0 < len(rows.features) <= MAX_REQUEST_EMBEDDING and not self._given and self._wanted():
            return self._of_columns(rows, source)
        return rows.observations(source)

    def _of_columns(self, rows: Rows, source: Source) -> Sequence[Observation]:
        columns = _numeric(rows)
        try:
            array = None if columns is None else _float32(list(columns.values()), rows.n)
        except OverflowError:  # an integer beyond all floats
            array = None
        if columns is None or array is None:
            return [self.observation(each) for each in rows.observations(source)]
        if not columns:
            return rows.observations(source)
        left_out = self._columns.agree(tuple(columns), rows.n)
        for _ in range(left_out):
            self._refuse("embedding", "wrong_shape")
        embedded = replace(rows.part(left_out, rows.n), embedding=array[left_out:])
        found = rows.part(0, left_out).observations(source)
        return found + embedded.observations(source, self._columns.names)


def _numeric(rows: Rows) -> dict[str, Any] | None:
    """Columns of numbers, in the order of their names; None if one has numbers in some of the rows only."""
    found: dict[str, Any] = {}
    for name in sorted(rows.features.keys() - REQUEST_ID_NAMES):
        column = rows.features[name]
        if isinstance(column, list):
            types = set(map(type, column))
            if types.isdisjoint(_NUMBERS):
                continue
            if not types <= _NUMBERS:
                return None
        found[name] = column
    return found


def _float32(columns: Sequence[Any], n: int) -> NDArray[np.float32]:
    """(n, d) out of d columns of numbers; what float32 cannot hold is infinite, which detectors refuse."""
    array = np.empty((n, len(columns)), np.float32)
    with np.errstate(over="ignore"):
        for position, column in enumerate(columns):
            array[:, position] = column
    return array


def _is_row(observation: Observation) -> bool:
    """Whether an embedding is the features themselves, as it is where a request's row was sent on."""
    features = observation.features
    return isinstance(features, list) and len(features) == observation.embedding.size
