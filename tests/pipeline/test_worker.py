"""The worker: order, bounds, drain and stop, with threads but no sleeping for luck."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.config import QueueConfig
from exporter.pipeline.ledger import Balance, Ledger, Tally
from exporter.pipeline.queue import Batch
from exporter.pipeline.worker import Worker, WorkerThread

WAIT = 10.0


class Handle:
    """A handler that is one function, after which everything was processed."""

    def __init__(self, handle: Callable[[Batch], object]) -> None:
        self._handle = handle

    def handle(self, tally: Tally, batch: Batch) -> None:
        self._handle(batch)
        tally.ended["processed"] += len(batch)

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def after_fork(self) -> None: ...


def make(handle, *, ledger=None, max_bytes=10**6, flush=0.0001, thread=None, **settings) -> Worker:
    config = QueueConfig(max_bytes=max_bytes, flush_interval_seconds=flush, **settings)
    return Worker(Handle(handle), Ledger() if ledger is None else ledger, config, thread=thread)


def refusal(worker: Worker, item: bytes) -> str:
    """Why an item is refused."""
    before = Counter(worker._ledger.ended)
    assert not worker.offer(item, "hook")
    assert worker._ledger.balance().balanced
    (reason,) = (worker._ledger.ended - before).elements()
    return reason


def ends(worker: Worker) -> dict[str, int]:
    """What became of items, all of which have come to an end."""
    balance = worker._ledger.balance()
    assert balance.balanced
    assert balance.queued == 0
    return balance.dropped | ({"processed": balance.processed} if balance.processed else {})


def numbers(batch: Batch) -> list[int]:
    return [item[0] for item in batch]


def test_items_come_in_order_and_in_batches_of_at_most_max_batch():
    batches: list[list[int]] = []
    worker = make(lambda batch: batches.append(numbers(batch)), max_batch=7)
    for n in range(100):
        assert worker.offer(bytes([n]), "hook")
    worker.start()
    assert worker.drain(WAIT)
    assert [n for batch in batches for n in batch] == list(range(100))
    assert max(map(len, batches)) == 7
    worker.stop(WAIT)
    assert ends(worker) == {"processed": 100}


def test_nothing_is_accepted_beyond_either_bound():
    worker = make(lambda _: None, max_items=3, max_bytes=10)
    assert worker.offer(b"a" * 4, "hook")
    assert refusal(worker, b"b" * 7) == "queue_bytes"
    assert worker.offer(b"c" * 6, "hook")
    assert worker.queued_bytes == 10
    assert worker.offer(b"", "hook")
    assert refusal(worker, b"") == "queue_full"
    worker.stop(0)
    assert worker.queued_bytes == 0
    assert ends(worker) == {"stopped": 3, "queue_bytes": 1, "queue_full": 1}


def test_a_batch_that_raises_does_not_end_the_worker(caplog: pytest.LogCaptureFixture):
    seen: list[int] = []

    def handle(batch: Batch) -> None:
        seen.extend(numbers(batch))
        if 1 in seen[-1:]:
            raise RuntimeError("no")

    worker = make(handle, max_batch=1)
    for n in (1, 2):
        worker.offer(bytes([n]), "hook")
    worker.start()
    assert worker.drain(WAIT)
    worker.stop(WAIT)
    assert seen == [1, 2]
    assert ends(worker) == {"failed": 1, "processed": 1}
    assert "a batch of 1 items was not handled to its end" in caplog.text


def test_the_batch_in_hand_counts_too_and_drain_waits_for_it():
    entered, release = threading.Event(), threading.Event()

    def handle(_: Batch) -> None:
        entered.set()
        release.wait(WAIT)

    worker = make(handle, max_bytes=10)
    worker.start()
    worker.offer(b"x" * 8, "hook")
    assert entered.wait(WAIT)
    assert worker.queued_bytes == 8
    assert refusal(worker, b"x" * 3) == "queue_bytes"
    assert not worker.drain(0.01)
    release.set()
    assert worker.drain(WAIT)
    assert worker.queued_bytes == 0
    worker.stop(WAIT)


def test_stop_handles_what_waits_even_before_the_flush_interval_is_over():
    seen: list[int] = []
    worker = make(lambda batch: seen.extend(numbers(batch)), flush=3600.0)
    worker.start()
    for n in range(5):
        worker.offer(bytes([n]), "hook")
    worker.stop(WAIT)
    assert seen == [0, 1, 2, 3, 4]
    assert ends(worker) == {"processed": 5}


def test_stop_does_not_wait_for_a_hung_handler_and_gives_up_the_rest():
    entered, release = threading.Event(), threading.Event()
    seen: list[int] = []

    def handle(batch: Batch) -> None:
        seen.extend(numbers(batch))
        entered.set()
        release.wait(WAIT)

    worker = make(handle, max_batch=1)
    worker.start()
    for n in range(3):
        worker.offer(bytes([n]), "hook")
    assert entered.wait(WAIT)
    worker.stop(0.01)
    assert ends(worker) == {"stopped": 3}
    assert refusal(worker, b"4") == "stopped"
    release.set()
    thread = worker.thread
    assert thread is not None
    thread.join(WAIT)
    assert not thread.is_alive()
    assert seen == [0]
    assert ends(worker) == {"stopped": 4}


def test_a_stopped_worker_is_not_started_again():
    worker = make(lambda _: None)
    worker.start()
    worker.start()
    assert worker.running
    worker.stop(WAIT)
    assert worker.stopped
    assert not worker.running
    with pytest.raises(RuntimeError, match="make a new one"):
        worker.start()


def test_a_start_that_found_no_thread_can_be_tried_again(monkeypatch: pytest.MonkeyPatch):
    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    seen: list[int] = []
    worker = make(lambda batch: seen.extend(numbers(batch)))
    worker.offer(b"\1", "hook")
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        with pytest.raises(RuntimeError, match="can't start"):
            worker.start()
    assert not worker.running
    worker.start()
    assert worker.drain(WAIT)
    assert seen == [1]
    worker.stop(WAIT)


def test_a_handler_may_stop_its_own_worker():
    worker = make(lambda _: worker.stop(WAIT), max_batch=1)
    worker.offer(b"\1", "hook")
    worker.offer(b"\2", "hook")
    worker.start()
    assert worker.drain(WAIT)
    assert ends(worker) == {"stopped": 2}


def test_what_a_hung_handler_says_after_a_restart_changes_nothing():
    entered, release = threading.Event(), threading.Event()

    def hang(_: Batch) -> None:
        entered.set()
        release.wait(WAIT)

    ledger = Ledger()
    hung, fresh = make(hang, ledger=ledger), make(lambda _: None, ledger=ledger)
    hung.start()
    hung.offer(b"\1", "hook")
    assert entered.wait(WAIT)
    hung.stop(0)
    hung.stop(0)
    fresh.offer(b"\2", "hook")
    release.set()
    thread = hung.thread
    assert thread is not None
    thread.join(WAIT)
    assert ledger.balance() == Balance(
        observed=2, processed=0, dropped={"stopped": 1}, sampled_out=0, queued=1
    )
    fresh.start()
    assert fresh.drain(WAIT)
    fresh.stop(WAIT)
    assert ends(fresh) == {"stopped": 1, "processed": 1}


def test_workers_of_one_thread_take_turns_however_much_waits_for_one_of_them():
    seen: list[str] = []
    thread = WorkerThread(3600.0)
    busy = make(lambda batch: seen.append(f"busy {len(batch)}"), thread=thread, max_batch=2)
    calm = make(lambda batch: seen.append(f"calm {len(batch)}"), thread=thread, max_batch=2)
    for _ in range(7):
        busy.offer(b"x", "hook")
    calm.offer(b"x", "hook")
    busy.start()
    calm.start()
    assert busy.thread is calm.thread is not None
    thread.hurry()
    calm.drain(WAIT)
    assert seen[:2] == ["busy 2", "calm 1"]
    calm.stop(WAIT)
    busy.stop(WAIT)
    assert seen.count("busy 2") == 3
    assert ends(busy) == {"processed": 7}
    assert ends(calm) == {"processed": 1}


def test_a_thread_lives_as_long_as_one_of_its_workers():
    thread = WorkerThread(0.0001)
    first, second = (make(lambda _: None, thread=thread) for _ in range(2))
    first.start()
    second.start()
    running = first.thread
    assert running is not None
    first.stop(WAIT)
    assert running.is_alive()
    assert second.offer(b"x", "hook")
    assert second.drain(WAIT)
    second.stop(WAIT)
    assert not running.is_alive()
    third = make(lambda _: None, thread=thread)
    third.start()
    assert third.offer(b"x", "hook")
    assert third.drain(WAIT)
    assert third.thread is not running
    third.stop(WAIT)
    assert ends(second) == ends(third) == {"processed": 1}


def test_one_that_hangs_is_left_behind_with_its_thread():
    entered, release = threading.Event(), threading.Event()

    def hang(_: Batch) -> None:
        entered.set()
        release.wait(WAIT)

    thread = WorkerThread(0.0001)
    hung, other = make(hang, thread=thread), make(lambda _: None, thread=thread)
    for worker in (hung, other):
        worker.start()
        worker.offer(b"x", "hook")
    assert entered.wait(WAIT)
    stuck = hung.thread
    for worker in (hung, other):
        worker.close()
    hung.stop(0.01)
    other.stop(0.01)
    assert [ends(hung), ends(other)] in ([{"stopped": 1}, {"stopped": 1}], [{"stopped": 1}, {"processed": 1}])
    fresh = make(lambda _: None, thread=thread)
    fresh.start()
    fresh.offer(b"x", "hook")
    assert fresh.drain(WAIT)
    release.set()
    assert stuck is not None
    stuck.join(WAIT)
    assert not stuck.is_alive()
    fresh.stop(WAIT)
    assert ends(fresh) == {"processed": 1}
    assert ends(hung) == {"stopped": 1}


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(0, 60), st.integers(1, 9), st.integers(1, 40))
def test_every_item_offered_is_refused_handled_or_given_up(threads: int, each: int, batch: int, bound: int):
    handled: list[bytes] = []
    accepted: list[bytes] = []
    lock = threading.Lock()
    worker = make(handled.extend, max_batch=batch, max_items=bound)
    worker.start()

    def offer(thread: int) -> None:
        for n in range(each):
            item = bytes([thread, n])
            if worker.offer(item, "hook"):
                with lock:
                    accepted.append(item)

    offering = [threading.Thread(target=offer, args=(n,)) for n in range(threads)]
    for thread in offering:
        thread.start()
    if each % 2:
        worker.stop(WAIT)
    for thread in offering:
        thread.join(WAIT)
    worker.stop(WAIT)
    assert sorted(handled) == sorted(accepted)
    ended = ends(worker)
    assert ended.get("processed", 0) == len(accepted)
    assert sum(ended.values()) == threads * each
    for thread in range(threads):
        own = [item[1] for item in handled if item[0] == thread]
        assert own == sorted(own)
