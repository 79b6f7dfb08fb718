"""One model's pipeline: exchanges and observations in; metrics, verdicts and events out.

``submit`` is all that the request path sees: it counts, appends and returns. Reading bodies, metrics
and detectors happen on the model's one worker thread, in order and in batches.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from exporter.bulk import observe_all
from exporter.capture.exchange import Exchange, PackedExchange
from exporter.config import Config, DriftConfig
from exporter.drift.sampling import RateSampler
from exporter.drift.watch import DriftWatch
from exporter.errors import PayloadError
from exporter.exposition import multiprocess_folder
from exporter.extract import Extractor
from exporter.instruments import Instruments, LedgerInstruments, ModelInstruments
from exporter.ledger import Account, Ledger
from exporter.observation import DriftEvent, Observation, Source
from exporter.worker import Worker

log = logging.getLogger(__name__)

# Between two slices of a batch the worker rests, so that a request never waits for the interpreter
# lock for more than a slice: long enough for a waiting thread to wake up and take it, which the
# kernel does not do within a sleep of 0.
_SLICE = 32
_REST_SECONDS = 0.0001

Item = Exchange | PackedExchange | Observation
Captured = tuple[Source, Item]


@dataclass(frozen=True, slots=True)
class _Shift:
    """A worker and the account of what waits for it: they come and go together."""

    worker: Worker[Captured]
    account: Account


class Monitor:
    """Watches one model.

    Parameters
    ----------
    config
        The whole configuration; the model's name, its capture, drift and queue sections are used.
    instruments
        Where the metrics live.
    on_event
        Called on the worker thread with each :class:`DriftEvent`; what it raises is counted.
    on_observation
        Called on the worker thread with each observation, once it is in the metrics.
    forward
        Takes each observation instead of this process's own metrics and detectors; False if it could
        not. For several processes that share one detector elsewhere.
    clock
        Seconds since the epoch.
    """

    def __init__(
        self,
        config: Config,
        instruments: Instruments,
        *,
        on_event: Callable[[DriftEvent], None] | None = None,
        on_observation: Callable[[Observation], object] | None = None,
        forward: Callable[[Observation], bool] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.model = config.model
        self._clock = clock
        self._on_event = on_event
        self.on_observation = on_observation
        self._forward = forward
        self._instruments = instruments
        self._errors = instruments.errors
        self._metrics = ModelInstruments(instruments, config.model, max_classes=config.capture.max_classes)
        self.extractor = Extractor(config.model, config.capture, self._metrics.refuse)
        self.refuse = self._metrics.refuse
        self.ledger = Ledger(LedgerInstruments(instruments, config.model))
        self._queue = config.queue
        self._shared = multiprocess_folder() is not None
        self._shift = self._new_shift()
        self.watches = [self._new_watch(entry) for entry in config.drift] if forward is None else []
        self._embedding_sampler = _shared_sampler(self.watches)
        instruments.before_collect(self.publish)

    @property
    def worker(self) -> Worker[Captured]:
        """The worker of now; another one after a restart."""
        return self._shift.worker

    def submit(self, item: Item, source: Source) -> bool:
        """Queue an exchange or an observation; False if it was refused, which is counted. Never waits."""
        shift = self._shift
        n_bytes = item.n_bytes
        shift.account.admitted(source)
        reason = shift.worker.offer((source, item), n_bytes)
        if reason is None:
            return True
        shift.account.dropped(reason)
        return False

    def start(self) -> None:
        """Start the worker; what was submitted before waits for it."""
        if self._shift.worker.stopped:
            self._shift = self._new_shift()
        self._shift.worker.start()
        for watch in self.watches:
            watch.start()

    def reconfigure(self, config: Config) -> None:
        """Take over other capture and drift sections, from the next batch on.

        Detectors whose entry did not change go on as they are.

        Raises
        ------
        ConfigError, InvalidReference, DetectorFileError
            If something that it names cannot serve; everything then stays as it was.
        """
        extractor = Extractor(self.model, config.capture, self._metrics.refuse)
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
            if not self._shared:
                watch.forget(watch.labels - labels)
        if self._shift.worker.running:
            for watch in added:
                watch.start()

    def stop(self) -> None:
        """Handle what waits, within the drain time; count the rest, and what comes later, as dropped."""
        self._shift.worker.stop(self._queue.drain_seconds)
        self._shift.account.close()
        for watch in self.watches:
            watch.close()
        self.publish()

    def after_fork(self) -> None:
        """In a child process: threads did not come along, and the parent's queue is the parent's."""
        self.ledger.after_fork()
        self._shift = self._new_shift()
        for watch in self.watches:
            watch.after_fork()

    def publish(self) -> None:
        """Carry the ledger over to the metrics."""
        self.ledger.publish(self.worker.queued_bytes)

    def _new_watch(self, entry: DriftConfig) -> DriftWatch:
        return DriftWatch(
            self.model,
            entry,
            self._instruments,
            refuse=self._metrics.refuse,
            on_event=self._announce,
            clock=self._clock,
        )

    def _new_shift(self) -> _Shift:
        account = self.ledger.open()
        worker: Worker[Captured] = Worker(
            partial(self._handle, account),
            max_items=self._queue.max_items,
            max_bytes=self._queue.max_bytes,
            max_batch=self._queue.max_batch,
            flush_interval_seconds=self._queue.flush_interval_seconds,
            name=f"inference-exporter-{self.model}",
        )
        return _Shift(worker, account)

    def _handle(self, account: Account, batch: list[Captured]) -> None:
        passed_over: set[int] = set()
        if self.extractor.embeds and self.watches:
            batch = [(source, _unpacked(item)) for source, item in batch]
            passed_over = self._embed(batch)
        pending: list[Observation] = []
        sampled_out = 0
        for start in range(0, len(batch), _SLICE):
            if start:
                time.sleep(_REST_SECONDS)
            for source, item in batch[start : start + _SLICE]:
                observations = self._observations(account, source, item)
                pending.extend(observations)
                if id(item) in passed_over:
                    sampled_out += len(observations)
        if self._forward is not None:
            for observation in pending:
                if self._forward(observation):
                    account.settled("processed")
                else:
                    account.dropped("queue_full")
        elif pending:
            try:
                self._record(pending)
            except Exception:
                # They are tested all the same.
                log.exception("%d observations could not be put into the metrics", len(pending))
                self._errors["extract"].inc()
            self._detect(account, pending, sampled_out)
        if self._shared:
            # Another process may answer the next scrape.
            self.publish()

    def _embed(self, batch: list[Captured]) -> set[int]:
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

    def _observations(self, account: Account, source: Source, item: Item) -> Sequence[Observation]:
        """Read and clean what an item holds."""
        if isinstance(item, Observation):
            return (item,)
        try:
            observations = self.extractor.observations(source, _unpacked(item))
        except PayloadError as error:
            account.dropped(error.reason)
        except Exception:
            log.exception("an exchange could not be read")
            self._errors["extract"].inc()
            account.dropped("failed")
        else:
            if len(observations) != 1:
                account.unfolded(source, len(observations))
            return observations
        return ()

    def _record(self, observations: Sequence[Observation]) -> None:
        """Put a batch into the metrics."""
        now = self._clock()
        metrics = self._metrics
        observe_all(metrics.lag_seconds, [max(0.0, now - item.timestamp) for item in observations])
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

    def _detect(self, account: Account, observations: Sequence[Observation], sampled_out: int) -> None:
        """Test what has an embedding, then settle: an observation is processed once it was tested."""
        testable = [observation for observation in observations if observation.embedding is not None]
        admitted_by_any: set[int] = set()
        try:
            for watch in self.watches:
                admitted = [item for item in testable if watch.admits(item.timestamp)]
                admitted_by_any.update(id(item) for item in admitted)
                if admitted:
                    watch.take(admitted)
        finally:
            if self.watches:
                sampled_out += len(testable) - len(admitted_by_any)
            account.settled("sampled_out", sampled_out)
            account.settled("processed", len(observations) - sampled_out)

    def _announce(self, event: DriftEvent) -> None:
        log.warning(
            "drift: model %s, detector %s, statistic %.4g above threshold %.4g over the last %d observations",
            event.model,
            event.detector,
            event.test_stat,
            event.threshold,
            event.window,
        )
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        except Exception:
            log.exception("the handler of a drift event raised")
            self._errors["notify"].inc()


def _unpacked(item: Any) -> Any:
    return item.unpacked() if isinstance(item, PackedExchange) else item


def _shared_sampler(watches: Sequence[DriftWatch]) -> RateSampler:
    """One that lets through what the quickest of the watches would."""
    samples = [watch.config.sample for watch in watches]
    rates = [sample.max_per_second for sample in samples if sample is not None]
    return RateSampler(max(rates) if rates and len(rates) == len(samples) else None)
