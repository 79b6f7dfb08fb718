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
from typing import Protocol

from exporter.config import QueueConfig
from exporter.pipeline.ledger import Ledger, Tally
from exporter.pipeline.queue import Batch, Queue

log = logging.getLogger(__name__)

_LOOK_AGAIN_SECONDS = 0.002


class Handler(Protocol):
    """Where the batches go: a :class:`~exporter.pipeline.pipeline.Pipeline`, or the way to one."""

    def start(self) -> None:
        """Begin in this process; does nothing if it has."""

    def handle(self, tally: Tally, batch: Batch) -> None:
        """Handle a batch, not keep it, and say what became of it. Called on the worker thread."""

    def stop(self) -> None:
        """End; nothing comes any more, unless it is started again."""

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
        self._accepted = 0
        self._pending = threading.Event()
        self._stopping = threading.Event()
        self._hurry = threading.Event()
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

    def offer(self, item: bytes, source: str, n: int = 1) -> bool:
        """Queue an item that stands for ``n``; False if it was refused, which is counted. Never waits."""
        ledger, refusal = self._ledger, ""
        with self._lock:
            queue = self._queue
            waiting = len(queue)
            if self._stopping.is_set():
                refusal = "stopped"
            elif waiting + n > self._max_items:
                refusal = "queue_full"
            elif queue.n_bytes + self._bytes_in_hand + len(item) > self._max_bytes:
                refusal = "queue_bytes"
            if refusal:
                ledger.end(refusal, n)
            else:
                queue.append(item, n)
                ledger.queued += n
                self._accepted += n
            ledger.observed[source] += n
        if not waiting and not refusal:
            self._pending.set()
        return not refusal

    def room(self, bytes_each: int) -> int:
        """How many items of so many bytes there is place for now; 0 where none is accepted any more."""
        with self._lock:
            if self._stopping.is_set():
                return 0
            free = self._max_bytes - self._queue.n_bytes - self._bytes_in_hand
            return max(0, min(self._max_items - len(self._queue), free // bytes_each))

    def turn_away(self, source: str, n: int) -> None:
        """Count ``n`` for which there was no :meth:`room`."""
        with self._lock:
            is_full = len(self._queue) >= self._max_items
            reason = "stopped" if self._stopping.is_set() else "queue_full" if is_full else "queue_bytes"
            self._ledger.observed[source] += n
            self._ledger.end(reason, n)

    def drain(self, timeout_seconds: float) -> bool:
        """Wait until everything offered so far is handled; False if the time was not enough.

        What waits does not gather meanwhile.
        """
        deadline = time.monotonic() + timeout_seconds
        with self._lock:
            last = self._accepted
        while True:
            with self._lock:
                if self._accepted - len(self._queue) - self._in_hand >= last:
                    return True
            if time.monotonic() >= deadline:
                return False
            self._hurry.set()
            time.sleep(_LOOK_AGAIN_SECONDS)

    def stop(self, timeout_seconds: float) -> None:
        """Accept no more, handle what waits for as long as the time allows, and give up the rest."""
        with self._lock:
            self._stopping.set()
        self._hurry.set()
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
                self._hurry.wait(self._flush_interval_seconds)
                self._hurry.clear()
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
