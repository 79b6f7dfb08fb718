"""One bound of bytes for all queues: a share for each, the other half for whoever comes first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exporter.pipeline.memory import Loan, Memory


def test_one_queue_has_all_of_it():
    loan = Loan(Memory(100))
    assert loan.covers(100)
    assert not loan.covers(101)


def test_several_have_a_share_each_and_borrow_the_rest():
    memory = Memory(100, shares=5)
    greedy, modest = Loan(memory), Loan(memory)
    assert greedy.covers(10 + 50)
    assert not greedy.covers(10 + 51)
    assert modest.covers(10)
    assert not modest.covers(11)
    assert greedy.covers(5)
    assert modest.covers(60)


def test_divided_anew_what_is_held_stays_and_less_is_given():
    memory = Memory(100)
    loan, other = Loan(memory), Loan(memory)
    assert loan.covers(90)
    memory.divide(5)
    assert loan.covers(55)
    assert other.covers(10)
    assert not other.covers(20)
    assert loan.covers(0)
    assert other.covers(60)


@given(
    st.integers(1, 6),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 400)), max_size=60),
    st.integers(1, 1000),
)
def test_together_they_never_hold_more_and_each_always_gets_its_share(
    shares: int, wishes: list[tuple[int, int]], most: int
):
    memory = Memory(most, shares)
    loans = [Loan(memory) for _ in range(shares)]
    held = [0] * shares
    for whose, wanted in wishes:
        which = whose % shares
        if loans[which].covers(wanted):
            held[which] = wanted
        else:
            assert wanted > memory.share
            assert wanted > held[which]
        assert sum(held) <= most
