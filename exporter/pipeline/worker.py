"""A bounded queue and the one thread that empties it in batches. It knows no domain type.

The caller's side is a lock, two comparisons and an append: it never waits for the worker. The worker
gathers for a moment before it takes a batch, since a thread that wakes for each item takes the
interpreter lock away from the event loop each time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from exporter.config import QueueConfig
from exporter.pipeline.ledger import Ledger, Tally
from exporter.pipeline.queue import Batch, Queue

log = logging.getLogger(__name__)


class Handler(Protocol):
    """Where the batches go: a :class:`~exporter.pipeline.pipeline.Pipeline`, or the way to one."""

    def start(self) -> None:
        """Begin in this process; does nothing if it has."""

    def handle(self, tally: Tally, batch: Batch) -> None:
        """Handle a batch, not keep it, and say what became of it. Called on the worker thread."""

    def stop(self) -> None:
        """End; nothing comes any more, unless it is started again."""

    def status(self) -> dict[str, Any]:
        """What was found in the last exchanges, as plain values."""

    def after_fork(self) -> None:
        """In a child process: forget what is the parent's."""


class Worker:
    """Hands items to a handler in the order in which they were offered, from a single thread.

    A worker runs once: after a stop its thread may still hang over a batch, so whoever goes on does so with
    a new worker. What it waited for was given up then, and a thread that wakes up later changes nothing.

    The ledger's lock is the queue's too. ``on_error`` is called when the handler raised, which does not keep
    the next batch from it, and ``settled`` after each batch.
    """

    def __init__(
        self,
        handler: Handler,
        ledger: Ledger,
        config: QueueConfig,
        *,
        name: str = "inference-exporter",
        on_error: Callable[[], None] = lambda: None,
        settled: Callable[[], None] = lambda: None,
    ) -> None:
        self._handler = handler
        self._ledger = ledger
        self._lock = ledger.lock
        self._max_items, self._max_bytes = config.max_items, int(config.max_bytes)
        self._max_batch, self._flush_interval_seconds = config.max_batch, config.flush_interval_seconds
        self._name = name
        self._on_error = on_error
        self._settled = settled
        self._queue = Queue()
        self._in_hand, self._bytes_in_hand = 0, 0
        self._pending = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        """Whether items are accepted and handled."""
        return self._thread is not None and self._thread.is_alive() and not self._stopping.is_set()

    @property
    def stopped(self) -> bool:
        """Whether it was stopped, and accepts nothing any more."""
        return self._stopping.is_set()

    @property
    def queued_bytes(self) -> int:
        """Bytes of the items that wait, and of those in hand."""
        return self._queue.n_bytes + self._bytes_in_hand

    def start(self) -> None:
        """Start the thread; does nothing if it was started before.

        Raises
        ------
        RuntimeError
            If the worker was stopped.
        """
        if self.stopped:
            raise RuntimeError("a stopped worker cannot start again; make a new one")
        if self._thread is None:
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            # It raises where the system has no thread left; the next start then tries again.
            thread.start()
            self._thread = thread

    def offer(self, item: bytes, source: str) -> bool:
        """Queue an item; False if it was refused, which is counted. Never waits."""
        ledger, refusal = self._ledger, ""
        with self._lock:
            queue = self._queue
            waiting = len(queue)
            if self._stopping.is_set():
                refusal = "stopped"
            elif waiting >= self._max_items:
                refusal = "queue_full"
            elif queue.n_bytes + self._bytes_in_hand + len(item) > self._max_bytes:
                refusal = "queue_bytes"
            if refusal:
                ledger.end(refusal)
            else:
                queue.append(item)
                ledger.queued += 1
            ledger.observed[source] += 1
        if not waiting and not refusal:
            self._pending.set()
        return not refusal

    def drain(self, timeout_seconds: float) -> bool:
        """Wait until everything offered so far is handled; False if the time was not enough."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            with self._lock:
                if not len(self._queue) + self._in_hand:
                    return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.002)

    def stop(self, timeout_seconds: float) -> None:
        """Accept no more, handle what waits for as long as the time allows, and give up the rest."""
        with self._lock:
            self._stopping.set()
        self._pending.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_seconds)
        with self._lock:
            left = len(self._queue) + self._in_hand
            self._ledger.settle(left, Tally(ended=Counter(stopped=left)))
            self._queue, self._in_hand = Queue(), 0

    def _run(self) -> None:
        while True:
            self._pending.wait()
            self._pending.clear()
            # As long as items come, this thread sleeps and wakes by the clock, and nobody has to wake it.
            busy = True
            while busy:
                self._stopping.wait(self._flush_interval_seconds)
                # Read before the queue is emptied: once it is set nothing more comes in, so that what
                # was accepted just before is not left behind.
                stopping = self._stopping.is_set()
                busy = self._empty(1 if stopping else self._max_batch)
                if stopping:
                    return
            if len(self._queue):
                self._pending.set()

    def _empty(self, least_again: int) -> bool:
        """Handle what waits; whether there was anything.

        A batch costs a good deal however small it is. What came while one was handled gathers again,
        unless it fills a batch already.
        """
        batch = self._next(1)
        if not len(batch):
            return False
        while len(batch):
            tally = Tally()
            try:
                self._handler.handle(tally, batch)
            except Exception:
                log.exception("a batch of %d items was not handled to its end", len(batch))
                self._on_error()
            batch = self._next(least_again, tally)
            self._settled()
        return True

    def _next(self, least: int, tally: Tally | None = None) -> Batch:
        """Settle the batch in hand, and take another one, which is empty if fewer than ``least`` wait."""
        with self._lock:
            if tally is not None and self._in_hand:  # else it was given up meanwhile
                self._ledger.settle(self._in_hand, tally)
            batch = self._queue.take(self._max_batch if len(self._queue) >= least else 0)
            self._in_hand, self._bytes_in_hand = len(batch), batch.n_bytes
            return batch
