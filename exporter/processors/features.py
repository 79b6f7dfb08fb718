"""Features as embeddings, where a service gives no embeddings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from exporter.decoders.features import Columns
from exporter.decoders.values import as_vector
from exporter.observation import Observation


class FeatureEmbeddings:
    """Makes numeric features the embedding of observations that have none, until one has.

    What stands in a request is read so already; this is for features that the service itself tells. Named
    ones come in the order of their names; what is not a number is left out. ``refuse`` is called with
    (field, reason) where the names are not those that most observations have.
    """

    def __init__(self, refuse: Callable[[str, str], None]) -> None:
        self._refuse = refuse
        self._columns = Columns()
        self._wanted = True

    def __call__(self, observations: Sequence[Observation]) -> Sequence[Observation]:
        """The observations, in their order."""
        if not self._wanted:
            return observations
        if all(observation.features is None for observation in observations):
            return observations
        if any(
            observation.embedding is not None and not _is_row(observation) for observation in observations
        ):
            self._wanted = False
            return observations
        return [self._embedded(observation) for observation in observations]

    def _embedded(self, observation: Observation) -> Observation:
        features = observation.features
        if features is None or observation.embedding is not None:
            return observation
        if not isinstance(features, Mapping):
            vector = as_vector(features)
            return observation if vector is None else replace(observation, embedding=vector)
        vector = self._columns.vector(features)
        if vector is None:
            if self._columns.names:  # else there is nothing but text
                self._refuse("embedding", "wrong_shape")
            return observation
        return replace(observation, embedding=vector, feature_names=self._columns.names)


def _is_row(observation: Observation) -> bool:
    """Whether an embedding is the features themselves, as the rows of a request are."""
    if observation.feature_names is not None:
        return True
    features = observation.features
    return isinstance(features, Sequence) and len(features) == observation.embedding.size
