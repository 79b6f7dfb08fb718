"""One detector in a running service: learning, calibrating, filling, ready, or failed.

:class:`DriftWatch` gives a detector its observations, its metrics and its episodes. Only the
calibration runs on a thread of its own, since it takes seconds and the queue must not wait for it.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np

from exporter.config import DetectorConfig, LearnConfig
from exporter.detectors.base import Detector
from exporter.drift.calibrator import Calibrator
from exporter.drift.checkpoint import Checkpoint
from exporter.drift.detectors import load_detector, read_reference
from exporter.drift.evidence import Recent, drift_event
from exporter.drift.sampling import RateSampler
from exporter.drift.window_metrics import State, WindowMetrics
from exporter.errors import InvalidEmbedding, InvalidReference
from exporter.metrics.instruments import Instruments
from exporter.observation import DriftEvent, Observation
from exporter.references.learner import ReferenceLearner

log = logging.getLogger(__name__)

# How long a batch waits for whoever else has the detector. Only a thread that hung, and was given
# up at a stop, has it for longer.
_PATIENCE_SECONDS = 0.05
# A service whose embeddings have another length than the detector's sends one with every request.
_SAY_AGAIN_SECONDS = 3600.0


class DriftWatch:
    """A detector at work on one model's stream.

    Observations come from one thread at a time, the model's worker. A lock holds what is left of the
    rule "one writer, in order" where a worker hung and was replaced.

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
        config: DetectorConfig,
        instruments: Instruments,
        *,
        refuse: Callable[[str, str], None],
        on_event: Callable[[DriftEvent], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.config = config
        self._model = model
        self._clock = clock
        self._refuse_value = refuse
        self._on_event = on_event
        self._said_at = -math.inf
        self._sampler = RateSampler(config.sample.max_per_second if config.sample else None)
        self._errors = instruments.errors["detect"]
        self._lock = threading.Lock()
        self._checkpoint = Checkpoint.of(model, config, instruments, clock)
        self._detector = load_detector(config, self._checkpoint.failed if self._checkpoint else None)
        # Read before anything shows: what cannot serve leaves no trace in the metrics.
        reference, self._learner = None, None
        if self._detector is None and not isinstance(config.reference, LearnConfig):
            config, reference = read_reference(config)
        self._lengths = config.windows if self._detector is None else self._detector.windows
        self._recent = Recent(max(self._lengths))
        # Where processes share their metrics, one that only forks others has nothing to say for itself.
        self._shown = self._alone = instruments.shared_folder is None
        labels = config.labels(self._lengths)
        self._windows = [
            WindowMetrics(model, label, window, column, instruments)
            for column, (label, window) in enumerate(zip(labels, self._lengths, strict=True))
        ]
        self._calibrator = Calibrator(config, adopt=self._adopt, fail=self._fail)
        self._calibrator.reference = reference
        if self._detector is not None:
            self._enter("filling")
        elif isinstance(config.reference, LearnConfig):
            self._learner = ReferenceLearner(config.reference.learn, window=self._lengths)
            self._enter("learning")
        else:
            self._enter("calibrating")

    @property
    def state(self) -> State:
        """Where the detector is. With several windows it is ready when the last of them is."""
        return next((window.state for window in self._windows if window.state != "ready"), "ready")

    @property
    def detector(self) -> Detector | None:
        """The detector, once it is calibrated."""
        return self._detector

    @property
    def labels(self) -> set[str]:
        """Values of the ``detector`` label, one for each window."""
        return {window.label for window in self._windows}

    def start(self) -> None:
        """Begin, or go on, in this process: from now on everything shows."""
        self._shown = True
        for window in self._windows:
            window.show_state(self._detector)
            window.show_last()
        if self.state == "calibrating":
            self._calibrator.start()

    def admits(self, timestamp: float) -> bool:
        """Whether the sampling rate lets an observation of that time through."""
        return self._sampler.admits(timestamp)

    def take(self, observations: Sequence[Observation]) -> None:
        """Test observations, in order; the embedding of each is a (d,) NumPy array of real numbers.

        A failure of the detector is logged and counted, ends in the state ``failed``, and is not
        raised: the observations were recorded all the same.
        """
        if not self._lock.acquire(timeout=_PATIENCE_SECONDS):
            self._fault("a thread given up earlier still has it; observations go untested")
            return
        try:
            if self._learner is not None:
                self._learn(self._learner, observations)
            elif self._detector is not None and self.state != "failed":
                self._test(self._detector, observations)
        except Exception:
            self._fail("it raised while testing")
        finally:
            self._lock.release()

    def join_calibration(self, timeout_seconds: float | None = None) -> bool:
        """Wait for a calibration under way; True if none is."""
        return self._calibrator.join(timeout_seconds)

    def close(self) -> None:
        """Give up a calibration under way, and write a last checkpoint, if one is kept."""
        self._calibrator.cancel()
        if self._checkpoint is None:
            return
        if self._detector is not None and self.state != "failed":
            if self._lock.acquire(timeout=_PATIENCE_SECONDS):
                try:
                    self._checkpoint.save(self._detector)
                finally:
                    self._lock.release()
            else:
                self._checkpoint.failed()
                self._fault("it is in the middle of a test; no last checkpoint is written")
        self._checkpoint.close()

    def forget(self, labels: set[str]) -> None:
        """Take the metrics of windows that are gone off the scrape, lest an alert stays up for ever."""
        for window in self._windows:
            if window.label in labels:
                window.forget()

    def after_fork(self) -> None:
        """In a child process: no thread came along, and what one of them was changing is in pieces."""
        self._shown = self._alone
        if self._lock.locked():
            self._recent.clear()
            if self._detector is not None:
                self._detector.reset()
                self._enter("filling")
            if self._learner is not None:
                self._learner = ReferenceLearner(self._learner.size, window=self._lengths)
        self._lock = threading.Lock()
        self._calibrator.after_fork()
        if self._checkpoint is not None:
            self._checkpoint.close()

    def _learn(self, learner: ReferenceLearner, observations: Sequence[Observation]) -> None:
        for observation in observations:
            row = observation.embedding
            reason = learner.add(row)
            if reason is not None:
                self._refuse(reason, row.size if reason == "wrong_shape" else None)
            elif learner.complete:
                break
        else:
            return
        self._learner = None
        try:
            self._calibrator.reference = learner.reference()
        except InvalidReference as error:
            self._fail(str(error), False)
            return
        self._enter("calibrating")
        self._calibrator.start()

    def _adopt(self, detector: Detector, cancelled: threading.Event) -> None:
        with self._lock:
            if not cancelled.is_set():
                self._detector = detector
                self._enter("filling")

    def _test(self, detector: Detector, observations: Sequence[Observation]) -> None:
        tested = self._fitting(detector, observations)
        if not tested:
            return
        rows = np.concatenate([item.embedding for item in tested]).reshape(len(tested), -1)
        started = time.perf_counter()
        try:
            scores = detector.update(rows)
        except InvalidEmbedding as error:
            log.warning("detector %s refuses %d embeddings: %s", self.config.label, len(tested), error)
            for _ in tested:
                self._refuse("wrong_shape")
            return
        seconds, now = time.perf_counter() - started, self._clock()
        onsets = [onset for window in self._windows for onset in window.record(scores, seconds, now)]
        for _ in range(np.count_nonzero(scores.refused)):
            self._refuse("not_finite")
        entered = np.flatnonzero(~scores.left_out)[-max(self._lengths) :]
        self._recent.add(tested[row] for row in entered)
        for onset in onsets:
            observation = tested[onset.row]
            self._on_event(drift_event(self._model, onset, observation, detector, self._recent, now))
        if self._checkpoint is not None:
            self._checkpoint.save_if_due(detector)

    def _fitting(self, detector: Detector, observations: Sequence[Observation]) -> list[Observation]:
        """Those whose embedding is as long as the detector's, or as the first that a detector takes.

        One caller's odd embedding must not end the test for everybody.
        """
        shape = (detector.n_features or max(1, observations[0].embedding.size),)
        fitting = [item for item in observations if item.embedding.shape == shape]
        if len(fitting) < len(observations):
            for item in observations:
                if item.embedding.shape != shape:
                    self._refuse("wrong_shape", item.embedding.size)
        return fitting

    def _refuse(self, reason: str, length: int | None = None) -> None:
        """Count an embedding that cannot be used; say so if its ``length`` is why, which is for long."""
        self._refuse_value("embedding", reason)
        now = self._clock()
        if length is None or 0 <= now - self._said_at < _SAY_AGAIN_SECONDS:
            return
        self._said_at = now
        expected = self._learner.length if self._learner is not None else None
        log.warning(
            "detector %s of model %s: an embedding of length %d is refused, %s has %s; is it that of this "
            "model, and does the service send one kind of embedding only? (said once an hour)",
            self.config.label,
            self._model,
            length,
            "its reference" if self._detector is not None else "what it learns from",
            expected if self._detector is None else self._detector.n_features,
        )

    def _enter(self, state: State) -> None:
        for window in self._windows:
            window.state = state
            if self._shown:
                window.show_state(self._detector)

    def _fail(self, reason: str, with_traceback: bool = True) -> None:
        self._fault(reason, with_traceback)
        self._enter("failed")

    def _fault(self, reason: str, with_traceback: bool = False) -> None:
        label = self.config.label
        log.error("detector %s of model %s: %s", label, self._model, reason, exc_info=with_traceback)
        self._errors.inc()
