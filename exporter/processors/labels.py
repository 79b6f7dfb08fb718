"""Labels that arrive late, joined to the predictions they belong to."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from exporter.decoders.values import class_name
from exporter.observation import Label, LabelOutcome, Observation


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


@dataclass(slots=True)
class _Entry:
    arrived: float
    observation: Observation | None = None
    label: str | float | None = None


class LabelJoiner:
    """Joins observations and labels by (model, request id), whichever comes first.

    Both sides are remembered for a bounded time and in a bounded number; what falls out of the window
    is forgotten, and a label that comes later than that waits in vain. A pair is joined once: the same
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
        self._max_items = max_items
        self._window_seconds = window_seconds
        self._clock = clock
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()
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
            if entry.observation is not None:
                return None
            # Only what a label is compared with is kept: embeddings would fill the memory.
            entry.observation = Observation(
                model=observation.model,
                source=observation.source,
                timestamp=observation.timestamp,
                predicted_class=observation.predicted_class,
                confidence=observation.confidence,
                value=observation.value,
                request_id=observation.request_id,
            )
            return _pair(entry)

    def labelled(self, label: Label) -> tuple[LabelOutcome, LabelledPrediction | None]:
        """Take in a label; returns what became of it, and the pair if it was joined."""
        with self._lock:
            entry = self._entry((label.model, label.request_id))
            if entry.label is not None:
                same = class_name(entry.label) == class_name(label.label)
                return ("duplicate" if same else "conflict"), None
            entry.label = label.label
            pair = _pair(entry)
            return ("waiting" if pair is None else "joined"), pair

    def _entry(self, key: tuple[str, str]) -> _Entry:
        now = self._clock()
        while self._entries:
            oldest = next(iter(self._entries.values()))
            if now - oldest.arrived <= self._window_seconds:
                break
            self._entries.popitem(last=False)
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = _Entry(arrived=now)
            if len(self._entries) > self._max_items:
                self._entries.popitem(last=False)
        return entry


def _pair(entry: _Entry) -> LabelledPrediction | None:
    observation = entry.observation
    if observation is None or entry.label is None or observation.request_id is None:
        return None
    return LabelledPrediction(
        model=observation.model,
        request_id=observation.request_id,
        label=entry.label,
        predicted_class=observation.predicted_class,
        confidence=observation.confidence,
        value=observation.value,
        timestamp=observation.timestamp,
    )
