"""One window of a detector at work: its state, its episodes of drift, and what the metrics show of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from exporter.detectors.base import Detector, Scores
from exporter.metrics.instruments import DetectorInstruments, Instruments
from exporter.metrics.private import observe_all
from exporter.model import ModelId
from exporter.references.reference import Origin

QUIET_RATIO = 0.5
QUIET_WINDOWS = 2

State = Literal["learning", "calibrating", "filling", "provisional", "ready", "failed"]


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

    It begins with a test above the threshold and ends after two windows of tests in a row below *half* of
    it. Below half, since the statistic of a drift that goes on falls below the threshold every now and then;
    two windows, since for one the window still holds observations of the drift.
    """

    window: int
    active: bool = False
    quiet: int = 0

    def step(self, statistic: float, threshold: float) -> bool:
        """Take the next statistic; True if an episode begins with it."""
        if statistic > threshold:
            begins = not self.active
            self.active = True
            self.quiet = 0
            return begins
        if self.active:
            self.quiet = self.quiet + 1 if statistic < QUIET_RATIO * threshold else 0
            if self.quiet >= QUIET_WINDOWS * self.window:
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
        self._tested: State = "ready"  # what it is as soon as it tests

    @property
    def drifting(self) -> bool:
        """Whether an episode lasts."""
        return self._episode.active

    def begin(self, *, provisional: bool) -> None:
        """There is another detector: its window is empty, and no episode lasts."""
        self._episode = Episode(self._window)
        self._last = (0.0, 1.0)
        self._tested = "provisional" if provisional else "ready"

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
            step = self._episode.step
            begins = [n for n, each in enumerate(statistics.tolist()) if step(each, threshold)]
            onsets = [
                Onset(self.label, self._window, int(tested[n]), float(statistics[n]), threshold)
                for n in begins
            ]
            shown.events.inc(np.count_nonzero(statistics > threshold))
            shown.episodes.inc(len(onsets))
        self._last = (float(statistics[-1]), threshold)
        shown.last_test_timestamp.set(now)
        self.show_last()
        if self.state == "filling":
            self.state = self._tested
            shown.enter_state(self.state)
        return onsets

    def show_state(self, detector: Detector | None, origin: Origin) -> None:
        """Show the state, the reference, and what the calibration came to, if there was one by now."""
        shown = self._instruments
        shown.enter_state(self.state)
        shown.show_reference(origin.source, origin.timestamp, origin.rows, origin.drifting_ratio)
        shown.threshold.set(0 if detector is None else float(detector.thresholds[self._column]))
        if detector is not None:
            shown.expected_run_length.set(detector.expected_run_length)
            shown.calibration_ok.set(getattr(getattr(detector, "report", None), "trustworthy", True))

    def show_learned(self, ratio: float) -> None:
        """Show which share of the reference, for good, has been learned."""
        self._instruments.learning_ratio.set(ratio)

    def show_last(self) -> None:
        """Show where the last test left things; zeros before the first, also where another went before."""
        statistic, threshold = self._last
        self._instruments.test_stat_last.set(statistic)
        self._instruments.score_ratio.set(statistic / threshold)
        self._instruments.active.set(1 if self._episode.active else 0)

    def forget(self) -> None:
        """Leave the scrape, lest an alert stays up for ever."""
        self._instruments.remove()
