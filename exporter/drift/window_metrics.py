"""One window of a detector at work: its state, its episodes of drift, and what the metrics show of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from exporter.detectors.base import Detector, Scores
from exporter.metrics.instruments import DetectorInstruments, Instruments
from exporter.metrics.private import observe_all
from exporter.model import ModelId

State = Literal["learning", "calibrating", "filling", "ready", "failed"]


@dataclass(frozen=True, slots=True)
class Onset:
    """An episode of drift begins: in which window, with which row of the batch, and how loudly."""

    label: str
    window: int
    row: int
    test_stat: float
    threshold: float


@dataclass(slots=True)
class Episode:
    """The alarm of a window of so many observations: single tests above the threshold, joined.

    It begins with a test above the threshold and ends once a full window of tests in a row stayed
    below it: until then the window still holds observations of the drift.
    """

    window: int
    active: bool = False
    quiet: int = 0

    def step(self, is_drift: bool) -> bool:
        """Take the next verdict; True if an episode begins with it."""
        if is_drift:
            begins = not self.active
            self.active = True
            self.quiet = 0
            return begins
        if self.active:
            self.quiet += 1
            if self.quiet >= self.window:
                self.active = False
        return False


class WindowMetrics:
    """The ``column``-th window of a detector, under a ``detector`` label of its own."""

    def __init__(
        self, model: ModelId, label: str, window: int, column: int, instruments: Instruments
    ) -> None:
        self.label = label
        self.state: State = "filling"
        self._window = window
        self._column = column
        self._instruments = DetectorInstruments(instruments, model, label)
        self._episode = Episode(window)
        self._last = (0.0, 1.0)  # statistic and threshold

    def record(self, scores: Scores, seconds: float, now: float) -> list[Onset]:
        """Count the verdicts on a batch, for which the detector took ``seconds``; give the onsets in it."""
        shown = self._instruments
        shown.detect_seconds.observe(seconds)
        statistics = scores.test_stat_by_window[:, self._column]
        threshold = float(scores.threshold_by_window[self._column])
        # There is none while the window fills, nor of a row that was refused.
        tested = np.flatnonzero(~np.isnan(statistics))
        if not tested.size:
            return []
        statistics = statistics[tested]
        observe_all(shown.test_stat, statistics)
        onsets = []
        if self._episode.active or statistics.max() > threshold:
            verdicts = (statistics > threshold).tolist()
            begins = [n for n, is_drift in enumerate(verdicts) if self._episode.step(is_drift)]
            onsets = [
                Onset(self.label, self._window, int(tested[n]), float(statistics[n]), threshold)
                for n in begins
            ]
            shown.events.inc(sum(verdicts))
            shown.episodes.inc(len(onsets))
        self._last = (float(statistics[-1]), threshold)
        shown.last_test_timestamp.set(now)
        self.show_last()
        if self.state == "filling":
            self.state = "ready"
            shown.enter_state("ready")
        return onsets

    def show_state(self, detector: Detector | None) -> None:
        """Show the state, and what the calibration came to, if there was one by now."""
        shown = self._instruments
        shown.enter_state(self.state)
        shown.threshold.set(0 if detector is None else float(detector.thresholds[self._column]))
        if detector is not None:
            shown.expected_run_length.set(detector.expected_run_length)
            shown.calibration_ok.set(getattr(getattr(detector, "report", None), "trustworthy", True))

    def show_last(self) -> None:
        """Show where the last test left things; zeros before the first, also where another went before."""
        statistic, threshold = self._last
        self._instruments.test_stat_last.set(statistic)
        self._instruments.score_ratio.set(statistic / threshold)
        self._instruments.active.set(1 if self._episode.active else 0)

    def forget(self) -> None:
        """Leave the scrape, lest an alert stays up for ever."""
        self._instruments.remove()
