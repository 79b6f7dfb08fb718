"""One detector in a running service: learning, calibrating, filling, ready, or failed.

:class:`DriftWatch` gives a detector its observations, its metrics and its episodes. Only the
calibration runs on a thread of its own, since it takes seconds and the queue must not wait for it.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from exporter.config import DetectorConfig, LearnConfig
from exporter.detectors.base import Detector
from exporter.drift.calibrator import Calibrator
from exporter.drift.detectors import load_detector, read_reference
from exporter.drift.evidence import Recent, drift_event
from exporter.drift.keeping import Keeping
from exporter.drift.learning import Learning, warn_of_episode
from exporter.drift.refusals import Refusals
from exporter.drift.sampling import RateSampler
from exporter.drift.state import Kept, restored
from exporter.drift.window_metrics import State
from exporter.drift.windows import Windows
from exporter.errors import InferenceExporterError, InvalidEmbedding, InvalidReference
from exporter.metrics.instruments import Instruments
from exporter.model import ModelId
from exporter.observation import DriftEvent, Observation
from exporter.references.reference import Origin, Reference

log = logging.getLogger(__name__)

# How long a batch waits for whoever else has the detector. Only a thread that hung, and was given
# up at a stop, has it for longer.
_PATIENCE_SECONDS = 0.05


class DriftWatch:
    """A detector at work on one model's stream.

    Observations come from one thread at a time, the model's worker. A lock holds what is left of the
    rule "one writer, in order" where a worker hung and was replaced.

    Parameters
    ----------
    model
        Values of the labels ``model`` and ``version``.
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
    state
        Folder that keeps what is learned over restarts.

    Raises
    ------
    InvalidReference, DetectorFileError
        If the configured reference cannot serve; at construction, so that a service does not start
        with a detector that can never speak.
    """

    def __init__(
        self,
        model: ModelId,
        config: DetectorConfig,
        instruments: Instruments,
        *,
        refuse: Callable[[str, str], None],
        on_event: Callable[[DriftEvent], None],
        clock: Callable[[], float] = time.time,
        state: Path | None = None,
    ) -> None:
        self.config = config
        self._model = model
        self._clock = clock
        self._refuse = Refusals(model, config.label, refuse, clock)
        self._on_event = on_event
        self._sampler = RateSampler(config.sample.max_per_second if config.sample else None)
        self._errors = instruments.errors["detect"]
        self._lock = threading.Lock()
        self._keeping = Keeping(state, model, config, instruments, make=self._kept, clock=clock)
        self._detector: Detector | None = None
        self._origin = Origin()
        if (found := load_detector(config, self._keeping.checkpoint_failed)) is not None:
            self._detector, self._origin = found
        # Read before anything shows: what cannot serve leaves no trace in the metrics.
        reference, plan = None, config.reference if isinstance(config.reference, LearnConfig) else None
        if self._detector is None and plan is None:
            config, reference = read_reference(config)
        self._lengths = config.windows if self._detector is None else self._detector.windows
        self._recent = Recent(max(self._lengths))
        self._windows = Windows(model, config, self._lengths, instruments)
        self._calibrator = Calibrator(config, adopt=self._adopt, fail=self._not_calibrated)
        self._calibrator.reference = reference
        self._learning = None
        if plan is not None and self._detector is None:
            self._learning = Learning(
                *(model, config, plan, self._lengths, self._calibrator),
                refuse=self._refuse,
                reject=self._reject,
                clock=clock,
            )
        self._untouched = True
        self._windows.begin(provisional=self._provisional)
        self._enter(self._at_first())

    @property
    def state(self) -> State:
        """Where the detector is. With several windows it is ready when the last of them is."""
        return self._windows.state

    @property
    def detector(self) -> Detector | None:
        """The detector, once it is calibrated."""
        return self._detector

    @property
    def labels(self) -> set[str]:
        """Values of the ``detector`` label, one for each window."""
        return self._windows.labels

    def start(self) -> None:
        """Begin, or go on, in this process: from now on everything shows."""
        self._keeping.open(self._take_up if self._untouched else None)
        learned = 1.0 if self._learning is None else self._learning.learner.ratio
        self._windows.start(self._detector, self._origin, learned)
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
            if self.state == "failed":
                return
            self._untouched = False
            if self._learning is not None:
                self._learn(self._learning, observations)
            if self._detector is not None:
                self._test(self._detector, observations)
            self._keeping.save_if_due(self._lasting)
        except Exception:
            self._fail("it raised while testing")
        finally:
            self._lock.release()

    def join_calibration(self, timeout_seconds: float | None = None) -> bool:
        """Wait for a calibration under way; True if none is."""
        return self._calibrator.join(timeout_seconds)

    def close(self) -> None:
        """Give up a calibration under way, and write a last checkpoint and state, if they are kept."""
        self._calibrator.cancel()
        if self._keeping and self.state != "failed":
            if self._lock.acquire(timeout=_PATIENCE_SECONDS):
                try:
                    self._keeping.save(self._lasting)
                finally:
                    self._lock.release()
            else:
                self._keeping.failed()
                self._fault("it is in the middle of a test; no last checkpoint is written")
        self._keeping.close()

    def forget(self, labels: set[str]) -> None:
        """Take the metrics of windows that are gone off the scrape, lest an alert stays up for ever."""
        self._windows.forget(labels)

    def after_fork(self) -> None:
        """In a child process: no thread came along, and what one of them was changing is in pieces."""
        self._windows.after_fork()
        if self._lock.locked():
            self._recent.clear()
            if self._detector is not None:
                self._detector.reset()
                self._enter("filling")
            if self._learning is not None:
                self._learning.after_fork()
        self._lock = threading.Lock()
        self._calibrator.after_fork()
        self._keeping.close()

    @property
    def _provisional(self) -> bool:
        return self._origin.source == "provisional"

    @property
    def _lasting(self) -> Detector | None:
        return None if self._provisional else self._detector

    def _at_first(self) -> State:
        if self._detector is not None:
            return "filling"
        return "learning" if self._calibrator.reference is None else "calibrating"

    def _learn(self, learning: Learning, observations: Sequence[Observation]) -> None:
        drifting = bool(self._windows.drifting)
        learning.take(observations, tested=self._detector is not None, drifting=drifting)
        self._windows.show_learned(learning.learner.ratio)
        if self._detector is None:
            state: State = "learning" if self._calibrator.reference is None else "calibrating"
            if state != self.state:
                self._enter(state)

    def _adopt(self, detector: Detector, reference: Reference, cancelled: threading.Event) -> None:
        """Take over a detector, on the calibrator's thread."""
        with self._lock:
            if cancelled.is_set():
                return
            if lasting := self._windows.drifting:
                warn_of_episode(self._model, lasting, reference.origin.drifting_ratio)
            self._detector, self._origin = detector, reference.origin
            self._recent.clear()
            if self._learning is not None:
                if self._provisional:
                    self._learning.learner.no_provisional()
                else:
                    self._learning = None
                    self._windows.show_learned(1.0)
            self._windows.begin(provisional=self._provisional)
            self._enter("filling")
            self._keeping.make_due()

    def _not_calibrated(self, error: Exception) -> None:
        """A calibration came to nothing, on the calibrator's thread."""
        with self._lock:
            self._reject(error)

    def _reject(self, error: Exception) -> None:
        """What a reference had come to cannot serve: learn anew, or fail for good."""
        known = isinstance(error, InferenceExporterError)
        if self._learning is None or not (isinstance(error, InvalidReference) or self._detector is not None):
            self._fault(str(error) if known else "its calibration raised", None if known else error)
            self._enter("failed")
            return
        self._errors.inc()
        self._learning.restart(error, provisional=self._detector is None)
        if self._detector is None:
            self._enter("learning")

    def _take_up(self, kept: Kept) -> None:
        """Go on where the state was saved; a checkpoint of what was learned for good wins over less."""
        if kept.learner is not None:
            if self._learning is None:
                return
            self._learning.learner.restore(*kept.learner)
        elif kept.detector is not None or kept.reference is not None:
            self._learning = None
        self._origin = restored(kept.origin)
        if kept.detector is not None:
            self._detector = kept.detector
        if kept.reference is not None:
            self._calibrator.reference = replace(kept.reference, origin=self._origin)
        self._windows.begin(provisional=self._provisional)
        self._enter(self._at_first())

    def _kept(self) -> Kept:
        """What the state file is to hold."""
        learner = None if self._learning is None else self._learning.learner.state()
        return Kept(self._origin, self._detector, learner=learner)

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
        onsets = self._windows.record(scores, seconds, now)
        for _ in range(np.count_nonzero(scores.refused)):
            self._refuse("not_finite")
        entered = np.flatnonzero(~scores.refused)[-max(self._lengths) :]
        self._recent.add(tested[row] for row in entered)
        for onset in onsets:
            observation = tested[onset.row]
            self._on_event(drift_event(self._model, onset, observation, detector, self._recent, now))

    def _fitting(self, detector: Detector, observations: Sequence[Observation]) -> list[Observation]:
        """Those whose embedding is as long as the detector's, or as the first that a detector takes.

        One caller's odd embedding must not end the test for everybody.
        """
        shape = (detector.n_features or max(1, observations[0].embedding.size),)
        fitting = [item for item in observations if item.embedding.shape == shape]
        if len(fitting) < len(observations):
            for item in observations:
                if item.embedding.shape != shape:
                    self._refuse("wrong_shape", item.embedding.size, f"its reference has {shape[0]}")
        return fitting

    def _enter(self, state: State) -> None:
        self._windows.enter(state, self._detector, self._origin)

    def _fail(self, reason: str) -> None:
        self._fault(reason, sys.exc_info()[1])
        self._enter("failed")

    def _fault(self, reason: str, error: BaseException | None = None) -> None:
        label = self.config.label
        log.error("detector %s of model %s: %s", label, str(self._model), reason, exc_info=error)
        self._errors.inc()
