"""The queue in front of one model's pipeline, and the account of what passes through.

``submit`` is all that the request path sees: it counts, appends and returns. Reading bodies, metrics
and detectors happen on the model's one worker thread or beyond it, in order and in batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Protocol

from exporter.config import Config, QueueConfig
from exporter.metrics.instruments import Instruments, LedgerInstruments
from exporter.observation import Source
from exporter.pipeline.batches import Captured, Item, Outcomes
from exporter.pipeline.ledger import Account, Ledger
from exporter.pipeline.queue import Batch, Waiting
from exporter.pipeline.worker import Worker


class Handler(Protocol):
    """Where the batches go: a :class:`~exporter.pipeline.batches.Pipeline`, or the way to one."""

    def start(self) -> None:
        """Begin in this process; does nothing if it has."""

    def handle(self, outcomes: Outcomes, batch: Batch[Source]) -> None:
        """Handle a batch. Called on the worker thread."""

    def stop(self) -> None:
        """End; nothing comes any more, unless it is started again."""

    def after_fork(self) -> None:
        """In a child process: forget what is the parent's."""


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
        The whole configuration; the model's name and its queue section are used.
    instruments
        Where the ledger's metrics live.
    handler
        What is done with the items.
    """

    def __init__(self, config: Config, instruments: Instruments, handler: Handler) -> None:
        self.model = config.model
        self.handler = handler
        self.ledger = Ledger(LedgerInstruments(instruments, config.model))
        self._instruments = instruments
        self._queue: QueueConfig = config.queue
        self._shared = instruments.shared_folder is not None
        self._shift = self._new_shift()
        instruments.before_collect(self.publish)

    @property
    def worker(self) -> Worker[Captured]:
        """The worker of now; another one after a restart."""
        return self._shift.worker

    def submit(self, item: Item, source: Source) -> bool:
        """Queue an exchange or an observation; False if it was refused, which is counted. Never waits."""
        shift = self._shift
        n_bytes = len(item) if isinstance(item, bytes) else item.n_bytes
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
        self.handler.start()

    def stop(self) -> None:
        """Handle what waits, within the drain time; count the rest, and what comes later, as dropped."""
        self._shift.worker.stop(self._queue.drain_seconds)
        self._shift.account.close()
        self.handler.stop()
        # Not by ourselves: a scrape may be under way, and shall not see half of it.
        self._instruments.refresh()

    def after_fork(self) -> None:
        """In a child process: threads did not come along, and the parent's queue is the parent's."""
        self.ledger.after_fork()
        self._shift = self._new_shift()
        self.handler.after_fork()

    def publish(self) -> None:
        """Carry the ledger over to the metrics."""
        self.ledger.publish(self.worker.queued_bytes)

    def _new_shift(self) -> _Shift:
        account = self.ledger.open()
        waiting: Waiting[Source] = Waiting()
        worker: Worker[Captured] = Worker(
            partial(self._handle, account),
            max_items=self._queue.max_items,
            max_bytes=self._queue.max_bytes,
            max_batch=self._queue.max_batch,
            flush_interval_seconds=self._queue.flush_interval_seconds,
            queue=waiting,
            name=f"inference-exporter-{self.model}",
        )
        return _Shift(worker, account)

    def _handle(self, account: Account, batch: Batch[Source]) -> None:
        try:
            self.handler.handle(account, batch)
        finally:
            batch.release()
        if self._shared:
            # Another process may answer the next scrape.
            self._instruments.refresh()
