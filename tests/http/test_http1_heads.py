"""Heads that were read are remembered within bounds."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from exporter.http.http1.account import Account
from exporter.http.http1.heads import Heads, KnownHeads
from tests.http.conversations import GET, OK


@dataclass
class Thing:
    """What is remembered for a key."""

    name: str
    cost: int = 0
    holders: int = 0
    text: bytes = b""


def remembering(max_items: int, max_bytes: int) -> tuple[KnownHeads[Thing], Account]:
    account = Account(1 << 30, 1000)
    return KnownHeads(account, max_items, max_bytes), account


@given(
    st.integers(1, 4),
    st.sampled_from([16, 40, 100]),
    st.lists(st.binary(min_size=1, max_size=8), max_size=60),
)
def test_what_is_remembered_is_right_and_bounded(max_items: int, max_bytes: int, keys: list[bytes]) -> None:
    heads, account = remembering(max_items, max_bytes)
    same = heads.known
    came: set[bytes] = set()
    for key in keys:
        found = heads.known.get(key)
        assert found is None or found.name == key.hex()
        if found is None:
            heads.add(key, Thing(key.hex()))
            if key not in came or len(key) > max_bytes // 16:
                assert key not in heads.known
        came.add(key)
        assert len(heads.known) <= max_items
        assert account.n_bytes == sum(map(len, heads.known)) <= max_bytes
        assert len(heads._came) <= 8 * max_items
    assert heads.known is same
    heads.clear()
    assert not heads.known
    assert account.n_bytes == 0


def test_what_comes_once_pushes_nothing_out() -> None:
    heads, _ = remembering(8, 1000)
    used = Thing("used")
    for _ in range(2):
        heads.add(b"used", used)
    for i in range(1000):
        heads.add(b"%d" % i, Thing(""))
    assert heads.known == {b"used": used}


def test_what_is_used_returns() -> None:
    heads, _ = remembering(8, 1000)
    for i in range(100):
        for key in (b"used", b"%d" % i):
            for _ in range(2):
                if key not in heads.known:
                    heads.add(key, Thing(""))
            assert key in heads.known


def test_what_is_remembered_takes_a_quarter_of_the_room() -> None:
    account = Account(1000, 1000)
    heads: KnownHeads[Thing] = KnownHeads(account, 100, 10_000)
    for key in (b"x" * 100, b"y" * 100, b"z" * 100):
        for _ in range(2):
            heads.add(key, Thing(""))
    assert list(heads.known) == [b"x" * 100, b"y" * 100]
    assert account.n_bytes == 200


def test_what_several_hold_costs_once() -> None:
    account, thing = Account(1000, 1000), Thing("", 100)
    account.hold(thing)
    account.hold(thing)
    account.release(thing)
    assert account.n_bytes == 100
    account.release(thing)
    assert account.n_bytes == 0


def test_equal_heads_are_read_twice_and_no_more() -> None:
    asked: list[str] = []
    heads = Heads(lambda _, path: asked.append(path) is None, Account(1 << 30, 1000))
    found = [heads.request(bytes(bytearray(GET))) for _ in range(5)]
    answers = [heads.response(bytes(bytearray(OK[:-2]))) for _ in range(5)]
    assert asked == ["/a", "/a"]
    assert len(set(map(id, found[1:]))) == len(set(map(id, answers[1:]))) == 1
    heads.forget()
    heads.request(GET)
    assert asked == ["/a"] * 3


def test_hostile_heads_do_not_fill_the_memory() -> None:
    heads = Heads(lambda _, __: True, Account(1 << 30, 1000))
    floods = (
        (1100, lambda i: b"GET /%d HTTP/1.1\r\n%s\r\n" % (i, b"ab:c\r\n" * 80)),
        (100, lambda i: b"GET /%d HTTP/1.1\r\n%s\r\n" % (i, b"ab:c\r\n" * 2600)),
        (1100, lambda i: b"GET /%s%d HTTP/1.1\r\n\r\n" % (b"x" * 15_000, i)),
        (300, lambda i: b"GET /%s%d HTTP/1.1\r\n\r\n" % (b"x" * 60_000, i)),
    )
    tracemalloc.start()
    try:
        for n, flood in floods:
            for i in range(n):
                for _ in range(2):
                    assert heads.request(flood(i)) is not None
            assert tracemalloc.get_traced_memory()[0] < 8e6
    finally:
        tracemalloc.stop()
