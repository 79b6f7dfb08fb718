"""The queue in front of one model's pipeline, and the account of what goes through.

Reading bodies, metrics and detectors happen on the worker's thread or beyond it, in order and in batches;
all that the request path sees is :meth:`~exporter.pipeline.worker.Worker.offer`.
"""

from __future__ import annotations

from exporter.config import Config
from exporter.metrics.instruments import Instruments, InvalidValues, LedgerInstruments
from exporter.metrics.totals import Totals
from exporter.pipeline.ledger import Ledger
from exporter.pipeline.memory import Memory
from exporter.pipeline.worker import Handler, Worker, WorkerThread


class Monitor:
    """Watches one model; ``worker`` is that of now, since there is another one after a restart.

    ``config`` is the model's own; ``thread`` and ``memory`` are those of all models of the process.
    """

    def __init__(
        self,
        config: Config,
        instruments: Instruments,
        handler: Handler,
        *,
        thread: WorkerThread | None = None,
        memory: Memory | None = None,
    ) -> None:
        self.model = config.identity
        self.handler = handler
        self.ledger = Ledger()
        self.refuse = InvalidValues(instruments, self.model)
        self._instruments = instruments
        self._metrics = LedgerInstruments(instruments, self.model)
        self._metrics_are_the_parents = False
        self._totals = Totals()
        self._queue = config.queue
        self._thread, self._memory = thread, memory
        self.worker = self._new_worker()
        instruments.before_collect(self.publish)

    def start(self) -> None:
        """Start the worker; what was offered before waits for it."""
        if self.worker.stopped:
            self.worker = self._new_worker()
        self.worker.start()
        self.handler.start()

    def stop(self, drain_seconds: float | None = None) -> None:
        """Handle what waits, within the drain time; count the rest, and what comes later, as dropped."""
        self.worker.stop(self._queue.drain_seconds if drain_seconds is None else drain_seconds)
        self.handler.stop()
        # Not by ourselves: a scrape may be under way, and shall not see half of it.
        self._instruments.refresh()

    def remove(self) -> None:
        """Stop, and take the model's series off the scrape."""
        self.stop()
        self._instruments.no_longer(self.publish)
        self._instruments.remove_model(self.model)

    def after_fork(self, thread: WorkerThread | None = None, memory: Memory | None = None) -> None:
        """In a child process: threads did not come along, and the parent's queue is the parent's.

        The metrics follow with the next :meth:`publish`: a child that never captures anything shall leave no
        trace in a folder that processes share.
        """
        self.ledger.begin_anew()
        self._metrics_are_the_parents = True
        self._thread, self._memory = thread, memory
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
        return Worker(
            self.handler,
            self.ledger,
            self._queue,
            thread=self._thread or worker_thread(self._queue.flush_interval_seconds, self._instruments),
            memory=self._memory,
            on_error=self._instruments.errors["extract"].inc,
        )


def worker_thread(flush_interval_seconds: float, instruments: Instruments) -> WorkerThread:
    """The thread for all models of a process."""
    # Where processes share their metrics, another one may answer the next scrape.
    settled = instruments.refresh if instruments.shared_folder is not None else lambda: None
    return WorkerThread(flush_interval_seconds, settled=settled)
