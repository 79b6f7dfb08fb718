"""What a detector's verdicts come to: metrics for each of its windows, and events."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from exporter.detectors.base import Detector, Scores
from exporter.drift.channel import Channel, State
from exporter.drift.embeddings import Refuse
from exporter.drift.evidence import Recent, least_and_most, moved_dimensions
from exporter.metrics.instruments import Instruments
from exporter.observation import DriftEvent, Observation


class Panel:
    """One channel for each window of a detector.

    Parameters
    ----------
    model
        Value of the ``model`` label.
    labels, windows
        Value of the ``detector`` label and length, in observations, of each window.
    refuse
        Called with (field, reason) for each embedding that the detector left out.
    on_event
        Called with each :class:`DriftEvent`.
    clock
        Seconds since the epoch.
    """

    def __init__(
        self,
        model: str,
        labels: Sequence[str],
        windows: Sequence[int],
        instruments: Instruments,
        *,
        refuse: Refuse,
        on_event: Callable[[DriftEvent], None],
        clock: Callable[[], float],
    ) -> None:
        self.channels = [
            Channel(model, label, window, instruments) for label, window in zip(labels, windows, strict=True)
        ]
        self.recent = Recent(max(windows))
        self._model = model
        self._refuse = refuse
        self._on_event = on_event
        self._clock = clock

    @property
    def ready(self) -> bool:
        """Whether every window is full."""
        return all(channel.state == "ready" for channel in self.channels)

    def enter(self, state: State) -> None:
        """Take up a state in every channel; :meth:`show` brings it into the metrics."""
        for channel in self.channels:
            channel.state = state

    def show(self, detector: Detector | None) -> None:
        """Bring states and thresholds into the metrics."""
        for index, channel in enumerate(self.channels):
            channel.enter(channel.state)
            if detector is None:
                channel.instruments.threshold.set(0)
            else:
                report = getattr(detector, "report", None)
                channel.instruments.threshold.set(float(detector.thresholds[index]))
                channel.instruments.expected_run_length.set(detector.expected_run_length)
                channel.instruments.calibration_ok.set(0 if report is not None and report.warnings else 1)

    def publish(self) -> None:
        """Bring statistics and episodes into the metrics."""
        now = self._clock()
        for channel in self.channels:
            channel.publish(now)

    def record(
        self, detector: Detector, tested: Sequence[Observation], scores: Scores, seconds: float
    ) -> None:
        """Count the verdicts on ``tested``, and announce the episodes that begin among them.

        ``seconds`` is what the detector took.
        """
        kept = np.flatnonzero(~scores.refused)
        for _ in range(len(tested) - kept.size):
            self._refuse("embedding", "not_finite")
        newest = kept[-self.recent.size :].tolist()
        self.recent.add([tested[row] for row in newest])
        for column, channel in enumerate(self.channels):
            channel.instruments.detect_seconds.observe(seconds)
            statistics = scores.test_stat_by_window[kept, column]
            threshold = float(scores.threshold_by_window[column])
            # There is none while the window fills.
            full = ~np.isnan(statistics)
            for position in channel.record(statistics[full], threshold):
                row = int(kept[full][position])
                statistic = float(scores.test_stat_by_window[row, column])
                self._announce(detector, channel, tested[row], statistic, threshold)
            if channel.state == "filling" and full.size and full[-1]:
                channel.enter("ready")
        self.publish()

    def _announce(
        self,
        detector: Detector,
        channel: Channel,
        observation: Observation,
        statistic: float,
        threshold: float,
    ) -> None:
        # The detector has taken the whole batch, and ``recent`` with it: the evidence is that of the
        # window at the end of the batch.
        evidence = detector.evidence(channel.window)
        least, most = least_and_most(self.recent.by_typicality(evidence))
        self._on_event(
            DriftEvent(
                model=self._model,
                detector=channel.label,
                timestamp=self._clock(),
                test_stat=statistic,
                threshold=threshold,
                expected_run_length=detector.expected_run_length,
                window=channel.window,
                request_id=observation.request_id,
                moved_dimensions=moved_dimensions(evidence),
                least_typical=least,
                most_typical=most,
            )
        )
