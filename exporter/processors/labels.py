"""Labels that arrive late, joined to the predictions they belong to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cachetools import TTLCache

from exporter.config import LabelsConfig
from exporter.decoders.values import class_name
from exporter.metrics.contract import AGREEMENTS
from exporter.metrics.instruments import Instruments
from exporter.model import ModelId
from exporter.observation import LABEL_OUTCOMES, Label, LabelOutcome, Observation
from exporter.pipeline.processor import Outcomes, Processor


@dataclass(slots=True)
class LabelledPrediction:
    """A prediction and its truth; one of the two may be to come.

    Only what a label is compared with is kept: embeddings would fill the memory. ``timestamp`` is the
    prediction's, in seconds since the epoch.
    """

    model: str
    request_id: str
    label: str | float | None = None
    predicted_class: str | None = None
    confidence: float | None = None
    value: float | None = None
    timestamp: float | None = None
    version: str = ""

    @property
    def is_right(self) -> bool:
        """Whether the class that was predicted is the true one, however the label was written: 1 or 1.0."""
        return self.predicted_class == class_name(self.label)


class LabelJoiner:
    """Joins observations and labels by (model, request id), whichever comes first.

    Both sides are remembered for a bounded time and in a bounded number; what falls out of the window
    is forgotten, and a label that comes later than that is never joined. A pair is joined once: the same
    label again is a duplicate, another label for the same prediction a conflict, and both are ignored.
    Safe to call from several threads; a call costs a few dictionary operations. ``clock`` is monotonic.
    """

    def __init__(self, config: LabelsConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._known: TTLCache[tuple[str, str], LabelledPrediction] = TTLCache(
            config.max_items, config.window, clock
        )
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._known)

    def observed(self, observation: Observation, version: str = "") -> LabelledPrediction | None:
        """Remember a prediction of a version of its model; returns the pair if its label was waiting.

        An observation without a request id, or whose id is known already, changes nothing.
        """
        if observation.request_id is None:
            return None
        with self._lock:
            pair = self._pair(observation.model, observation.request_id)
            if pair.timestamp is not None:
                return None
            pair.predicted_class = observation.predicted_class
            pair.confidence = observation.confidence
            pair.value = observation.value
            pair.timestamp = observation.timestamp
            pair.version = version
            return None if pair.label is None else pair

    def labelled(self, label: Label) -> tuple[LabelOutcome, LabelledPrediction | None]:
        """Take in a label; returns what became of it, and the pair if it was joined."""
        with self._lock:
            pair = self._pair(label.model, label.request_id)
            if pair.label is not None:
                is_same = class_name(pair.label) == class_name(label.label)
                return ("duplicate" if is_same else "conflict"), None
            pair.label = label.label
            return ("waiting", None) if pair.timestamp is None else ("joined", pair)

    def _pair(self, model: str, request_id: str) -> LabelledPrediction:
        pair = self._known.get((model, request_id))
        if pair is None:
            pair = self._known[model, request_id] = LabelledPrediction(model, request_id)
        return pair


class Labels(Processor):
    """Joins labels with the predictions of one version of a model, and counts which were right.

    ``joiner`` is that of all versions, since a label says none: what was joined counts for the prediction's.
    """

    def __init__(self, joiner: LabelJoiner, model: ModelId, instruments: Instruments) -> None:
        self._joiner = joiner
        self._model = model
        self._labelled = instruments["prediction_labelled_total"]
        self._outcomes = instruments["inference_exporter_labels_total"]
        for agreement in AGREEMENTS:
            self._labelled.labels(*model, agreement)
        for outcome in LABEL_OUTCOMES:
            self._outcomes.labels(*model, outcome)

    def process(self, observations: Sequence[Observation], outcomes: Outcomes) -> None:  # noqa: ARG002
        """Remember predictions, for labels that may come."""
        for observation in observations:
            self._count(self._joiner.observed(observation, self._model.version))

    def label(self, label: Label) -> LabelOutcome:
        """Join a label; returns what became of it."""
        outcome, pair = self._joiner.labelled(label)
        version = self._model.version if pair is None else pair.version
        self._outcomes.labels(self._model.name, version, outcome).inc()
        self._count(pair)
        return outcome

    def _count(self, pair: LabelledPrediction | None) -> None:
        if pair is not None and pair.predicted_class is not None:
            agreement = "right" if pair.is_right else "wrong"
            self._labelled.labels(self._model.name, pair.version, agreement).inc()
