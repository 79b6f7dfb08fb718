"""What waits comes out as it went in, and memory is used again."""

from __future__ import annotations

import tracemalloc
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from exporter.pipeline.queue import _BUFFER_BYTES, _SPARE_BUFFERS, Queue

ITEMS = st.one_of(
    st.binary(max_size=50),
    st.sampled_from([b"x" * 30_000, b"y" * _BUFFER_BYTES, b"z" * (_BUFFER_BYTES + 1)]),
)
STEPS = st.lists(st.one_of(ITEMS, st.integers(0, 5)), max_size=40)


@given(STEPS)
def test_items_come_out_as_they_went_in(steps: list[Any]):
    queue = Queue()
    went_in, came_out = [], []
    for step in steps:
        if isinstance(step, int):
            taken = queue.take(step)
            items = list(taken)
            assert len(taken) == len(items) <= step
            assert taken.n_bytes == sum(map(len, items))
            came_out += items
        else:
            queue.append(step)
            went_in.append(step)
        assert len(queue) == len(went_in) - len(came_out)
        assert queue.n_bytes == sum(map(len, went_in)) - sum(map(len, came_out))
    came_out += list(queue.take(1000))
    assert came_out == went_in
    assert len(queue) == queue.n_bytes == 0
    assert not queue._buffers


def test_buffers_are_used_again_and_few_are_kept():
    queue = Queue()
    for _ in range(3):
        for _ in range(20 * 30):
            queue.append(b"x" * 2_000)
        queue.take(10_000)
    queue.take(0)
    assert len(queue._spare) == _SPARE_BUFFERS


def test_what_was_taken_stays_as_it_is_until_the_next_is_taken():
    queue = Queue()
    queue.append(b"x" * 40_000)
    taken = queue.take(1)
    assert list(taken) == [b"x" * 40_000]
    for _ in range(100):
        queue.append(b"y" * 40_000)
    assert list(taken) == [b"x" * 40_000]
    queue.take(50)
    for _ in range(100):
        queue.append(b"z" * 40_000)
    assert list(taken) == [b"z" * 40_000]


def test_what_waits_holds_little_more_memory_than_its_bytes():
    items = [bytes(size) for size in (400, 70_000)]
    tracemalloc.start()
    try:
        queue = Queue()
        for _ in range(300):
            queue.append(items[0])
        small, counted = tracemalloc.get_traced_memory()[0], queue.n_bytes
        for _ in range(150):
            for size in (400, 70_000):
                queue.append(bytes(size))
        mixed = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert small < 2 * counted + 2 * _BUFFER_BYTES
    # At worst, beside items that need a place of their own.
    assert mixed < 2 * queue.n_bytes + 2 * _BUFFER_BYTES
