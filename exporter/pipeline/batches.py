"""What becomes of captured items: they are read, counted and tested, batch by batch, on one thread.

A pipeline keeps no account of what it is given: it says what became of each item, to whoever does.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from exporter.config import Config, DriftConfig
from exporter.drift.sampling import RateSampler
from exporter.drift.watch import DriftWatch
from exporter.errors import PayloadError
from exporter.http.exchange import AnnotatedExchange, Exchange, Packed, unpacked
from exporter.metrics.bulk import observe_all
from exporter.metrics.exposition import multiprocess_folder
from exporter.metrics.instruments import Instruments, ModelInstruments
from exporter.observation import DriftEvent, Observation, Outcome, Source
from exporter.pipeline.extraction import Extractor
from exporter.processors.forward.collector import Collector

log = logging.getLogger(__name__)

# How many items are read before others get a chance.
_SLICE_BESIDE_REQUESTS, _SLICE_APART = 32, 1
_REST_SECONDS = 0.0001

Item = Packed | Observation
Captured = tuple[Source, Item]


class Outcomes(Protocol):
    """Learns what became of the items of a batch, each of which is one observation until it is read."""

    def unfolded(self, source: Source, n: int) -> None:
        """An exchange turned out to hold ``n`` observations."""

    def settled(self, outcome: Outcome, n: int = 1) -> None:
        """``n`` observations came to an end."""

    def dropped(self, reason: str, n: int = 1) -> None:
        """``n`` observations were given up."""


class Pipeline:
    """Reads, counts and tests what one model's service was asked and answered.

    Where the configuration names a collector, observations go there, and neither into this process's
    metrics nor to detectors of its own.

    Parameters
    ----------
    config
        The whole configuration.
    instruments
        Where the metrics live.
    on_event
        Called on the thread that handles, with each :class:`DriftEvent`; must not raise.
    apart
        Whether no other thread of this process serves requests. Within a batch, the pipeline then gives
        way to those of other processes that want its core, else to those that want the interpreter lock.
    clock
        Seconds since the epoch.

    Raises
    ------
    ConfigError, InvalidReference, DetectorFileError
        If something that the configuration names cannot serve.
    """

    def __init__(
        self,
        config: Config,
        instruments: Instruments,
        *,
        on_event: Callable[[DriftEvent], None] | None = None,
        apart: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.model = config.model
        self.on_observation: Callable[[Observation], object] | None = None
        self._clock = clock
        self._on_event = on_event
        self._collector = Collector(config, instruments) if config.collector is not None else None
        self._slice = _SLICE_APART if apart else _SLICE_BESIDE_REQUESTS
        self._give_way: Callable[[], None] = getattr(os, "sched_yield", _rest) if apart else _rest
        self._instruments = instruments
        self._errors = instruments.errors
        self._metrics = ModelInstruments(instruments, config.model, max_classes=config.capture.max_classes)
        self.refuse = self._metrics.refuse
        self.extractor = Extractor(config.model, config.capture, self.refuse)
        self._running = False
        self.watches = [self._new_watch(entry) for entry in config.drift] if self._collector is None else []
        self._embedding_sampler = _shared_sampler(self.watches)

    def start(self) -> None:
        """Begin what runs beside the batches: calibrations, and the way to a collector."""
        self._running = True
        if self._collector is not None:
            self._collector.start()
        for watch in self.watches:
            watch.start()

    def stop(self) -> None:
        """Give up calibrations under way, write the last checkpoints, send what waits for the collector."""
        self._running = False
        for watch in self.watches:
            watch.close()
        if self._collector is not None:
            self._collector.stop()

    def after_fork(self) -> None:
        """In a child process: threads did not come along."""
        self._running = False
        if self._collector is not None:
            self._collector.begin_ledger()
        for watch in self.watches:
            watch.after_fork()

    def reconfigure(self, config: Config) -> None:
        """Take over other capture and drift sections, from the next batch on.

        Detectors whose entry did not change go on as they are.

        Raises
        ------
        ConfigError, InvalidReference, DetectorFileError
            If something that it names cannot serve; everything then stays as it was.
        """
        extractor = Extractor(self.model, config.capture, self.refuse)
        kept = [watch for watch in self.watches if watch.config in config.drift]
        known = [watch.config for watch in kept]
        added = [self._new_watch(entry) for entry in config.drift if entry not in known]
        gone = [watch for watch in self.watches if watch not in kept]
        self._metrics.max_classes = config.capture.max_classes
        self.extractor = extractor
        self.watches = [*kept, *added]
        self._embedding_sampler = _shared_sampler(self.watches)
        for watch in gone:
            watch.close()
        labels = {label for watch in self.watches for label in watch.labels}
        for watch in gone:
            if multiprocess_folder() is None:
                watch.forget(watch.labels - labels)
        if self._running:
            for watch in added:
                watch.start()

    def handle(self, outcomes: Outcomes, items: Iterable[Captured]) -> None:
        """Read, count and test a batch, and say of every item of it what became of it."""
        batch = list(items)
        passed_over: set[int] = set()
        if self.extractor.embeds and self.watches:
            batch = [(source, _unpacked(item)) for source, item in batch]
            passed_over = self._embed(batch)
        pending: list[Observation] = []
        sampled_out = 0
        for number, (source, item) in enumerate(batch, 1):
            observations = self._observations(outcomes, source, item)
            pending += observations
            if passed_over and id(item) in passed_over:
                sampled_out += len(observations)
            if number % self._slice == 0:
                self._give_way()
        if self._collector is not None:
            for observation in pending:
                if self._collector.submit(observation):
                    outcomes.settled("processed")
                else:
                    outcomes.dropped("queue_full")
        elif pending:
            try:
                self._record(pending)
            except Exception:
                # They are tested all the same.
                log.exception("%d observations could not be put into the metrics", len(pending))
                self._errors["extract"].inc()
            self._give_way()
            self._detect(outcomes, pending, sampled_out)

    def _new_watch(self, entry: DriftConfig) -> DriftWatch:
        return DriftWatch(
            self.model,
            entry,
            self._instruments,
            refuse=self.refuse,
            on_event=self._announce,
            clock=self._clock,
        )

    def _embed(self, batch: Sequence[Captured]) -> set[int]:
        """Give exchanges their embeddings; gives the ids of those that the sampling rate passes over.

        A pass through a model is dear, so the stream is thinned before it and not after.
        """
        chosen: list[Exchange] = []
        passed_over: set[int] = set()
        for _, item in batch:
            if isinstance(item, Exchange):
                if self._embedding_sampler.admits(item.ended):
                    chosen.append(item)
                else:
                    passed_over.add(id(item))
        try:
            failed = self.extractor.embed(chosen)
        except Exception:
            log.exception("%d requests could not be embedded", len(chosen))
            failed = len(chosen)
        if failed:
            self._errors["extract"].inc(failed)
        return passed_over

    def _observations(self, outcomes: Outcomes, source: Source, item: Item) -> Sequence[Observation]:
        """Read and clean what an item holds."""
        if isinstance(item, Observation):
            return (item,)
        try:
            observations = self.extractor.observations(source, _unpacked(item))
        except PayloadError as error:
            outcomes.dropped(error.reason)
        except Exception:
            log.exception("an exchange could not be read")
            self._errors["extract"].inc()
            outcomes.dropped("failed")
        else:
            if len(observations) != 1:
                outcomes.unfolded(source, len(observations))
            return observations
        return ()

    def _record(self, observations: Sequence[Observation]) -> None:
        """Put a batch into the metrics."""
        now = self._clock()
        metrics = self._metrics
        ended = np.array([item.timestamp for item in observations])
        observe_all(metrics.lag_seconds, np.maximum(now - ended, 0.0))
        observe_all(
            metrics.confidence, [item.confidence for item in observations if item.confidence is not None]
        )
        observe_all(metrics.value, [item.value for item in observations if item.value is not None])
        for name, n in Counter([item.predicted_class for item in observations]).items():
            if name is not None:
                metrics.count_class(name, n)
        if self.on_observation is not None:
            for item in observations:
                self.on_observation(item)

    def _detect(self, outcomes: Outcomes, observations: Sequence[Observation], sampled_out: int) -> None:
        """Test what has an embedding, then settle: an observation is processed once it was tested."""
        testable = [observation for observation in observations if observation.embedding is not None]
        admitted_by_any: set[int] = set()
        passed_over = len(testable) if self.watches else 0
        try:
            for watch in self.watches:
                admitted = testable
                if watch.config.sample is None:
                    passed_over = 0
                else:
                    admitted = [item for item in testable if watch.admits(item.timestamp)]
                    admitted_by_any.update(map(id, admitted))
                if admitted:
                    watch.take(admitted)
        finally:
            sampled_out += max(0, passed_over - len(admitted_by_any))
            outcomes.settled("sampled_out", sampled_out)
            outcomes.settled("processed", len(observations) - sampled_out)

    def _announce(self, event: DriftEvent) -> None:
        log.warning(
            "drift: model %s, detector %s, statistic %.4g above threshold %.4g over the last %d observations",
            event.model,
            event.detector,
            event.test_stat,
            event.threshold,
            event.window,
        )
        if self._on_event is not None:
            self._on_event(event)


def _rest() -> None:
    """Let go of the interpreter lock for long enough that a thread that waits for it gets it."""
    time.sleep(_REST_SECONDS)


def _unpacked(item: Any) -> Any:
    return unpacked(item) if isinstance(item, (bytes, AnnotatedExchange)) else item


def _shared_sampler(watches: Sequence[DriftWatch]) -> RateSampler:
    """One that lets through what the quickest of the watches would."""
    samples = [watch.config.sample for watch in watches]
    rates = [sample.max_per_second for sample in samples if sample is not None]
    return RateSampler(max(rates) if rates and len(rates) == len(samples) else None)
