"""One detector in a running service: learning, calibrating, filling, ready, or failed.

:class:`DriftWatch` gives a detector its observations, its metrics and its episodes. It is used by
the model's worker thread alone; only the calibration runs on a thread of its own, since it takes
seconds and the queue must not wait for it.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from exporter.channel import Channel, channel_labels
from exporter.checkpoint import Checkpoint
from exporter.config import DriftConfig, LearnConfig
from exporter.detect.base import Detector
from exporter.detectors import fit_detector, load_detector, read_reference
from exporter.errors import InferenceExporterError, InvalidEmbedding
from exporter.instruments import Instruments
from exporter.observation import DriftEvent, Observation, TypicalObservation
from exporter.reference import ReferenceLearner
from exporter.sampling import RateSampler

State = Literal["learning", "calibrating", "filling", "ready", "failed"]
Refuse = Callable[[str, str], None]
log = logging.getLogger(__name__)

_EVIDENCE = 5


class DriftWatch:
    """A detector at work on one model's stream.

    Parameters
    ----------
    model
        Value of the ``model`` label.
    config
        The entry of ``drift`` that it follows.
    instruments
        Where its metrics live.
    refuse
        Called with (field, reason) for each embedding that cannot be tested.
    on_event
        Called on the worker thread with each :class:`DriftEvent`.
    clock
        Seconds since the epoch.

    Raises
    ------
    InvalidReference, DetectorFileError
        If the configured reference cannot serve; at construction, so that a service does not start
        with a detector that can never speak.
    """

    def __init__(
        self,
        model: str,
        config: DriftConfig,
        instruments: Instruments,
        *,
        refuse: Refuse,
        on_event: Callable[[DriftEvent], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.config = config
        self._model = model
        self._refuse = refuse
        self._on_event = on_event
        self._clock = clock
        self._sampler = RateSampler(config.sample.max_per_second if config.sample else None)
        self._errors = instruments.errors["detect"]
        self._learner: ReferenceLearner | None = None
        self._calibration: threading.Thread | None = None
        self._checkpoint = _checkpoint(model, config, instruments, clock)
        self._detector: Detector | None = load_detector(config)
        windows = self._detector.windows if self._detector is not None else config.windows
        self._channels = [
            Channel(model, label, window, instruments)
            for label, window in zip(channel_labels(config.label, windows), windows, strict=True)
        ]
        self._recent: deque[tuple[str | None, float]] = deque(maxlen=max(windows))
        self._begin(windows)

    @property
    def state(self) -> State:
        """Where the detector is; the value of the ``state`` label that shows 1."""
        return self._state

    @property
    def detector(self) -> Detector | None:
        """The detector, once it is calibrated."""
        return self._detector

    def admits(self, timestamp: float) -> bool:
        """Whether the sampling rate lets an observation of that time through."""
        return self._sampler.admits(timestamp)

    def take(self, observations: Sequence[Observation]) -> None:
        """Test observations, in order; each has an embedding.

        A failure of the detector is logged and counted, ends in the state ``failed``, and is not
        raised: the observations were recorded all the same.
        """
        try:
            if self._learner is not None:
                self._learn(observations)
            elif self._detector is not None and self._state != "failed":
                self._test(self._detector, observations)
        except Exception:
            self._fail("it raised while testing")

    def join_calibration(self, timeout_seconds: float | None = None) -> bool:
        """Wait for a calibration under way; True if none is."""
        thread = self._calibration
        if thread is not None:
            thread.join(timeout_seconds)
            return not thread.is_alive()
        return True

    def close(self) -> None:
        """Write a last checkpoint, if one is kept."""
        if self._checkpoint is not None and self._detector is not None and self._state != "failed":
            self._checkpoint.save(self._detector)

    def _begin(self, windows: tuple[int, ...]) -> None:
        if self._detector is not None:
            self._adopt(self._detector)
        elif isinstance(self.config.reference, LearnConfig):
            self._learner = ReferenceLearner(self.config.reference.learn, window=windows)
            self._enter("learning")
        else:
            self._calibrate(read_reference(self.config))

    def _learn(self, observations: Sequence[Observation]) -> None:
        learner = self._learner
        if learner is None:
            return
        for observation in observations:
            refused = learner.refused
            try:
                learner.add(observation.embedding)
            except InvalidEmbedding:
                self._refuse("embedding", "wrong_shape")
            if learner.refused > refused:
                self._refuse("embedding", "not_finite")
            if learner.complete:
                self._learner = None
                self._calibrate(learner.reference())
                return

    def _calibrate(self, reference: Any) -> None:
        self._enter("calibrating")

        def fit() -> None:
            try:
                self._adopt(fit_detector(self.config, reference))
            except InferenceExporterError as error:
                self._fail(str(error), with_traceback=False)
            except Exception:
                self._fail("its calibration raised")

        self._calibration = threading.Thread(target=fit, name=f"calibrate-{self.config.label}", daemon=True)
        self._calibration.start()

    def _adopt(self, detector: Detector) -> None:
        for channel, threshold in zip(self._channels, detector.thresholds, strict=True):
            channel.instruments.threshold.set(float(threshold))
            channel.instruments.expected_run_length.set(detector.expected_run_length)
            channel.instruments.calibration_ok.set(1 if getattr(detector, "calibration_ok", True) else 0)
        self._detector = detector
        self._enter("filling")

    def _test(self, detector: Detector, observations: Sequence[Observation]) -> None:
        rows, tested = self._stack(detector, observations)
        if not tested:
            return
        started = time.perf_counter()
        scores = detector.update(rows)
        seconds = time.perf_counter() - started
        kept = []
        for row, observation in enumerate(tested):
            if scores.refused[row]:
                self._refuse("embedding", "not_finite")
            else:
                kept.append(row)
                self._recent.append((observation.request_id, observation.timestamp))
        now = self._clock()
        for column, channel in enumerate(self._channels):
            channel.instruments.detect_seconds.observe(seconds)
            statistics = scores.test_stat_by_window[:, column]
            threshold = float(scores.threshold_by_window[column])
            for row in kept:
                statistic = float(statistics[row])
                if not math.isnan(statistic) and channel.record(statistic, threshold):
                    self._announce(detector, channel, tested[row], statistic, threshold)
            channel.publish(now)
        if self._state == "filling" and kept and not np.isnan(scores.test_stat_by_window[kept[-1]]).any():
            self._enter("ready")
        if self._checkpoint is not None:
            self._checkpoint.save_if_due(detector)

    def _stack(
        self, detector: Detector, observations: Sequence[Observation]
    ) -> tuple[Any, list[Observation]]:
        """The embeddings as one (b, d) array where they can be, and the observations they belong to."""
        fitting = []
        for observation in observations:
            if observation.embedding.shape[-1] == detector.n_features:
                fitting.append(observation)
            else:
                self._refuse("embedding", "wrong_shape")
        if not fitting:
            return None, []
        return stack([observation.embedding for observation in fitting]), fitting

    def _announce(
        self,
        detector: Detector,
        channel: Channel,
        observation: Observation,
        statistic: float,
        threshold: float,
    ) -> None:
        evidence = detector.evidence(channel.window)
        members = list(self._recent)[-len(evidence.witness) :]
        ranked = sorted(zip(evidence.witness, members, strict=False), key=lambda pair: float(pair[0]))
        typical = [
            TypicalObservation(request_id, timestamp, float(witness))
            for witness, (request_id, timestamp) in ranked
        ]
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
                moved_dimensions=tuple(
                    (int(dimension), float(shift))
                    for dimension, shift in zip(evidence.dimensions, evidence.shifts, strict=True)
                )[:_EVIDENCE],
                least_typical=tuple(typical[:_EVIDENCE]),
                most_typical=tuple(reversed(typical[-_EVIDENCE:])),
            )
        )

    def _enter(self, state: State) -> None:
        self._state: State = state
        for channel in self._channels:
            channel.instruments.enter_state(state)

    def _fail(self, reason: str, *, with_traceback: bool = True) -> None:
        log.error(
            "detector %s of model %s failed: %s",
            self.config.label,
            self._model,
            reason,
            exc_info=with_traceback,
        )
        self._errors.inc()
        self._enter("failed")


def stack(embeddings: Sequence[Any]) -> Any:
    """(b, d) array of (d,) ones: of their own kind and on their device if they agree, else numpy."""
    first = embeddings[0]
    if isinstance(first, np.ndarray) or len({type(row) for row in embeddings}) > 1:
        return np.stack([row if isinstance(row, np.ndarray) else np.asarray(row.cpu()) for row in embeddings])
    import array_api_compat

    return array_api_compat.array_namespace(first).stack(list(embeddings))


def _checkpoint(
    model: str, config: DriftConfig, instruments: Instruments, clock: Callable[[], float]
) -> Checkpoint | None:
    if config.checkpoint is None:
        return None
    return Checkpoint(
        config.checkpoint,
        config.checkpoint_interval,
        written=instruments["drift_checkpoint_timestamp_seconds"].labels(model, config.label).set,
        failed=instruments["drift_checkpoint_failures_total"].labels(model, config.label).inc,
        clock=clock,
    )
