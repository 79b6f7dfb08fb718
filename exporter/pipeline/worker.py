"""A bounded queue and the one thread that empties it in batches. It knows no domain type.

The caller's side is a lock, two comparisons and an append: it never waits for the worker. The worker
gathers for a moment before it takes a batch, since a thread that wakes for each item takes the
interpreter lock away from the event loop each time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from exporter.pipeline.queue import Batch, Queue

log = logging.getLogger(__name__)


class Worker:
    """Hands items to ``handle`` in the order in which they were offered, from a single thread.

    A worker runs once: after a stop its thread may still hang in ``handle``, so whoever goes on
    does so with a new worker.

    Parameters
    ----------
    handle
        Takes a batch, and does not keep it. Whatever it raises is logged; the next batch is handled all
        the same.
    max_items, max_bytes
        Bounds of the queue; an item beyond either is refused. The bytes are those of the batch in hand too.
    max_batch
        Most items that one call of ``handle`` gets.
    flush_interval_seconds
        How long to gather items before the first of them is handled.
    """

    def __init__(
        self,
        handle: Callable[[Batch], None],
        *,
        max_items: int,
        max_bytes: int,
        max_batch: int,
        flush_interval_seconds: float,
        name: str = "inference-exporter",
    ) -> None:
        self._handle = handle
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._max_batch = max_batch
        self._flush_interval_seconds = flush_interval_seconds
        self._name = name
        self._queue = Queue()
        self._bytes_in_hand = 0
        self._busy = False
        self._lock = threading.Lock()
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

    def offer(self, item: bytes) -> str | None:
        """Queue an item, or say why not: ``queue_full``, ``queue_bytes`` or ``stopped``. Never waits."""
        queue = self._queue
        with self._lock:
            if self._stopping.is_set():
                return "stopped"
            first = not len(queue)
            if len(queue) >= self._max_items:
                return "queue_full"
            if queue.n_bytes + self._bytes_in_hand + len(item) > self._max_bytes:
                return "queue_bytes"
            queue.append(item)
        if first:
            self._pending.set()
        return None

    def drain(self, timeout_seconds: float) -> bool:
        """Wait until everything offered so far is handled; False if the time was not enough."""
        deadline = time.monotonic() + timeout_seconds
        while not self._at_rest():
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.002)
        return True

    def stop(self, timeout_seconds: float) -> Batch:
        """Accept no more, handle what waits for as long as the time allows, and return the rest."""
        with self._lock:
            self._stopping.set()
        self._pending.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_seconds)
        with self._lock:
            return self._queue.take(len(self._queue))

    def _at_rest(self) -> bool:
        with self._lock:
            return not len(self._queue) and not self._busy

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
        least, handled = 1, False
        while len(batch := self._take(least)):
            handled = True
            try:
                self._handle(batch)
            except Exception:
                log.exception("a batch of %d items failed", len(batch))
            finally:
                batch.release()
            least = least_again
        return handled

    def _take(self, least: int) -> Batch:
        """The next batch; nothing if fewer than ``least`` items wait."""
        with self._lock:
            batch = self._queue.take(self._max_batch if len(self._queue) >= least else 0)
            self._bytes_in_hand = batch.n_bytes
            self._busy = len(batch) > 0
            return batch
