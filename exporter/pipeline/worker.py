"""A bounded queue, and the one thread that empties it, with others' in turn, in batches.

Neither knows a domain type. The caller's side is a lock, three comparisons and an append: it never waits for
the thread. The thread gathers for a moment before it takes a batch, since one that wakes for each item takes
the interpreter lock away from the event loop each time.
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
from exporter.pipeline.memory import Loan, Memory
from exporter.pipeline.queue import Batch, Queue

log = logging.getLogger(__name__)

# What the thread still does when its last worker is done is next to nothing.
_END_SECONDS = 1.0
_LOOK_AGAIN_SECONDS = 0.002


class Handler(Protocol):
    """Where the batches go: a :class:`~exporter.pipeline.pipeline.Pipeline`, or the way to one."""

    def start(self) -> None:
        """Begin in this process; does nothing if it has."""

    def handle(self, tally: Tally, batch: Batch) -> None:
        """Handle a batch, not keep it, and say what became of it. Called on the worker's thread."""

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
    the next batch from it. ``thread`` serves several workers, ``memory`` bounds what they hold together; by
    default each has its own.
    """

    def __init__(
        self,
        handler: Handler,
        ledger: Ledger,
        config: QueueConfig,
        *,
        thread: WorkerThread | None = None,
        memory: Memory | None = None,
        on_error: Callable[[], None] = lambda: None,
    ) -> None:
        self._handler = handler
        self._ledger = ledger
        self._lock = ledger.lock
        self._max_items, self._max_bytes = config.max_items, int(config.max_bytes)
        self.max_batch = config.max_batch
        self._serving = thread or WorkerThread(config.flush_interval_seconds)
        self._loan = Loan(memory or Memory(self._max_bytes))
        self._on_error = on_error
        self._queue = Queue()
        self._in_hand, self._bytes_in_hand = 0, 0
        self._accepted = 0
        self._started = False
        self._stopping = threading.Event()
        self._done = threading.Event()

    def __len__(self) -> int:
        """Items that wait."""
        return len(self._queue)

    @property
    def thread(self) -> threading.Thread | None:
        """The thread that serves it, once it was started."""
        return self._serving.thread if self._started else None

    @property
    def running(self) -> bool:
        """Whether items are accepted and handled."""
        thread = self.thread
        return thread is not None and thread.is_alive() and not self._stopping.is_set()

    @property
    def stopped(self) -> bool:
        """Whether it was stopped, and accepts nothing any more."""
        return self._stopping.is_set()

    @property
    def queued_bytes(self) -> int:
        """Bytes of the items that wait, and of those in hand."""
        return self._queue.n_bytes + self._bytes_in_hand

    def start(self) -> None:
        """Have it served; does nothing if it is.

        Raises
        ------
        RuntimeError
            If the worker was stopped.
        """
        if self.stopped:
            raise RuntimeError("a stopped worker cannot start again; make a new one")
        if not self._started:
            # It raises where the system has no thread left; the next start then tries again.
            self._serving.add(self)
            self._started = True

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
            else:
                held = queue.n_bytes + self._bytes_in_hand + len(item)
                if held > self._max_bytes or not self._loan.covers(held):
                    refusal = "queue_bytes"
            if refusal:
                ledger.end(refusal, n)
            else:
                queue.append(item, n)
                ledger.queued += n
                self._accepted += n
            ledger.observed[source] += n
        if not waiting and not refusal:
            self._serving.wake()
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
            self._serving.hurry()
            time.sleep(_LOOK_AGAIN_SECONDS)

    def close(self) -> None:
        """Accept no more; what waits is handled without a moment's gathering."""
        with self._lock:
            self._stopping.set()
        self._serving.hurry()

    def stop(self, timeout_seconds: float) -> None:
        """Accept no more, handle what waits for as long as the time allows, and give up the rest."""
        self.close()
        if self._started and self.thread is not threading.current_thread():
            self._done.wait(timeout_seconds)
        with self._lock:
            left = len(self._queue) + self._in_hand
            self._ledger.settle(left, Tally(ended=Counter(stopped=left)))
            self._queue, self._in_hand, self._bytes_in_hand = Queue(), 0, 0
            self._loan.covers(0)
        self._serving.remove(self, at_rest=self._done.is_set())

    def serve(self, least: int) -> bool:
        """Handle a batch, if ``least`` items or more wait; whether there was one. On the worker's thread.

        A stopped worker handles all that waits, and is done.
        """
        # Read before the queue is emptied: once it is set nothing more comes in, so that what was accepted
        # just before is not left behind.
        stopping = self._stopping.is_set()
        some = False
        while len(batch := self._take(1 if stopping else least)):
            some = True
            tally = Tally()
            try:
                self._handler.handle(tally, batch)
            except Exception:
                log.exception("a batch of %d items was not handled to its end", len(batch))
                self._on_error()
            self._settle(tally)
            if not stopping:
                break
        if stopping:
            self._done.set()
        return some

    def _take(self, least: int) -> Batch:
        """Another batch, which is empty if fewer than ``least`` items wait."""
        with self._lock:
            batch = self._queue.take(self.max_batch if len(self._queue) >= least else 0)
            self._in_hand, self._bytes_in_hand = len(batch), batch.n_bytes
            return batch

    def _settle(self, tally: Tally) -> None:
        with self._lock:
            if self._in_hand:  # else it was given up meanwhile
                self._ledger.settle(self._in_hand, tally)
                self._in_hand, self._bytes_in_hand = 0, 0
                self._loan.covers(self._queue.n_bytes)


class WorkerThread:
    """One thread for any number of workers: it goes round, a batch from each, and rests while all are empty.

    It gathers for ``flush_interval_seconds`` before each round, and calls ``settled`` after each. It begins
    with the first worker and ends with the last one, so that another may be begun where this one hangs.
    """

    def __init__(
        self,
        flush_interval_seconds: float,
        name: str = "inference-exporter",
        settled: Callable[[], None] = lambda: None,
    ) -> None:
        self.thread: threading.Thread | None = None
        self._flush_interval_seconds = flush_interval_seconds
        self._name = name
        self._settled = settled
        self._lock = threading.Lock()
        self._workers: tuple[Worker, ...] = ()
        self._pending = threading.Event()
        self._hurry = threading.Event()

    def add(self, worker: Worker) -> None:
        """Serve one more; it raises where the system has no thread left."""
        with self._lock:
            if not self._workers:
                thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                thread.start()
                self.thread = thread
            self._workers = (*self._workers, worker)
        if len(worker):
            self.wake()

    def remove(self, worker: Worker, *, at_rest: bool) -> None:
        """Serve it no more; whether it is known that the thread does not hang over a batch of it."""
        with self._lock:
            self._workers = tuple(each for each in self._workers if each is not worker)
            thread = None if self._workers else self.thread
        self.wake()
        if thread is not None and at_rest and thread is not threading.current_thread():
            thread.join(_END_SECONDS)

    def wake(self) -> None:
        """Something waits."""
        self._pending.set()

    def hurry(self) -> None:
        """Begin the next round now."""
        self._hurry.set()
        self._pending.set()

    def _run(self) -> None:
        own = threading.current_thread()
        while True:
            self._pending.wait()
            self._pending.clear()
            # As long as items come, this thread sleeps and wakes by the clock, and nobody has to wake it.
            busy = True
            while busy:
                self._hurry.wait(self._flush_interval_seconds)
                self._hurry.clear()
                busy = self._round()
                with self._lock:
                    if self.thread is not own or not self._workers:
                        return
            if any(map(len, self._workers)):
                self._pending.set()

    def _round(self) -> bool:
        """A batch of each worker, and more of those that fill one again; whether there was anything.

        A batch costs a good deal however small it is. What came while one was handled gathers again,
        unless it fills a batch already.
        """
        some = [worker for worker in self._workers if worker.serve(1)]
        again = some
        while again:
            self._settled()
            again = [worker for worker in again if worker.serve(worker.max_batch)]
        return bool(some)
