"""One window of one detector, as the metrics show it: statistic, threshold, events, episodes."""

from __future__ import annotations

from collections.abc import Sequence

from exporter.episode import Episode
from exporter.instruments import DetectorInstruments, Instruments


class Channel:
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
        self.instruments = DetectorInstruments(instruments, model, label)
        self._episode = Episode(window)
        self._last: tuple[float, float] | None = None

    def record(self, statistic: float, threshold: float) -> bool:
        """Count one test; True if an episode begins with it."""
        self.instruments.test_stat.observe(statistic)
        self._last = (statistic, threshold)
        is_drift = statistic > threshold
        if is_drift:
            self.instruments.events.inc()
        begins = self._episode.step(is_drift)
        if begins:
            self.instruments.episodes.inc()
        return begins

    def publish(self, now: float) -> None:
        """Show where the last test of a batch left things."""
        if self._last is None:
            return
        statistic, threshold = self._last
        self.instruments.test_stat_last.set(statistic)
        self.instruments.score_ratio.set(statistic / threshold)
        self.instruments.active.set(1 if self._episode.active else 0)
        self.instruments.last_test_timestamp.set(now)


def channel_labels(label: str, windows: Sequence[int]) -> list[str]:
    """The ``detector`` label of each window: several windows of one detector speak for themselves."""
    if len(windows) == 1:
        return [label]
    return [f"{label}_w{window}" for window in windows]
