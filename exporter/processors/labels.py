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
from exporter.observation import LABEL_OUTCOMES, Label, LabelOutcome, Observation
from exporter.pipeline.processor import Outcomes, Processor


@dataclass(frozen=True, slots=True)
class LabelledPrediction:
    """A prediction and its truth. ``timestamp`` is the prediction's, in seconds since the epoch."""

    model: str
    request_id: str
    label: str | float
    predicted_class: str | None
    confidence: float | None
    value: float | None
    timestamp: float

    @property
    def is_right(self) -> bool:
        """Whether the class that was predicted is the true one, however the label was written: 1 or 1.0."""
        return self.predicted_class == class_name(self.label)


@dataclass(slots=True)
class _Entry:
    # Only what a label is compared with is kept: embeddings would fill the memory.
    prediction: tuple[str | None, float | None, float | None, float] | None = None
    label: str | float | None = None

    def pair(self, key: tuple[str, str]) -> LabelledPrediction | None:
        if self.prediction is None or self.label is None:
            return None
        predicted_class, confidence, value, timestamp = self.prediction
        return LabelledPrediction(*key, self.label, predicted_class, confidence, value, timestamp)


class LabelJoiner:
    """Joins observations and labels by (model, request id), whichever comes first.

    Both sides are remembered for a bounded time and in a bounded number; what falls out of the window
    is forgotten, and a label that comes later than that is never joined. A pair is joined once: the same
    label again is a duplicate, another label for the same prediction a conflict, and both are ignored.
    Safe to call from several threads; a call costs a few dictionary operations.

    Parameters
    ----------
    max_items
        How many predictions and waiting labels are remembered.
    window_seconds
        For how long.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        *,
        max_items: int = 100_000,
        window_seconds: float = 86_400.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._entries: TTLCache[tuple[str, str], _Entry] = TTLCache(max_items, window_seconds, clock)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def observed(self, observation: Observation) -> LabelledPrediction | None:
        """Remember a prediction; returns the pair if its label was waiting.

        An observation without a request id, or whose id is known already, changes nothing.
        """
        if observation.request_id is None:
            return None
        key = (observation.model, observation.request_id)
        with self._lock:
            entry = self._entry(key)
            if entry.prediction is not None:
                return None
            entry.prediction = (
                observation.predicted_class,
                observation.confidence,
                observation.value,
                observation.timestamp,
            )
            return entry.pair(key)

    def labelled(self, label: Label) -> tuple[LabelOutcome, LabelledPrediction | None]:
        """Take in a label; returns what became of it, and the pair if it was joined."""
        key = (label.model, label.request_id)
        with self._lock:
            entry = self._entry(key)
            if entry.label is not None:
                is_same = class_name(entry.label) == class_name(label.label)
                return ("duplicate" if is_same else "conflict"), None
            entry.label = label.label
            pair = entry.pair(key)
            return ("waiting" if pair is None else "joined"), pair

    def _entry(self, key: tuple[str, str]) -> _Entry:
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = _Entry()
        return entry


class Labels(Processor):
    """Joins one model's labels, and counts which predictions were right."""

    def __init__(self, config: LabelsConfig, model: str, instruments: Instruments) -> None:
        self._joiner = LabelJoiner(max_items=config.max_items, window_seconds=config.window)
        labelled = instruments["prediction_labelled_total"]
        self._agreement = {agreement: labelled.labels(model, agreement) for agreement in AGREEMENTS}
        labels = instruments["inference_exporter_labels_total"]
        self._outcomes = {outcome: labels.labels(model, outcome) for outcome in LABEL_OUTCOMES}

    def process(self, observations: Sequence[Observation], outcomes: Outcomes) -> None:  # noqa: ARG002
        """Remember predictions, for labels that may come."""
        for observation in observations:
            self._count(self._joiner.observed(observation))

    def label(self, label: Label) -> LabelOutcome:
        """Join a label; returns what became of it."""
        outcome, pair = self._joiner.labelled(label)
        self._outcomes[outcome].inc()
        self._count(pair)
        return outcome

    def _count(self, pair: LabelledPrediction | None) -> None:
        if pair is not None and pair.predicted_class is not None:
            self._agreement["right" if pair.is_right else "wrong"].inc()
