"""The instruments of one detector of one model: of each of its windows, and of all of them together."""

from __future__ import annotations

from typing import Any

from exporter.metrics.contract import DETECTOR_STATES, DRIFT, OPERATION, REFERENCE_SOURCES
from exporter.metrics.instruments import Instruments
from exporter.model import ModelId

_REFERENCE = ("timestamp_seconds", "rows", "drifting_ratio")
_BEHIND_DETECTOR = {
    "state": [(state,) for state in DETECTOR_STATES],
    "source": [(source,) for source in REFERENCE_SOURCES],
}


class DetectorInstruments:
    """The children of one detector of one model."""

    def __init__(self, instruments: Instruments, model: ModelId, detector: str) -> None:
        def child(name: str) -> Any:
            return instruments[name].labels(*model, detector)

        self._instruments = instruments
        self._labels = (*model, detector)
        self.test_stat = child("drift_test_stat")
        self.test_stat_last = child("drift_test_stat_last")
        self.threshold = child("drift_threshold")
        self.score_ratio = child("drift_score_ratio")
        self.active = child("drift_active")
        self.events = child("drift_events_total")
        self.episodes = child("drift_episodes_total")
        self.last_test_timestamp = child("drift_last_test_timestamp_seconds")
        self.expected_run_length = child("drift_expected_run_length")
        self.calibration_ok = child("drift_calibration_ok")
        self.detect_seconds = child("inference_exporter_detect_seconds")
        states = instruments["drift_detector_state"]
        self._states = {state: states.labels(*model, detector, state) for state in DETECTOR_STATES}
        self.learning_ratio = child("drift_learning_ratio")
        self.effective_sample_ratio = child("drift_effective_sample_ratio")
        self._reference = [child(f"drift_reference_{what}") for what in _REFERENCE]
        sources = instruments["drift_reference_info"]
        self._sources = {each: sources.labels(*model, detector, each) for each in REFERENCE_SOURCES}

    def remove(self) -> None:
        """Take all of them off the scrape."""
        for spec in (*DRIFT, *OPERATION):
            if "detector" not in spec.labels:
                continue
            for rest in _BEHIND_DETECTOR.get(spec.labels[-1], ((),)):
                self._instruments[spec.name].remove(*self._labels, *rest)

    def enter_state(self, state: str) -> None:
        """Show one state as 1 and all others as 0."""
        for name, child in self._states.items():
            child.set(1 if name == state else 0)

    def show_reference(self, source: str, *shown: float) -> None:
        """Show where the reference came from; its time, its rows, and the share from while it drifted."""
        for name, child in self._sources.items():
            child.set(1 if name == source else 0)
        for gauge, value in zip(self._reference, shown, strict=True):
            gauge.set(value)


class EntryInstruments:
    """The children of one entry of ``drift`` that its windows share, under the entry's own name."""

    def __init__(self, instruments: Instruments, model: ModelId, label: str) -> None:
        self.repeats = instruments["inference_exporter_repeats_total"].labels(*model, label)
        self.atypical = instruments["embedding_atypical_total"].labels(*model, label)
        self.atypical_tested = instruments["embedding_atypical_tested_total"].labels(*model, label)
