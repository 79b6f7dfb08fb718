"""What a detector's verdicts come to in the metrics: one :class:`WindowMetrics` for each of its windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from exporter.detectors.base import Detector, Scores
from exporter.drift.window_metrics import State, WindowMetrics
from exporter.metrics.instruments import Instruments


@dataclass(frozen=True, slots=True)
class Onset:
    """An episode of drift begins: in which window, with which row of the batch, and how loudly."""

    label: str
    window: int
    row: int
    test_stat: float
    threshold: float


class DetectorMetrics:
    """The states, thresholds, statistics and episodes of all windows.

    Parameters
    ----------
    model
        Value of the ``model`` label.
    labels, windows
        Value of the ``detector`` label and length, in observations, of each window.
    clock
        Seconds since the epoch.
    shown
        Whether states go into the metrics at once, and not from :meth:`show` on.
    """

    def __init__(
        self,
        model: str,
        labels: Sequence[str],
        windows: Sequence[int],
        instruments: Instruments,
        *,
        clock: Callable[[], float],
        shown: bool,
    ) -> None:
        self.shown = shown
        self._windows = [
            WindowMetrics(model, label, window, instruments)
            for label, window in zip(labels, windows, strict=True)
        ]
        self._detector: Detector | None = None
        self._clock = clock

    @property
    def labels(self) -> set[str]:
        """Values of the ``detector`` label, one for each window."""
        return {window.label for window in self._windows}

    @property
    def state(self) -> State:
        """Where the detector is. With several windows it is ready when the last of them is."""
        return next((window.state for window in self._windows if window.state != "ready"), "ready")

    def enter(self, state: State, detector: Detector | None) -> None:
        """Take up a state for all windows, with the detector, if there is one by now."""
        self._detector = detector
        for window in self._windows:
            window.state = state
        if self.shown:
            self._show_states()

    def show(self) -> None:
        """Bring everything into the metrics, and keep it there."""
        self.shown = True
        self._show_states()
        for window in self._windows:
            window.show_last()

    def record(self, scores: Scores, seconds: float) -> list[Onset]:
        """Count the verdicts on a batch, for which the detector took ``seconds``; give the onsets in it."""
        onsets = []
        now = self._clock()
        for column, window in enumerate(self._windows):
            window.instruments.detect_seconds.observe(seconds)
            threshold = float(scores.threshold_by_window[column])
            # There is none while the window fills, nor of a row that was refused.
            tested = np.flatnonzero(~np.isnan(scores.test_stat_by_window[:, column]))
            statistics = scores.test_stat_by_window[tested, column]
            for n in window.record(statistics, threshold, now):
                onset = Onset(window.label, window.window, int(tested[n]), float(statistics[n]), threshold)
                onsets.append(onset)
            if window.state == "filling" and tested.size:
                window.enter("ready")
        return onsets

    def forget(self, labels: set[str]) -> None:
        """Take the metrics of these off the scrape, lest an alert stays up for ever."""
        for window in self._windows:
            if window.label in labels:
                window.instruments.remove()

    def _show_states(self) -> None:
        detector = self._detector
        for index, window in enumerate(self._windows):
            window.enter(window.state)
            if detector is None:
                window.instruments.threshold.set(0)
            else:
                window.instruments.threshold.set(float(detector.thresholds[index]))
                window.instruments.expected_run_length.set(detector.expected_run_length)
                report = getattr(detector, "report", None)
                window.instruments.calibration_ok.set(getattr(report, "trustworthy", True))
