"""The queue in front of one model's pipeline, and the account of what passes through.

``submit`` is all that the request path sees: it packs, counts, appends and returns. Reading bodies, metrics
and detectors happen on the model's one worker thread or beyond it, in order and in batches.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from exporter.config import Config, QueueConfig
from exporter.metrics.exposition import multiprocess_folder
from exporter.metrics.instruments import Instruments, InvalidValues, LedgerInstruments
from exporter.observation import Source
from exporter.pipeline.ledger import Account, Ledger, Tally
from exporter.pipeline.packing import Item, pack
from exporter.pipeline.queue import Batch
from exporter.pipeline.worker import Worker

log = logging.getLogger(__name__)


class Handler(Protocol):
    """Where the batches go: a :class:`~exporter.pipeline.pipeline.Pipeline`, or the way to one."""

    def start(self) -> None:
        """Begin in this process; does nothing if it has."""

    def handle(self, tally: Tally, batch: Batch) -> None:
        """Handle a batch, and say what became of it. Called on the worker thread."""

    def stop(self) -> None:
        """End; nothing comes any more, unless it is started again."""

    def after_fork(self) -> None:
        """In a child process: forget what is the parent's."""


@dataclass(frozen=True, slots=True)
class _Session:
    """From a start to a stop: a worker, and the account of what waits for it."""

    worker: Worker
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
        self._refuse = InvalidValues(instruments, config.model)
        self._queue: QueueConfig = config.queue
        self._shared = multiprocess_folder() is not None
        self._session = self._new_session()
        instruments.before_collect(self.publish)

    @property
    def worker(self) -> Worker:
        """The worker of now; another one after a restart."""
        return self._session.worker

    def submit(self, item: Item, source: Source) -> bool:
        """Queue an exchange or an observation; False if it was refused, which is counted. Never waits.

        Raises
        ------
        TypeError, ValueError
            If it is none, or one that cannot be packed.
        """
        session = self._session
        try:
            data = pack(item, source, self._refuse)
        except ValueError:
            self.ledger.refused(source, "failed")
            raise
        session.account.admitted(source)
        reason = session.worker.offer(data)
        if reason is None:
            return True
        session.account.dropped(reason)
        return False

    def start(self) -> None:
        """Start the worker; what was submitted before waits for it."""
        if self._session.worker.stopped:
            self._session = self._new_session()
        self._session.worker.start()
        self.handler.start()

    def stop(self) -> None:
        """Handle what waits, within the drain time; count the rest, and what comes later, as dropped."""
        self._session.worker.stop(self._queue.drain_seconds)
        self._session.account.close()
        self.handler.stop()
        # Not by ourselves: a scrape may be under way, and shall not see half of it.
        self._instruments.refresh()

    def after_fork(self) -> None:
        """In a child process: threads did not come along, and the parent's queue is the parent's."""
        self.ledger.after_fork()
        self._session = self._new_session()
        self.handler.after_fork()

    def publish(self) -> None:
        """Carry the ledger over to the metrics."""
        self.ledger.publish(self.worker.queued_bytes)

    def _new_session(self) -> _Session:
        account = self.ledger.open()
        worker = Worker(
            partial(self._handle, account),
            max_items=self._queue.max_items,
            max_bytes=self._queue.max_bytes,
            max_batch=self._queue.max_batch,
            flush_interval_seconds=self._queue.flush_interval_seconds,
            name=f"inference-exporter-{self.model}",
        )
        return _Session(worker, account)

    def _handle(self, account: Account, batch: Batch) -> None:
        tally = Tally()
        try:
            self.handler.handle(tally, batch)
        except Exception:
            log.exception("a batch of %d items was not handled to its end", len(batch))
            self._instruments.errors["extract"].inc()
        finally:
            account.settle(len(batch), tally)
        if self._shared:
            # Another process may answer the next scrape.
            self._instruments.refresh()
