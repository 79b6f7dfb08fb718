"""One window of one detector, as the metrics show it: state, statistic, threshold, events, episodes."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from exporter.drift.episode import Episode
from exporter.metrics.instruments import DetectorInstruments, Instruments
from exporter.metrics.private import observe_all

State = Literal["learning", "calibrating", "filling", "ready", "failed"]


class WindowMetrics:
    """A window's ``detector`` label, its metrics and its episode.

    Parameters
    ----------
    model, label
        Values of the labels ``model`` and ``detector``.
    window
        Length of the window, in observations.
    """

    def __init__(self, model: str, label: str, window: int, instruments: Instruments) -> None:
        self.label = label
        self.window = window
        self.state: State = "filling"
        self.instruments = DetectorInstruments(instruments, model, label)
        self._episode = Episode(window)
        self._last: tuple[float, float] | None = None

    def enter(self, state: State) -> None:
        """Take up a state, and show it."""
        self.state = state
        self.instruments.enter_state(state)

    def record(self, statistics: NDArray[np.float64], threshold: float, now: float) -> list[int]:
        """Count tests, in order; give the positions among them at which an episode begins."""
        if not statistics.size:
            return []
        observe_all(self.instruments.test_stat, statistics)
        self._last = (float(statistics[-1]), threshold)
        begins = []
        if self._episode.active or statistics.max() > threshold:
            verdicts = (statistics > threshold).tolist()
            begins = [index for index, is_drift in enumerate(verdicts) if self._episode.step(is_drift)]
            self.instruments.events.inc(sum(verdicts))
            self.instruments.episodes.inc(len(begins))
        self.instruments.last_test_timestamp.set(now)
        self.show_last()
        return begins

    def show_last(self) -> None:
        """Show where the last test left things; zeros before the first, also where another went before."""
        statistic, threshold = self._last or (0.0, 1.0)
        self.instruments.test_stat_last.set(statistic)
        self.instruments.score_ratio.set(statistic / threshold)
        self.instruments.active.set(1 if self._episode.active else 0)
