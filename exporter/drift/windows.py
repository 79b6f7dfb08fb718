"""All windows of one detector at work, each under a ``detector`` label of its own."""

from __future__ import annotations

from collections.abc import Sequence

from exporter.config import DetectorConfig
from exporter.detectors.base import Detector, Scores
from exporter.drift.window_metrics import Onset, State, WindowMetrics
from exporter.metrics.instruments import Instruments
from exporter.model import ModelId
from exporter.references.reference import Origin


class Windows:
    """Their states, their episodes, and what the metrics show of them, :meth:`start` on at the latest."""

    def __init__(
        self, model: ModelId, config: DetectorConfig, lengths: Sequence[int], instruments: Instruments
    ) -> None:
        self.longest = max(lengths)
        self._all = [
            WindowMetrics(model, label, length, column, instruments)
            for column, (label, length) in enumerate(zip(config.labels(lengths), lengths, strict=True))
        ]
        # Where processes share their metrics, one that only forks others has nothing to say for itself.
        self._shown = self._alone = instruments.shared_folder is None

    @property
    def state(self) -> State:
        """Where the detector is. With several windows it is ready when the last of them is."""
        states = [window.state for window in self._all]
        return next((state for state in states if state not in ("provisional", "ready")), states[-1])

    @property
    def labels(self) -> set[str]:
        """Values of the ``detector`` label, one for each window."""
        return {window.label for window in self._all}

    @property
    def drifting(self) -> list[str]:
        """The labels of those whose episode lasts."""
        return [window.label for window in self._all if window.drifting]

    def start(self, detector: Detector | None, origin: Origin, learned: float) -> None:
        """From now on everything shows in this process; ``learned`` is the share of a reference."""
        self._shown = True
        for window in self._all:
            window.show_state(detector, origin)
            window.show_last()
        self.show_learned(learned)

    def begin(self, *, provisional: bool) -> None:
        """There is another detector: no window holds anything, and no episode lasts."""
        for window in self._all:
            window.begin(provisional=provisional)
            if self._shown:
                window.show_last()

    def enter(self, state: State, detector: Detector | None, origin: Origin) -> None:
        """They are all in one state."""
        for window in self._all:
            window.state = state
            if self._shown:
                window.show_state(detector, origin)

    def record(self, scores: Scores, seconds: float, now: float) -> list[Onset]:
        """Count the verdicts on a batch, for which the detector took ``seconds``; give the onsets in it."""
        return [onset for window in self._all for onset in window.record(scores, seconds, now)]

    def show_learned(self, ratio: float) -> None:
        """Show which share of the reference, for good, has been learned."""
        if self._shown:
            for window in self._all:
                window.show_learned(ratio)

    def forget(self, labels: set[str]) -> None:
        """Take the metrics of those that are gone off the scrape, lest an alert stays up for ever."""
        for window in self._all:
            if window.label in labels:
                window.forget()

    def after_fork(self) -> None:
        """In a child process."""
        self._shown = self._alone
