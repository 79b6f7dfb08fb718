"""One detector in a running service: learning, calibrating, filling, ready, or failed.

:class:`DriftWatch` gives a detector its observations, its metrics and its episodes. Only the
calibration runs on a thread of its own, since it takes seconds and the queue must not wait for it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from exporter.config import DriftConfig, LearnConfig
from exporter.detectors.base import Detector
from exporter.drift.calibrator import Calibrator
from exporter.drift.channel import State
from exporter.drift.checkpoint import Checkpoint
from exporter.drift.detectors import load_detector, read_reference
from exporter.drift.embeddings import Refuse, fitting, screen, stack
from exporter.drift.panel import Panel
from exporter.drift.sampling import RateSampler
from exporter.errors import InvalidEmbedding, InvalidReference
from exporter.metrics.instruments import Instruments
from exporter.observation import DriftEvent, Observation
from exporter.references.reference import ReferenceLearner

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
        self._sampler = RateSampler(config.sample.max_per_second if config.sample else None)
        self._errors = instruments.errors["detect"]
        self._lock = threading.Lock()
        self._checkpoint = Checkpoint.of(model, config, instruments, clock)
        self._detector = load_detector(config, self._checkpoint.failed if self._checkpoint else None)
        self._learner: ReferenceLearner | None = None
        learns = isinstance(config.reference, LearnConfig)
        # Read before anything shows: what cannot serve leaves no trace in the metrics.
        reference = read_reference(config) if self._detector is None and not learns else None
        windows = self._detector.windows if self._detector is not None else config.windows
        self._panel = Panel(
            model,
            config.labels(windows),
            windows,
            instruments,
            refuse=refuse,
            on_event=on_event,
            clock=clock,
        )
        self._calibrator = Calibrator(config, adopt=self._adopt, fail=self._fail)
        # Where processes share their metrics, one that only forks others has nothing to say for itself.
        self._alone = instruments.shared_folder is None
        self._shown = self._alone
        self._state: State = "filling"
        if self._detector is not None:
            self._enter("filling")
        elif isinstance(config.reference, LearnConfig):
            self._learner = ReferenceLearner(config.reference.learn, window=windows)
            self._enter("learning")
        else:
            self._calibrator.reference = reference
            self._enter("calibrating")

    @property
    def state(self) -> State:
        """Where the detector is. With several windows it is ready when the last of them is."""
        return self._state

    @property
    def detector(self) -> Detector | None:
        """The detector, once it is calibrated."""
        return self._detector

    @property
    def labels(self) -> set[str]:
        """Values of the ``detector`` label, one for each window."""
        return {channel.label for channel in self._panel.channels}

    def start(self) -> None:
        """Begin, or go on, in this process."""
        self._shown = True
        self._panel.show(self._detector)
        self._panel.publish()
        if self._state == "calibrating":
            self._calibrator.start()

    def admits(self, timestamp: float) -> bool:
        """Whether the sampling rate lets an observation of that time through."""
        return self._sampler.admits(timestamp)

    def take(self, observations: Sequence[Observation]) -> None:
        """Test observations, in order; each has an embedding.

        A failure of the detector is logged and counted, ends in the state ``failed``, and is not
        raised: the observations were recorded all the same.
        """
        if not self._lock.acquire(timeout=_PATIENCE_SECONDS):
            self._fault("a thread given up earlier still has it; observations go untested")
            return
        try:
            if self._learner is not None:
                self._learn(self._learner, observations)
            elif self._detector is not None and self._state != "failed":
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
        if self._checkpoint is None or self._detector is None or self._state == "failed":
            return
        if self._lock.acquire(timeout=_PATIENCE_SECONDS):
            try:
                self._checkpoint.save(self._detector)
            finally:
                self._lock.release()
        else:
            self._checkpoint.failed()
            self._fault("it is in the middle of a test; no last checkpoint is written")

    def forget(self, labels: set[str]) -> None:
        """Take the metrics of channels that are gone off the scrape, lest an alert stays up for ever."""
        for channel in self._panel.channels:
            if channel.label in labels:
                channel.instruments.remove()

    def after_fork(self) -> None:
        """In a child process: no thread came along, and what one of them was changing is in pieces."""
        self._shown = self._alone
        if self._lock.locked():
            self._panel.recent.clear()
            if self._detector is not None:
                self._detector.reset()
                self._enter("filling")
            if self._learner is not None:
                self._learner = ReferenceLearner(self._learner.size, window=self.config.windows)
        self._lock = threading.Lock()
        self._calibrator.after_fork()

    def _learn(self, learner: ReferenceLearner, observations: Sequence[Observation]) -> None:
        for observation in screen(observations, None, self._refuse):
            refused = learner.refused
            try:
                learner.add(observation.embedding)
            except InvalidEmbedding:
                self._refuse("embedding", "wrong_shape")
            if learner.refused > refused:
                self._refuse("embedding", "not_finite")
            if learner.complete:
                self._learner = None
                try:
                    self._calibrator.reference = learner.reference()
                except InvalidReference as error:
                    self._fail(str(error), with_traceback=False)
                    return
                self._enter("calibrating")
                self._calibrator.start()
                return

    def _adopt(self, detector: Detector, cancelled: threading.Event) -> None:
        with self._lock:
            if not cancelled.is_set():
                self._detector = detector
                self._enter("filling")

    def _test(self, detector: Detector, observations: Sequence[Observation]) -> None:
        tested, rows = observations, fitting(observations, detector.n_features or None)
        if rows is None:
            tested = screen(observations, detector.n_features or None, self._refuse)
            if not tested:
                return
            rows = stack([observation.embedding for observation in tested])
        started = time.perf_counter()
        try:
            scores = detector.update(rows)
        except InvalidEmbedding as error:
            log.warning("detector %s refuses %d embeddings: %s", self.config.label, len(tested), error)
            for _ in tested:
                self._refuse("embedding", "wrong_shape")
            return
        self._panel.record(detector, tested, scores, time.perf_counter() - started)
        if self._state == "filling" and self._panel.ready:
            self._state = "ready"
        if self._checkpoint is not None:
            self._checkpoint.save_if_due(detector)

    def _enter(self, state: State) -> None:
        self._state = state
        self._panel.enter(state)
        if self._shown:
            self._panel.show(self._detector)

    def _fail(self, reason: str, *, with_traceback: bool = True) -> None:
        self._fault(reason, with_traceback=with_traceback)
        self._enter("failed")

    def _fault(self, reason: str, *, with_traceback: bool = False) -> None:
        log.error(
            "detector %s of model %s: %s",
            self.config.label,
            self._model,
            reason,
            exc_info=with_traceback,
        )
        self._errors.inc()
