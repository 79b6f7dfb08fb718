"""Observations to one model's detectors, each at its own rate, and word of what they find."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from exporter.config import Config, DetectorConfig
from exporter.drift.sampling import RateSampler
from exporter.drift.watch import DriftWatch
from exporter.metrics.instruments import Instruments, InvalidValues
from exporter.observation import DriftEvent, Observation
from exporter.pipeline.processor import Outcomes, Processor

log = logging.getLogger(__name__)


class Notifier:
    """Tells whoever wanted to know of drift events; a failure of theirs is logged and counted."""

    def __init__(self, instruments: Instruments, on_event: Callable[[DriftEvent], None] | None) -> None:
        self._errors = instruments.errors["notify"]
        self._on_event = on_event

    def __call__(self, event: DriftEvent) -> None:
        """Hand an event over."""
        try:
            if self._on_event is not None:
                self._on_event(event)
        except Exception:
            log.exception("the handler of a drift event raised")
            self._errors.inc()


class Drift(Processor):
    """Tests embeddings; ``notify`` is called on the thread that processes.

    Raises
    ------
    ConfigError, InvalidReference, DetectorFileError
        If a detector that the configuration names cannot serve.
    """

    def __init__(
        self,
        config: Config,
        instruments: Instruments,
        *,
        notify: Callable[[DriftEvent], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._model = config.identity
        self._instruments = instruments
        self._refuse = InvalidValues(instruments, config.identity)
        self._notify = notify
        self._clock = clock
        self._running = False
        self._state = config.state
        self.watches = [self._new_watch(entry) for entry in config.drift]
        self._embedding_sampler = _shared_sampler(self.watches)

    @property
    def tests(self) -> bool:
        """Whether there is any detector."""
        return bool(self.watches)

    def worth_embedding(self, timestamp: float) -> bool | None:
        """Whether one of that time would be tested, if it had an embedding; None if none ever is."""
        return self._embedding_sampler.admits(timestamp) if self.watches else None

    def process(self, observations: Sequence[Observation], outcomes: Outcomes) -> None:
        """Test a batch; what no detector's rate lets through was sampled out."""
        watches = self.watches
        admitted_by_any: set[int] = set()
        testable = [observation for observation in observations if observation.embedding is not None]
        for watch in watches:
            admitted = testable
            if watch.config.sample is not None:
                admitted = [item for item in testable if watch.admits(item.timestamp)]
                admitted_by_any.update(map(id, admitted))
            if admitted:
                watch.take(admitted)
        if watches and all(watch.config.sample is not None for watch in watches):
            for position, observation in enumerate(observations):
                if observation.embedding is not None and id(observation) not in admitted_by_any:
                    outcomes.sampled_out(position)

    def start(self) -> None:
        """Begin, or go on with, calibrations."""
        self._running = True
        for watch in self.watches:
            watch.start()

    def stop(self) -> None:
        """Give up calibrations under way, and write the last checkpoints."""
        self._running = False
        for watch in self.watches:
            watch.close()

    def after_fork(self) -> None:
        """In a child process: threads did not come along."""
        self._running = False
        for watch in self.watches:
            watch.after_fork()

    def reconfigured(self, config: Config) -> Callable[[], None]:
        """Other entries of ``drift``; detectors whose entry did not change go on as they are."""
        kept = [watch for watch in self.watches if watch.config in config.drift]
        known = [watch.config for watch in kept]
        added = [self._new_watch(entry) for entry in config.drift if entry not in known]
        gone = [watch for watch in self.watches if watch not in kept]

        def take_over() -> None:
            self.watches = [*kept, *added]
            self._embedding_sampler = _shared_sampler(self.watches)
            labels = {label for watch in self.watches for label in watch.labels}
            for watch in gone:
                watch.close()
                if self._instruments.shared_folder is None:
                    watch.forget(watch.labels - labels)
            if self._running:
                for watch in added:
                    watch.start()

        return take_over

    def _new_watch(self, entry: DetectorConfig) -> DriftWatch:
        refuse, announce, clock = self._refuse, self._announce, self._clock
        return DriftWatch(
            *(self._model, entry, self._instruments),
            refuse=refuse,
            on_event=announce,
            clock=clock,
            state=self._state,
        )

    def _announce(self, event: DriftEvent) -> None:
        log.warning(
            "drift: model %s, detector %s, statistic %.4g above threshold %.4g over the last %d observations",
            *(event.model, event.detector, event.test_stat, event.threshold, event.window),
        )
        self._notify(event)


def _shared_sampler(watches: Sequence[DriftWatch]) -> RateSampler:
    """One that lets through what the quickest of the watches would."""
    samples = [watch.config.sample for watch in watches]
    rates = [sample.max_per_second for sample in samples if sample is not None]
    return RateSampler(max(rates) if rates and len(rates) == len(samples) else None)
