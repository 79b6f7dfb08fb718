"""The queue in front of one model's pipeline, and the account of what goes through.

Reading bodies, metrics and detectors happen on the model's one worker thread or beyond it, in order and in
batches; all that the request path sees is :meth:`~exporter.pipeline.worker.Worker.offer`.
"""

from __future__ import annotations

from exporter.config import Config
from exporter.metrics.instruments import Instruments, InvalidValues, LedgerInstruments
from exporter.metrics.totals import Totals
from exporter.pipeline.ledger import Ledger
from exporter.pipeline.worker import Handler, Worker


class Monitor:
    """Watches one model; ``worker`` is that of now, since there is another one after a restart."""

    def __init__(self, config: Config, instruments: Instruments, handler: Handler) -> None:
        self.model = config.model
        self.handler = handler
        self.ledger = Ledger()
        self.refuse = InvalidValues(instruments, config.identity)
        self._instruments = instruments
        self._metrics = LedgerInstruments(instruments, config.identity)
        self._metrics_are_the_parents = False
        self._totals = Totals()
        self._queue = config.queue
        self.worker = self._new_worker()
        instruments.before_collect(self.publish)

    def start(self) -> None:
        """Start the worker; what was offered before waits for it."""
        if self.worker.stopped:
            self.worker = self._new_worker()
        self.worker.start()
        self.handler.start()

    def stop(self) -> None:
        """Handle what waits, within the drain time; count the rest, and what comes later, as dropped."""
        self.worker.stop(self._queue.drain_seconds)
        self.handler.stop()
        # Not by ourselves: a scrape may be under way, and shall not see half of it.
        self._instruments.refresh()

    def after_fork(self) -> None:
        """In a child process: threads did not come along, and the parent's queue is the parent's.

        The metrics follow with the next :meth:`publish`: a child that never captures anything shall leave no
        trace in a folder that processes share.
        """
        self.ledger.begin_anew()
        self._metrics_are_the_parents = True
        self.worker = self._new_worker()
        self.handler.after_fork()

    def publish(self) -> None:
        """Carry the ledger over to the metrics, all of it as of one instant."""
        metrics, ledger, carry = self._metrics, self.ledger, self._totals.carry
        with ledger.lock:
            if self._metrics_are_the_parents:
                self._metrics_are_the_parents = False
                self._totals.reset()
            for source, n in ledger.observed.items():
                carry(metrics.observed[source], n)
            for outcome, n in ledger.ended.items():
                carry(metrics.ended[outcome], n)
            metrics.queued.set(ledger.queued)
            metrics.queue_bytes.set(self.worker.queued_bytes)

    def _new_worker(self) -> Worker:
        instruments = self._instruments
        return Worker(
            self.handler,
            self.ledger,
            self._queue,
            name=f"inference-exporter-{self.model}",
            on_error=instruments.errors["extract"].inc,
            # Where processes share their metrics, another one may answer the next scrape.
            settled=instruments.refresh if instruments.shared_folder is not None else lambda: None,
        )
