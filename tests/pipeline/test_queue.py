"""What waits comes out as it went in, whatever it is, and memory is used again."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from exporter.pipeline.queue import _BUFFER_BYTES, _SPARE_BUFFERS, Waiting

ITEMS = st.one_of(
    st.binary(max_size=50),
    st.sampled_from([b"x" * 30_000, b"y" * _BUFFER_BYTES, b"z" * (_BUFFER_BYTES + 1)]),
    st.integers(),
)
STEPS = st.lists(st.one_of(st.tuples(st.sampled_from("ab"), ITEMS), st.integers(0, 5)), max_size=40)


@given(STEPS)
def test_pairs_come_out_as_they_went_in(steps: list[Any]):
    waiting: Waiting[str] = Waiting()
    went_in, came_out = [], []
    for step in steps:
        if isinstance(step, int):
            taken = waiting.take(step)
            pairs = list(taken)
            assert len(taken) == len(pairs) <= step
            came_out += pairs
            taken.release()
        else:
            waiting.append(step)
            went_in.append(step)
        assert len(waiting) == len(went_in) - len(came_out)
    came_out += list(waiting.take(1000))
    assert came_out == went_in
    assert len(waiting) == 0
    assert not waiting._entries


def test_buffers_are_used_again_and_few_are_kept():
    waiting: Waiting[str] = Waiting()
    for _ in range(3):
        for _ in range(20 * 30):
            waiting.append(("a", b"x" * 2_000))
        waiting.take(10_000).release()
    assert len(waiting._spare) == _SPARE_BUFFERS


def test_what_was_taken_stays_as_it_is_until_it_is_released():
    waiting: Waiting[str] = Waiting()
    waiting.append(("a", b"first"))
    taken = waiting.take(1)
    for _ in range(100):
        waiting.append(("a", b"x" * 2_000))
        waiting.take(1).release()
    assert list(taken) == [("a", b"first")]
    taken.release()
    assert list(taken) == []
